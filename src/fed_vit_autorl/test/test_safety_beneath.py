"""What is too low to be seen from so near."""

import math

import numpy as np
import pytest

from fed_vit_autorl.reinforcement.route import Pose
from fed_vit_autorl.safety.beneath import MAX_POINTS, Beneath

HEIGHT, STEEPEST = 1.9, 0.4
NOTHING = np.zeros((0, 3))


def at(x):
    """The LiDAR at that x [m]."""
    return x, 0.0, HEIGHT


def remembered(place, x):
    """What is remembered of a place (x, y, top) seen from the origin when the LiDAR is at `x` and sees nothing."""
    beneath = Beneath()
    beneath.update(np.array([place]), at(0.0), STEEPEST)
    return beneath.update(NOTHING, at(x), STEEPEST).tolist()


# A top of 0.8 m is seen by the lowest beam from (1.9 - 0.8) / 0.4 = 2.75 m on, and 0.1 m is for errors: 3 m.
@pytest.mark.parametrize(("x", "there"), [(2.9, False), (3.1, True), (8.9, True), (9.1, False)])
def test_it_is_there_while_the_lowest_beam_passes_over_it(x, there):
    assert remembered((6.0, 0.0, 0.8), x) == ([[6.0, 0.0]] if there else [])


@pytest.mark.parametrize(("seen_from", "there"), [(-0.9, True), (-1.1, False)])
def test_what_is_far_is_seen_once_more_before_it_is_beneath(seen_from, there):
    beneath = Beneath()  # 3 m, and 4 m that it may drive until then
    beneath.update(np.array([[6.0, 0.0, 0.8]]), at(seen_from), STEEPEST)
    assert bool(len(beneath.update(NOTHING, at(3.1), STEEPEST))) is there


def test_where_it_was_seen_first_counts_though_more_of_it_is_seen_later():
    beneath = Beneath()
    for x, place in ((0.0, 6.0), (3.2, 6.2), (3.4, 6.4), (4.0, 6.6)):  # the beam passes over its top, to the far edge
        found = beneath.update(np.array([[place, 0.0, 0.8]]), at(x), STEEPEST)
    assert found.tolist() == [[6.0, 0.0], [6.4, 0.0]]  # 6.2 and 6.6 are nearer than 0.3 m to those


def test_it_stays_scan_after_scan():
    beneath = Beneath()
    beneath.update(np.array([[6.0, 0.0, 0.8]]), at(0.0), STEEPEST)
    for x in np.linspace(3.2, 6.0, 50):
        assert len(beneath.update(NOTHING, at(x), STEEPEST)) == 1


def test_it_stays_where_it_was_beside_an_ego_whose_place_was_wrong():
    beneath = Beneath()
    beneath.update(np.array([[6.0, 1.0, 0.8], [5.0, 0.0, 0.7]]), at(4.0), STEEPEST)
    # 2 m ahead and 1 m to the left of (4, 0, 0) is 2 m up and 1 m to the left of (-10, 7), turned by 90°.
    beneath.carry(Pose(4.0, 0.0, 0.0), Pose(-10.0, 7.0, 0.5 * math.pi))
    found = beneath.update(NOTHING, (-10.0, 7.0, HEIGHT), STEEPEST)
    assert found == pytest.approx(np.array([[-11.0, 9.0], [-10.0, 8.0]]))


def test_without_a_beam_downwards_nothing_low_is_seen_to_have_gone():
    beneath = Beneath()
    beneath.update(np.array([[6.0, 0.0, 0.8]]), at(0.0), STEEPEST)
    assert len(beneath.update(NOTHING, at(-50.0), 0.0)) == 1


def test_its_memory_is_bounded():
    beneath = Beneath()
    for k in range(4):
        low = np.stack((np.full(100, 6.0), 0.5 * np.arange(100) + 100.0 * k, np.zeros(100)), axis=-1)
        beneath.update(low, at(6.0), 0.0)
    assert len(beneath.update(NOTHING, at(6.0), 0.0)) == MAX_POINTS


@pytest.mark.parametrize(("left", "there"), [(3.1, False), (2.9, True)])
def test_the_way_is_what_is_left_in_any_direction(left, there):
    place, beneath = (1.0 + 4.8, 2.0 - 3.6, 0.8), Beneath()  # 6 m away, straight ahead of who drives to it
    beneath.update(np.array([place]), (1.0, 2.0, HEIGHT), STEEPEST)
    near = 1.0 + 0.8 * (6.0 - left), 2.0 - 0.6 * (6.0 - left), HEIGHT
    assert beneath.update(NOTHING, near, STEEPEST).tolist() == ([list(place[:2])] if there else [])


def test_what_is_seen_again_beside_any_that_is_remembered_is_no_other():
    places = np.array([[6.0, 0.0, 0.8], [6.0, 5.0, 0.7], [6.0, -5.0, 0.6]])
    beneath = Beneath()
    beneath.update(places, at(6.0), STEEPEST)
    assert beneath.update(NOTHING, at(6.0), 0.0).tolist() == places[:, :2].tolist()
    again = np.array([[6.1, 0.1, 0.8], [6.0, 5.2, 0.7], [6.2, -5.2, 0.6], [6.0, -5.4, 0.6]])
    beneath.update(again, at(6.0), 0.0)
    assert beneath.update(NOTHING, at(6.0), 0.0).tolist() == [*places[:, :2].tolist(), [6.0, -5.4]]
