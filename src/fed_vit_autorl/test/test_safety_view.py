"""What is in view: bins of azimuth, the nearest point of each, and how far behind a place the view ends."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fed_vit_autorl.safety.view import BINS, bearings, behind, sight, view

DEGREES = st.floats(-179.0, 179.0).filter(lambda degree: abs(degree % 2.0 - 1.0) < 0.99)  # not where a bin begins


def around(*degrees, distance=10.0):
    """Points at those azimuths."""
    angles = np.radians(degrees)
    return np.column_stack((distance * np.cos(angles), distance * np.sin(angles))).astype(np.float32)


def ends(**bins):
    """A view that ends in the bins named b7=… and nowhere else."""
    nearest = np.full(BINS, np.inf)
    for name, distance in bins.items():
        nearest[int(name[1:])] = distance
    return nearest


def test_bins_of_two_degrees_count_counter_clockwise_from_straight_back():
    bins, distance = bearings(around(-179.0, -91.0, -1.0, 1.0, 3.0, 91.0, 179.0))
    assert bins.tolist() == [0, 44, 89, 90, 91, 135, 179]
    assert distance == pytest.approx(10.0)
    assert bearings(np.array([[-3.0, 0.0, 9.0]], np.float32))[0].tolist() == [0]  # straight back, from either side
    assert bearings(np.array([[3.0, 4.0, 9.0]], np.float32))[1].tolist() == [5.0]  # the height is none of it


def test_the_nearest_point_of_a_bin_ends_the_view():
    nearest = view(np.array([3, 3, 3, 179, 0]), np.array([7.0, 5.0, 6.0, 9.0, 1.0]))
    assert {int(b): nearest[b] for b in np.flatnonzero(np.isfinite(nearest))} == {3: 5.0, 179: 9.0, 0: 1.0}
    assert nearest.shape == (BINS,)


@given(DEGREES, st.floats(1.0, 80.0))
def test_a_place_is_looked_up_in_the_bin_of_a_point_there(degree, distance):
    ((x, y),) = around(degree, distance=distance).tolist()
    (bin_there,), (far,) = bearings(np.array([[x, y]], np.float32))
    nearest = np.arange(BINS, dtype=float)
    assert sight(x, y, nearest) == pytest.approx((far, bin_there))


def test_straight_back_is_in_the_first_bin_though_rounding_comes_to_the_end():
    assert sight(-5.0, 0.0, ends(b0=3.0)) == (5.0, 3.0)


@given(DEGREES, st.floats(-3.0, 3.0), st.floats(-50.0, 50.0), st.floats(-50.0, 50.0))
def test_a_view_ends_behind_or_before_a_place_wherever_it_was_had(degree, yaw, x, y):
    (bin_there,), _ = bearings(around(degree))
    nearest = np.full(BINS, 90.0)
    nearest[bin_there] = 12.5
    place = x + 10.0 * math.cos(yaw + math.radians(degree)), y + 10.0 * math.sin(yaw + math.radians(degree))
    assert behind(*place, x, y, yaw, nearest) == pytest.approx(2.5)
    nearest[bin_there] = 4.0
    assert behind(*place, x, y, yaw, nearest) == pytest.approx(-6.0)
