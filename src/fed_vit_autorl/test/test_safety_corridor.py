"""The swept corridor: shapes, and which points it meets, passes or leaves alone."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fed_vit_autorl.reinforcement.route import Pose, Route, to_map
from fed_vit_autorl.safety.assumptions import Assumptions
from fed_vit_autorl.safety.corridor import ABREAST_CLEARANCE_M, Corridor, arc, contacts, join, plan, slew
from fed_vit_autorl.safety.limits import steering_rate

A = Assumptions()
ORIGIN = Pose(0.0, 0.0, 0.0)
STRAIGHT = Route(np.stack((np.arange(-20.0, 200.0, 2.0), np.zeros(110)), axis=-1))


def test_an_arc_lies_on_its_circle():
    c = arc(Pose(1.0, 2.0, 0.3), 0.1, 12.0)
    centre = np.array([1.0 - 10 * math.sin(0.3), 2.0 + 10 * math.cos(0.3)])
    assert np.hypot(c.x - centre[0], c.y - centre[1]) == pytest.approx(10.0)
    assert (c.way[0], c.way[-1]) == (0.0, 12.0)
    assert c.heading[-1] == pytest.approx(0.3 + 1.2)
    assert np.diff(c.way).max() <= 1.0
    assert (c.end.x, c.end.y, c.end.yaw) == (c.x[-1], c.y[-1], c.heading[-1])


def test_a_straight_arc_is_straight():
    c = arc(ORIGIN, 0.0, 5.0)
    assert c.x == pytest.approx(c.way)
    assert c.y == pytest.approx(0.0)


def test_turning_the_wheels_takes_its_time():
    # 0.2 rad at 0.5 rad/s take 0.4 s: 3.2 m at 8 m/s; the heading is the mean curvature times the way.
    c = slew(ORIGIN, 8.0, 0.0, 0.2, A)
    assert c.way[-1] == pytest.approx(3.2)
    assert c.heading[-1] == pytest.approx(0.5 * math.tan(0.2) / 2.7 * 3.2)
    assert c.y[-1] == pytest.approx(math.tan(0.2) / 2.7 * 3.2**2 / 6.0, rel=0.15)
    # At 18 m/s only 0.1 rad/s are allowed (see `steering_rate`): 2 s.
    assert slew(ORIGIN, 18.0, 0.0, 0.2, A).way[-1] == pytest.approx(36.0)
    assert slew(ORIGIN, 10.0, 0.2, 0.2, A).way[-1] == pytest.approx(0.1)


def test_the_wheels_turn_evenly_from_any_angle_in_any_direction():
    pose, first, last = Pose(3.0, -2.0, 2.0), math.tan(0.2) / 2.7, math.tan(-0.1) / 2.7
    c = slew(pose, 8.0, 0.2, -0.1, A)
    length = 8.0 * 0.3 / 0.5
    assert c.way == pytest.approx(np.linspace(0.0, length, 6))
    way = np.linspace(0.0, length, 4801)
    heading = pose.yaw + np.cumsum(np.append(0.0, (first + (last - first) * (way[1:] - 0.0005) / length) * 0.001))
    assert c.heading == pytest.approx(np.interp(c.way, way, heading), abs=1e-4)
    middle = 0.5 * (heading[1:] + heading[:-1])
    x, y = (np.append(0.0, np.cumsum(part * 0.001)) for part in (np.cos(middle), np.sin(middle)))
    assert c.x == pytest.approx(pose.x + np.interp(c.way, way, x), abs=0.01)
    assert c.y == pytest.approx(pose.y + np.interp(c.way, way, y), abs=0.01)


def test_joined_corridors_count_their_way_on():
    c = join(arc(ORIGIN, 0.0, 2.0), Corridor(np.array([[5.0, 1.0, 0.2, 3.0]])))
    assert c.way[-1] == 5.0
    assert (c.x[-1], c.y[-1], c.heading[-1]) == (5.0, 1.0, 0.2)


def test_without_a_reference_the_arc_is_all_there_is():
    c = plan(ORIGIN, 8.0, 0.1, 0.0, 20.0, None, None, A)
    assert c.heading[-1] == pytest.approx(math.tan(0.1) / 2.7 * 20.0)


@pytest.mark.parametrize("pose", [Pose(0.0, 4.1, 0.0), Pose(0.0, 0.0, 1.1)])
def test_far_from_the_reference_the_arc_is_all_there_is(pose):
    c = plan(pose, 1.0, 0.0, 0.0, 20.0, STRAIGHT, None, A)
    assert c.heading == pytest.approx(pose.yaw)


@settings(max_examples=50)
@given(st.floats(-2.0, 2.0), st.floats(-0.3, 0.3), st.floats(1.0, 12.0))
def test_the_way_back_starts_where_the_ego_is_and_ends_on_the_reference(offset, heading, speed):
    pose = Pose(10.0, offset, heading)
    c = plan(pose, speed, 0.0, 0.0, 80.0, STRAIGHT, None, A)
    assert (c.x[0], c.y[0], c.heading[0]) == (10.0, offset, heading)
    assert abs(c.y[-1]) < 0.1
    assert abs(c.heading[-1]) < 0.05
    assert 80.0 - 1.0 <= c.way[-1] <= 80.0 + 1.0
    step = np.hypot(np.diff(c.x), np.diff(c.y))
    assert (step <= np.diff(c.way) * 1.35 + 0.02).all()
    # No jumps of the direction where the parts meet.
    direction = np.arctan2(np.diff(c.y), np.diff(c.x))[step > 1e-6]
    assert np.abs(np.diff(direction)).max() < 0.35


def test_first_the_steering_that_is_applied_counts():
    left, right = (plan(ORIGIN, 10.0, s, 0.0, 30.0, STRAIGHT, None, A) for s in (0.1, -0.1))
    after = np.searchsorted(left.way, 10.0 * A.response_time)
    expected = (1 - math.cos(math.tan(0.1) / 2.7 * 3.0)) / (math.tan(0.1) / 2.7)
    assert left.y[after] == pytest.approx(expected, abs=0.02)
    assert right.y[after] == pytest.approx(-expected, abs=0.02)
    assert left.y.max() > left.y[after]  # it still drifts while the wheels turn back


@pytest.mark.parametrize(("speed", "scale"), [(2.0, 3.0), (8.0, 4.8), (30.0, 12.0)])
@pytest.mark.parametrize("yaw", [0.0, 0.6, -2.0])
def test_the_way_back_is_critically_damped(speed, scale, yaw):
    frame = Pose(5.0, -7.0, yaw)
    reference = Route(to_map(np.stack((np.arange(-20.0, 200.0, 2.0), np.zeros(110)), axis=-1), frame))
    x, y = to_map(np.array([[10.0, 1.5]]), frame)[0]
    c = plan(Pose(x, y, yaw + 0.2), speed, 0.0, 0.0, 60.0, reference, None, A)
    lead = max(speed * A.response_time, 1.0) + 0.1  # straight on, wheels and all
    e, slope = 1.5 + lead * math.sin(0.2), math.tan(0.2)
    s = np.arange(1.0, math.ceil(60.0 - lead) + 1.0)
    offset = (e + (slope + e / scale) * s) * np.exp(-s / scale)
    direction = ((slope + e / scale) - (e + (slope + e / scale) * s) / scale) * np.exp(-s / scale)
    expected = to_map(np.stack((10.0 + lead * math.cos(0.2) + s, offset), axis=-1), frame)
    back = slice(len(c.way) - len(s), None)
    assert c.way[back] == pytest.approx(lead + s)
    assert np.stack((c.x, c.y), axis=-1)[back] == pytest.approx(expected, abs=1e-6)
    assert c.heading[back] == pytest.approx(yaw + np.arctan(direction), abs=1e-6)


@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_on_a_bend_the_way_back_goes_round_it(side):
    turn = np.linspace(-1.0, 3.0, 401)
    circle = Route(np.stack((20.0 * np.sin(turn), side * 20.0 * (1.0 - np.cos(turn))), axis=-1))
    steering = side * math.atan(2.7 / 20.0)
    c = plan(ORIGIN, 8.0, steering, steering, 30.0, circle, 20.0, A)
    assert np.hypot(c.x, c.y - side * 20.0) == pytest.approx(20.0, abs=0.01)
    assert c.heading == pytest.approx(side * c.way / 20.0, abs=0.03)


def test_the_way_leads_back_to_where_the_ego_is_on_the_reference():
    there_and_back = Route(np.array([[0.0, 0.0], [100.0, 0.0], [100.0, 3.0], [0.0, 3.0]]))
    pose = Pose(50.0, 1.6, 0.0)
    assert plan(pose, 5.0, 0.0, 0.0, 40.0, there_and_back, 50.0, A).y[-1] == pytest.approx(0.0, abs=0.05)
    against_it = plan(pose, 5.0, 0.0, 0.0, 40.0, there_and_back, 153.0, A)
    assert against_it.y[-1] == pytest.approx(1.6)  # straight on


def test_then_the_wheels_turn_to_what_follows_the_reference():
    c = plan(ORIGIN, 10.0, 0.1, -0.1, 30.0, STRAIGHT, None, A)
    turned = 10.0 * A.response_time
    slewed = turned + 10.0 * 0.2 / steering_rate(10.0, A)
    at = [int(np.abs(c.way - way).argmin()) for way in (turned, slewed)]
    assert c.way[at] == pytest.approx([turned, slewed])
    # The curvatures on the way from one to the other sum up to nothing.
    assert c.heading[at] == pytest.approx(turned * math.tan(0.1) / 2.7)


def test_what_is_shorter_than_the_response_is_an_arc():
    c = plan(ORIGIN, 10.0, 0.1, 0.0, 2.5, STRAIGHT, None, A)
    assert c.way[-1] == 2.5
    assert c.heading[-1] == pytest.approx(2.5 * math.tan(0.1) / 2.7)


def meet(*points, length=40.0):
    return contacts(arc(ORIGIN, 0.0, length), np.array(points, float), A)


def test_a_point_ahead_is_met_when_the_front_has_come_to_it():
    assert meet((20.0, 0.0)).way[0] == pytest.approx(20.0 - 3.7)
    assert meet((20.3, 0.5)).way[0] == pytest.approx(20.3 - 3.7)
    assert meet((3.71, 0.0)).way[0] == pytest.approx(0.01)


@pytest.mark.parametrize(("y", "met"), [(1.17, True), (1.18, False), (-1.17, True), (-1.18, False)])
def test_the_body_is_widened_by_the_clearance(y, met):
    # 1.85 / 2 + 0.25 = 1.175 m
    c = meet((20.0, y))
    assert np.isfinite(c.way[0]) == met
    assert c.gap[0] == pytest.approx(abs(y) - 0.925)
    assert c.way_abreast[0] == pytest.approx(16.3)
    assert c.side[0] == math.copysign(1.0, y)
    assert c.heading[0] == 0.0


@pytest.mark.parametrize(("y", "met"), [(1.1, False), (0.97, True)])
def test_what_stands_alongside_already_only_counts_if_the_body_sweeps_it(y, met):
    assert np.isfinite(meet((2.0, y)).way[0]) == met


def test_what_is_behind_or_beyond_is_never_met():
    c = meet((-5.0, 0.0), (80.0, 0.0))
    assert np.isinf(c.way).all()
    assert np.isinf(c.gap).all()


def test_turning_sweeps_the_inner_side():
    turn = arc(ORIGIN, 1.0 / 6.0, 9.0)
    inner = contacts(turn, np.array([[3.0, 1.3]]), A)
    assert np.isinf(meet((3.0, 1.3)).way[0])
    assert np.isfinite(inner.way[0])


@settings(max_examples=50)
@given(st.floats(-0.12, 0.12), st.floats(4.5, 25.0), st.floats(-4.0, 4.0))
def test_contacts_agree_with_driving_the_corridor_in_small_steps(curvature, x, y):
    found = contacts(arc(ORIGIN, curvature, 25.0), np.array([[x, y]]), A)
    way = np.arange(0.0, 25.0, 0.02)
    turn = 0.5 * curvature * way
    px, py = way * np.sinc(turn / np.pi) * np.cos(turn), way * np.sinc(turn / np.pi) * np.sin(turn)
    along = (x - px) * np.cos(2 * turn) + (y - py) * np.sin(2 * turn)
    across = (y - py) * np.cos(2 * turn) - (x - px) * np.sin(2 * turn)
    inside = (along >= -A.rear) & (along <= A.front)
    margin = np.abs(np.abs(across) - A.half_width - A.lateral_clearance)[inside]
    if len(margin) and margin.min() < 0.06:
        return  # on the edge the spacing of the poses decides
    hit = inside & (np.abs(across) < A.half_width + A.lateral_clearance)
    if hit.any():
        assert found.way[0] == pytest.approx(way[hit.argmax()], abs=0.45)
    else:
        assert np.isinf(found.way[0])


def reference_contacts(c, points):
    """The table of `Contacts`, all poses and points at once."""
    dx, dy = points[:, 0] - c.x[:, None], points[:, 1] - c.y[:, None]
    cos, sin = np.cos(c.heading)[:, None], np.sin(c.heading)[:, None]
    along, left = dx * cos + dy * sin, dy * cos - dx * sin
    gap = np.where((along >= -A.rear) & (along <= A.front), np.abs(left) - A.half_width, np.inf)
    touches = gap < np.where(along[0] > A.front, A.lateral_clearance, ABREAST_CLEARANCE_M)
    column, first, nearest = np.arange(len(points)), touches.argmax(axis=0), gap.argmin(axis=0)
    met = np.where(touches.any(axis=0), np.maximum(c.way[first] + along[first, column] - A.front, 0.0), np.inf)
    abreast = np.maximum(c.way[nearest] + along[nearest, column] - A.front, 0.0)
    side = np.where(left[nearest, column] >= 0.0, 1.0, -1.0)
    return np.stack((met, gap.min(axis=0), abreast, c.heading[nearest], side))


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.floats(-0.15, 0.15), st.floats(-3.0, 3.0), st.floats(0.5, 30.0))
def test_contacts_are_those_of_all_poses_with_all_points(seed, curvature, yaw, length):
    pose = Pose(-40.0, 25.0, yaw)
    points = to_map(np.random.default_rng(seed).uniform((-6.0, -12.0), (30.0, 12.0), (60, 2)), pose)
    c = arc(pose, curvature, length)
    assert contacts(c, points, A).table == pytest.approx(reference_contacts(c, points), abs=1e-9)
