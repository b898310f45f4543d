"""What the ego follows: the planned path where it agrees with the route, else the route; and how it steers there."""

import math

import numpy as np
import pytest

from fed_vit_autorl.data.sample import EgoState
from fed_vit_autorl.reinforcement.route import Pose, Route
from fed_vit_autorl.safety.assumptions import Assumptions
from fed_vit_autorl.safety.guidance import Guide
from fed_vit_autorl.safety.reasons import Reason
from fed_vit_autorl.safety.types import Proposal

A = Assumptions()
ROAD = Route(np.stack((np.arange(-10.0, 200.0, 2.0), np.zeros(105)), axis=-1), np.where(np.arange(105) < 20, 14.0, 8.0))
HERE = Pose(0.0, 0.0, 0.0)
EGO = EgoState(0.0, (0.0, 0.0, 0.0), 0.0, 5.0)


def path(y=0.0, start=2.0, count=20):
    """Points every 2 m ahead, `y` m to the left."""
    return np.stack((start + 2.0 * np.arange(count), np.full(count, y)), axis=-1)


def proposal(points):
    return Proposal(0.0, 0.0, 0.0, 0.0, np.asarray(points, float).reshape(-1, 2))


def guide(points=None, route=ROAD, pose=HERE, near=None, ego=EGO):
    return Guide(A).guide(None if points is None else proposal(points), ego, route, pose, near, 8.0)


@pytest.mark.parametrize(("offset", "followed"), [(0.0, True), (1.0, True), (-1.0, True), (1.01, False)])
def test_a_path_is_followed_while_it_stays_within_the_lane_deviation(offset, followed):
    found = guide(path(offset))
    assert (found.reference is not ROAD) is followed
    if followed:
        assert found.reference.points[1:] == pytest.approx(path(offset))
        assert found.near is None
    else:
        assert found.near == pytest.approx(10.0)  # the route begins 10 m behind
    assert found.faults == ()


def test_the_path_begins_where_the_ego_was_when_it_was_planned():
    there = EgoState(0.0, (3.0, 0.4, 0.0), math.pi / 2, 5.0)
    found = guide([[2.0, 0.0], [4.0, 1.0]], route=None, ego=there)
    assert found.reference.points == pytest.approx(np.array([[3.0, 0.4], [3.0, 2.4], [2.0, 4.4]]))
    assert (found.on_route, found.near, found.route_curvatures, len(found.speed_limits[0])) == (
        None,
        None,
        (0.0, 0.0),
        0,
    )
    assert not found.off_route


@pytest.mark.parametrize("nothing", [np.zeros((0, 2)), [[0.5, 0.0], [1.0, 0.0]]], ids=["empty", "shorter than 2 m"])
def test_a_path_that_leads_nowhere_leaves_the_route(nothing):
    assert guide(nothing).reference is ROAD
    assert guide(nothing, route=None).reference is None
    assert guide(nothing).faults == ()


def test_a_path_that_is_none_is_named_and_left_out():
    found = guide(np.full((5, 2), math.nan))
    assert found.reference is ROAD
    assert found.faults == (Reason.PATH_INVALID,)


@pytest.mark.parametrize("missing", ["proposal", "ego"])
def test_without_a_proposal_or_a_pose_for_it_there_is_no_path(missing):
    found = guide(None if missing == "proposal" else path(), route=None, ego=None if missing == "ego" else EGO)
    assert found.reference is None
    assert found.faults == ()


@pytest.mark.parametrize(
    ("y", "yaw", "on_it"), [(3.9, 0.0, True), (4.1, 0.0, False), (0.0, 0.99, True), (0.0, 1.01, False)]
)
def test_an_ego_far_from_its_route_has_none(y, yaw, on_it):
    found = guide(pose=Pose(5.0, y, yaw))
    assert (found.on_route is not None) is on_it
    assert found.off_route is not on_it
    assert found.reference is (ROAD if on_it else None)


def test_the_limits_ahead_are_read_at_every_metre():
    way, limit = guide().speed_limits
    assert way.tolist() == list(range(60))
    assert limit.tolist() == [14.0 if 10 + w < 40 else 8.0 for w in way]  # the 21st point, at 40 m, begins it


def test_a_bend_that_begins_before_the_horizon_counts_by_where_it_leads():
    # Straight for 5 m, then a circle of 20 m: 6 and 12 m on are the horizons at 10 m/s.
    angle = np.arange(0.0, 1.5, 0.02)
    turn = np.stack((5.0 + 20.0 * np.sin(angle), 20.0 * (1.0 - np.cos(angle))), axis=-1)
    route = Route(np.concatenate(([[-20.0, 0.0], [0.0, 0.0]], turn)))
    found = Guide(A).guide(None, None, route, Pose(0.0, 0.3, 0.0), None, 10.0)
    near, far = (2.0 * 20.0 * (1.0 - math.cos((way - 5.0) / 20.0)) / way**2 for way in (6.0, 12.0))
    assert found.route_curvatures == (pytest.approx(near, rel=0.05), pytest.approx(far, rel=0.02))


def test_a_bend_is_told_of():
    angle = np.linspace(0.0, 1.5, 60)
    bend = Route(np.stack((20.0 * np.sin(angle), 20.0 * (1.0 - np.cos(angle))), axis=-1))
    found = Guide(A).guide(None, None, bend, Pose(20.0 * math.sin(0.7), 20.0 * (1.0 - math.cos(0.7)), 0.7), None, 8.0)
    assert found.route_curvatures == pytest.approx((0.05, 0.05), rel=0.05)
    # v² / 20 m within 3.0 m/s²: 7.75 m/s, where the route alone would allow 30 km/h = 8.33 m/s; half the radius: 5.48
    assert found.speed_limits[1][0] == pytest.approx(7.75, rel=0.02)
    tight = Route(0.5 * bend.points, np.full(len(bend.points), 14.0))
    pose = Pose(10.0 * math.sin(0.7), 10.0 * (1.0 - math.cos(0.7)), 0.7)
    assert Guide(A).guide(None, None, tight, pose, None, 8.0).speed_limits[1][0] == pytest.approx(5.48, rel=0.05)


def test_a_path_is_made_once_and_made_anew_with_a_new_proposal():
    guide, first, second = Guide(A), proposal(path(0.5)), proposal(path(0.2))
    made = [guide.guide(p, EGO, ROAD, HERE, None, 8.0).reference for p in (first, first, second)]
    assert made[0] is made[1]
    assert made[2].points[1:, 1] == pytest.approx(0.2)


def test_a_path_is_compared_with_the_part_of_the_route_at_hand():
    # A route that comes back beside itself: the path lies on the way back, 3 m to the left of the way there.
    there_and_back = Route(np.array([[0, 0], [100, 0], [100, 3], [0, 3]], float))
    assert guide(path(3.0), route=there_and_back).reference is there_and_back
    assert guide(path(0.0), route=there_and_back).reference is not there_and_back


# Steering: atan(2 L y / d²) with L = 2.7 m, d the distance of the point 0.9 s, at least 4 m, ahead


@pytest.mark.parametrize(("speed", "ahead"), [(0.0, 4.0), (4.0, 4.0), (10.0, 9.0)])
def test_it_steers_at_the_point_ahead(speed, ahead):
    found = guide(pose=Pose(0.0, -0.5, 0.0))
    steering = Guide(A).steering(found, Pose(0.0, -0.5, 0.0), speed, 0.3)
    assert steering == pytest.approx(math.atan(2 * 2.7 * 0.5 / (ahead**2 + 0.25)))


def test_where_the_route_comes_back_it_steers_along_the_part_that_it_is_on():
    there_and_back = Route(np.array([[0, 0], [100, 0], [100, 3], [0, 3]], float))
    pose = Pose(20.0, 1.6, 0.0)  # nearer to the way back
    steering = Guide(A).steering(guide(route=there_and_back, pose=pose, near=20.0), pose, 4.0, 0.0)
    assert steering == pytest.approx(math.atan(2 * 2.7 * -1.6 / (4.0**2 + 1.6**2)))


@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_it_steers_no_further_than_the_wheels_turn(side):
    pose = Pose(0.0, -3.9 * side, 0.9 * -side)
    assert Guide(A).steering(guide(pose=pose), pose, 0.0, 0.0) == pytest.approx(side * A.max_steering_angle)


def test_without_a_reference_it_steers_as_it_is_told():
    assert Guide(A).steering(guide(route=None), HERE, 5.0, 0.123) == 0.123
