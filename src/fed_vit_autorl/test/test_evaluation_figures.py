import numpy as np
import pytest

from fed_vit_autorl.evaluation.cloning import cloning_errors
from fed_vit_autorl.evaluation.federation import RoundRecord, federation_figures
from fed_vit_autorl.evaluation.prediction import displacement_errors


def test_displacement_errors_by_hand():
    truth = np.array([[[1.0, 0], [2, 0]]])
    confident_but_wrong = truth + np.array([0, 3])
    right_but_modest = truth + np.array([0, 1])
    predicted = np.stack([confident_but_wrong, right_but_modest], axis=1)
    errors = displacement_errors(predicted, np.array([[0.9, 0.1]]), truth)
    assert errors == {"ade": 3, "fde": 3, "min_ade": 1, "min_fde": 1, "miss_rate": 0}


def test_a_miss_is_a_best_mode_that_ends_more_than_two_metres_off():
    truth = np.zeros((2, 3, 2))
    predicted = truth[:, None] + np.array([[[[0, 1.9]]], [[[0, 2.1]]]])
    assert displacement_errors(predicted, np.ones((2, 1)), truth)["miss_rate"] == 0.5


def test_unknown_waypoints_do_not_count():
    truth = np.array([[[0.0, 0], [0, 0], [np.nan, np.nan]], [[np.nan] * 2] * 3])
    predicted = np.array([[[[0.0, 1], [0, 3], [0, 99]]], [[[0.0, 0]] * 3]])
    errors = displacement_errors(predicted, np.ones((2, 1)), truth)
    assert (errors["ade"], errors["fde"]) == (2, 3)


def test_shapes_that_do_not_belong_together_are_refused():
    with pytest.raises(ValueError, match="truth"):
        displacement_errors(np.zeros((1, 1, 5, 2)), np.ones((1, 1)), np.zeros((1, 4, 2)))
    with pytest.raises(ValueError, match="no waypoint"):
        displacement_errors(np.zeros((1, 1, 1, 2)), np.ones((1, 1)), np.full((1, 1, 2), np.nan))


def test_cloning_errors_by_hand():
    human = np.array([0.0, 0.1, 0.2, 0.1])
    assert cloning_errors(2 * human, human, 0.1) == {
        "steering_mae": 0.1,
        "steering_correlation": pytest.approx(1),
        "constant_mae": pytest.approx(0.05),
        "frames": 4,
    }
    assert cloning_errors(-human, human, 0.0)["steering_correlation"] == pytest.approx(-1)
    assert np.isnan(cloning_errors(np.zeros(4), human, 0.0)["steering_correlation"])
    with pytest.raises(ValueError, match="commands"):
        cloning_errors(np.zeros(3), human, 0.0)


def test_federation_figures():
    metrics = [0.1, 0.3, 0.5, 0.5, 0.5, 0.5]
    rounds = [RoundRecord(4, 3, 100, 1000, 60.0, metric, 0.1 * n) for n, metric in enumerate(metrics, start=1)]
    figures = federation_figures(rounds, target=0.5, window=2)
    assert (figures["rounds"], figures["rounds_to_target"], figures["bytes_to_target"]) == (6, 3, 3300)
    assert figures["participation"] == 0.75
    assert (figures["best"], figures["converged"], figures["epsilon_spent"]) == (0.5, True, pytest.approx(0.6))
    early = federation_figures(rounds[:3], target=0.9)
    assert (early["rounds_to_target"], early["converged"]) == (None, False)
    with pytest.raises(ValueError, match="no rounds"):
        federation_figures([])
