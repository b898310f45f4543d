"""Whose word is learned: the LiDAR's that the model suspects too, the model's own where it passes the scan's test."""

from dataclasses import replace

import numpy as np
import pytest

from fed_vit_autorl.data.sample import CameraModel, Labels, Sample
from fed_vit_autorl.edge.perceiver import Seen
from fed_vit_autorl.models.detection import Detections
from fed_vit_autorl.models.teacher import Trust, confirmed, examine

CAR, FAR_CAR, GHOST = [10.0, 20, 30, 36], [40.0, 20, 46, 25], [2.0, 2, 8, 10]
SIZE = 40, 60


def scanned(boxes=(CAR,), free_rows=20):
    """What the LiDAR told: boxes, and free space in the lower rows; the upper quarter is unlabelled."""
    free = np.zeros(SIZE, np.uint8)
    free[-free_rows:] = 1
    free[:10] = 255
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    labels = Labels.unknown(*SIZE, boxes=boxes, classes=np.zeros(len(boxes), np.int64), free_space=free)
    return Sample(np.zeros((*SIZE, 3), np.uint8), CameraModel.nominal(SIZE[1], SIZE[0]), labels=labels)


def seeing(*found, free_rows=20):
    """A model that reports (box, score) pairs and free space in the lower rows."""
    masks = {name: np.zeros(SIZE, np.float32) for name in ("free_space", "lane", "drivable")}
    masks["free_space"][-free_rows:] = 0.9
    boxes = np.array([box for box, _ in found], np.float32).reshape(-1, 4)
    scores = np.array([score for _, score in found], np.float32)
    detections = Detections(boxes, scores, np.zeros(len(found), np.int64))
    return lambda image, returns: Seen(detections, masks, np.zeros(0), np.zeros(0), 1.0)


@pytest.mark.parametrize(
    ("perceiver", "trust"),
    [
        (seeing((CAR, 0.9)), Trust(True, True)),
        (seeing((CAR, 0.3)), Trust(True, False)),  # it sees the car, but not surely
        (seeing((CAR, 0.9), free_rows=15), Trust(False, True)),  # 15 of 20 rows are less than nine tenths
        (seeing(), Trust(True, False)),
    ],
)
def test_the_scan_is_the_models_test(perceiver, trust):
    assert examine([scanned(), replace(scanned(), labels=None)], perceiver) == trust


def test_nothing_to_test_on_earns_no_trust():
    unlabelled = replace(scanned(), labels=Labels.unknown(*SIZE))
    assert examine([unlabelled], seeing((CAR, 0.9))) == Trust(False, False)
    assert examine([], seeing()) == Trust(False, False)


def test_a_lost_model_learns_what_it_suspects_and_the_scan_confirms_and_keeps_the_rest():
    suspected = [12.0, 20, 31, 36]  # the car's own outline: IoU with the scan's 18 · 16 / (21 · 16) = 0.86
    perceiver = seeing((suspected, 0.4), (FAR_CAR, 0.3))
    found = confirmed(scanned([CAR, GHOST]), perceiver).labels
    assert found.boxes.tolist() == [suspected]
    assert found.ignored.tolist() == [GHOST, FAR_CAR]  # only one of the two reports them: neither learned nor denied
    np.testing.assert_array_equal(found.free_space, scanned().labels.free_space)


def test_a_cluster_is_one_object_of_the_class_that_the_model_is_surest_of():
    detections = Detections(np.array([CAR, CAR], np.float32), np.array([0.2, 0.4], np.float32), np.array([2, 0]))
    perceiver = lambda image, returns: replace(seeing()(image, returns), detections=detections)  # noqa: E731
    assert confirmed(scanned([CAR, GHOST]), perceiver).labels.classes.tolist() == [0]


def test_each_thing_has_one_teacher():
    for masks in (False, True):
        for objects in (False, True):
            left_out = Trust(masks, objects).left_out
            assert ("masks" in left_out) == ("taught_masks" not in left_out) == masks
            for part in ("class", "box"):
                assert (part in left_out) == (f"taught_{part}" not in left_out) == objects


def test_a_sample_without_labels_stays_as_it_is():
    bare = replace(scanned(), labels=None)
    assert confirmed(bare, seeing()) is bare
