import numpy as np
import pytest
from scipy import stats

from fed_vit_autorl.evaluation.uncertainty import interval


def test_the_interval_of_a_mean_is_students():
    # with one value a part the jackknife of a mean is its textbook standard error
    values = np.array([3.0, 5.0, 4.0, 8.0, 5.5])
    without = [np.delete(values, number).mean() for number in range(len(values))]
    expected = stats.t.interval(0.95, 4, loc=values.mean(), scale=values.std(ddof=1) / np.sqrt(5))
    assert interval(values.mean(), without) == pytest.approx(expected)


def test_a_change_that_every_part_shows_alike_is_sure_and_one_part_proves_nothing():
    assert interval(0.25, [0.25] * 8) == pytest.approx((0.25, 0.25))
    with pytest.raises(ValueError, match="two parts"):
        interval(0.25, [0.25])
