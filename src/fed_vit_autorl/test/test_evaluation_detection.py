import numpy as np
import pytest

from fed_vit_autorl.evaluation.detection import (
    Frame,
    average_precision,
    calibration_error,
    match,
    precision_recall,
)

NONE = np.zeros((0, 4), np.float32)


def frame(detections, labels, ignored=()) -> Frame:
    """detections: (box, score, class); labels: (box, class)."""
    return Frame(
        np.array([d[0] for d in detections], np.float32).reshape(-1, 4),
        np.array([d[1] for d in detections], np.float32),
        np.array([d[2] for d in detections], np.int64),
        np.array([box for box, _ in labels], np.float32).reshape(-1, 4),
        np.array([label for _, label in labels], np.int64),
        np.array(ignored, np.float32).reshape(-1, 4),
    )


BOX, OTHER, FAR = (10, 10, 30, 30), (50, 10, 90, 50), (100, 100, 120, 130)


def test_perfect_detections_score_one_in_every_class():
    result = average_precision([frame([(BOX, 0.9, 0), (OTHER, 0.8, 1)], [(BOX, 0), (OTHER, 1)])])
    assert (result["map"], result["map50"]) == pytest.approx((1, 1))
    assert result["per_class"]["pedestrian"]["map50"] == pytest.approx(1)
    assert np.isnan(result["per_class"]["cyclist"]["map"])


def test_one_of_two_found_is_half_the_recall():
    # precision 1 up to recall 0.5: 51 of COCO's 101 recall points
    assert average_precision([frame([(BOX, 0.9, 0)], [(BOX, 0), (OTHER, 0)])])["map50"] == pytest.approx(51 / 101)


def test_a_better_scored_false_alarm_halves_precision():
    assert average_precision([frame([(FAR, 0.9, 0), (BOX, 0.8, 0)], [(BOX, 0)])])["map50"] == pytest.approx(0.5)


def test_a_loose_box_counts_only_at_loose_thresholds():
    # 20x20 against 20x14: IoU 0.7 exactly passes 0.50, 0.55, 0.60, 0.65 and 0.70 of ten thresholds
    loose = average_precision([frame([((10, 10, 30, 24), 0.9, 0)], [(BOX, 0)])])
    assert (loose["map50"], loose["map"], loose["map75"]) == pytest.approx((1, 0.5, 0), abs=1e-6)


def test_nothing_labelled_has_no_figure_and_nothing_detected_scores_zero():
    assert np.isnan(average_precision([frame([(BOX, 0.9, 0)], [])])["map"])
    assert average_precision([frame([], [(BOX, 0)])])["map"] == 0


def test_what_lies_in_an_ignored_region_is_neither_right_nor_wrong():
    clean = frame([(BOX, 0.5, 0)], [(BOX, 0)])
    with_far = frame([(BOX, 0.5, 0), (FAR, 0.9, 0)], [(BOX, 0)], ignored=[(90, 90, 130, 140)])
    assert average_precision([with_far])["map50"] == average_precision([clean])["map50"] == pytest.approx(1)
    assert precision_recall([with_far]) == {"precision": 1, "recall": 1}


def test_a_label_is_matched_once_and_by_its_class_only():
    counts, right, hit = match(frame([(BOX, 0.9, 0), (BOX, 0.8, 0), (BOX, 0.7, 1)], [(BOX, 0), (FAR, 0)]))
    assert counts.tolist() == [True, True, True]
    assert right.tolist() == [True, False, False]
    assert hit.tolist() == [True, False]


def test_precision_and_recall_of_nothing_are_unknown():
    assert np.isnan(list(precision_recall([frame([], [])]).values())).all()


def test_calibration_error_by_hand():
    # ten at 0.95 of which nine are right (gap 0.05), ten at 0.25 of which five are right (gap 0.25): mean 0.15
    confidence = np.repeat((0.95, 0.25), 10)
    right = np.array([1] * 9 + [0] + [1] * 5 + [0] * 5)
    assert calibration_error(confidence, right) == pytest.approx(0.15)
    assert calibration_error(np.ones(4), np.ones(4)) == 0
