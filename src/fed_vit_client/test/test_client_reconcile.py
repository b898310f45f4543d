"""What the release sees and LiDAR labels deny is ignored, not unlearnt."""

import numpy as np
from fed_vit_autorl.data.sample import Labels, unlabelled
from fed_vit_client.reconcile import denied


def labels(boxes):
    mask = unlabelled(8, 8)
    array = np.array(boxes, np.float32).reshape(-1, 4)
    return Labels(array, np.zeros(len(array), np.int64), mask, mask, mask)


def test_a_detection_is_denied_where_no_label_overlaps_it_enough():
    detections = np.array([[0, 0, 10, 10], [50, 50, 60, 60], [0, 0, 30, 10]], np.float32)
    # IoU with the label: 1, 0 and 1/3.
    np.testing.assert_array_equal(denied(labels([[0, 0, 10, 10]]), detections), [[50, 50, 60, 60]])


def test_without_labels_every_detection_is_doubtful_and_without_detections_none():
    detections = np.array([[0, 0, 10, 10]], np.float32)
    np.testing.assert_array_equal(denied(labels([]), detections), detections)
    assert denied(labels([[0, 0, 10, 10]]), np.zeros((0, 4), np.float32)).shape == (0, 4)
