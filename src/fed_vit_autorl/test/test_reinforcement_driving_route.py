import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fed_vit_autorl.reinforcement.route import (
    Pose,
    RoadOption,
    Route,
    RouteReason,
    RouteRefused,
    to_local,
    to_map,
    wrap,
)

coordinates = st.floats(-1e3, 1e3)
poses = st.builds(Pose, coordinates, coordinates, st.floats(-np.pi, np.pi))


def circle(radius: float, sweep: float = np.pi, count: int = 200) -> np.ndarray:
    angle = np.linspace(0.0, sweep, count)
    return radius * np.stack((np.sin(angle), 1.0 - np.cos(angle)), axis=-1)


@given(poses, st.lists(st.tuples(coordinates, coordinates), min_size=1, max_size=20))
def test_local_and_map_frames_are_inverse(pose, points):
    points = np.array(points)
    np.testing.assert_allclose(to_map(to_local(points, pose), pose), points, atol=1e-8)
    np.testing.assert_allclose(
        np.linalg.norm(to_local(points, pose), axis=1), np.linalg.norm(points - (pose.x, pose.y), axis=1), atol=1e-8
    )


@given(st.floats(-50, 50))
def test_wrapped_angle_is_the_same_direction(angle):
    assert -np.pi <= wrap(angle) < np.pi
    assert np.cos(wrap(angle)) == pytest.approx(np.cos(angle), abs=1e-9)
    assert np.sin(wrap(angle)) == pytest.approx(np.sin(angle), abs=1e-9)


@settings(max_examples=60)
@given(st.floats(0.02, 0.98), st.floats(-3.0, 3.0), st.floats(-0.5, 0.5))
def test_pose_beside_a_circle_projects_to_where_it_was_put(fraction, lateral, turn):
    route = Route(circle(40.0))
    s = fraction * route.length
    heading = float(route.heading(s))
    x, y = route.at(s) + lateral * np.array([-np.sin(heading), np.cos(heading)])
    projection = route.project(Pose(x, y, heading + turn))
    assert projection.s == pytest.approx(s, abs=0.4)
    assert projection.lateral == pytest.approx(lateral, abs=0.02)
    assert projection.heading_error == pytest.approx(turn, abs=0.02)


def test_curvature_of_a_circle_is_one_over_its_radius():
    left = Route(circle(20.0))
    np.testing.assert_allclose(left.curvature(np.linspace(5, 50, 9)), 1 / 20, rtol=1e-2)
    right = Route(circle(20.0) * (1, -1))
    np.testing.assert_allclose(right.curvature(np.linspace(5, 50, 9)), -1 / 20, rtol=1e-2)


def test_window_keeps_a_crossing_route_on_its_branch():
    # A figure that passes the origin eastwards at s = 20 and northwards at s = 100.
    route = Route(np.array([[-20, 0], [20, 0], [20, -20], [0, -20], [0, 20]], float))
    at_origin = Pose(0.0, 0.0, np.pi / 2)
    assert route.project(at_origin, near=19.0, window=10.0).s == pytest.approx(20.0)
    assert route.project(at_origin, near=101.0, window=10.0).s == pytest.approx(100.0)


def test_a_window_off_the_route_is_its_nearest_end():
    route = Route(np.array([[0, 0], [30, 0], [30, 30]], float))
    assert route.project(Pose(29.0, 10.0, 0.0), near=-50.0).s == 29.0
    assert route.project(Pose(10.0, 1.0, 0.0), near=200.0).s == 31.0


def test_arrays_may_be_read_only_of_any_layout_shape_and_type():
    points = np.array([[0, 0, 9], [50, 0, 9], [50, 50, 9]])
    limits = np.repeat([10.0, 11.0, 12.0], 2)[::2]
    points.flags.writeable = limits.flags.writeable = False
    route = Route(points, limits)
    s = np.linspace(-5.0, 105.0, 12).reshape(3, 4)[:, ::-1]
    s.flags.writeable = False
    for values in (route.heading(s), route.curvature(s), route.speed_limit(s)):
        assert values.shape == (3, 4)
    np.testing.assert_array_equal(route.at(s)[1, 2], route.at(s[1, 2]))
    assert [route.at(5).tolist(), route.at(np.array(5)).tolist(), route.at(np.float32(5)).tolist()] == [[5.0, 0.0]] * 3
    assert route.at(np.zeros(0)).shape == (0, 2)
    off_route, beside = np.asfortranarray([[3, 1], [51, 8]]), np.full((2, 2), 0.5, np.float32)
    off_route.flags.writeable = beside.flags.writeable = False
    np.testing.assert_allclose(route.project_points(off_route, 0.0, 100.0), [[3.0, 58.0], [1.0, -1.0]])
    np.testing.assert_allclose(to_local(to_map(beside, Pose(1.0, 2.0, 3.0)), Pose(1.0, 2.0, 3.0)), beside)


def test_what_is_not_a_number_stays_none():
    route = Route(np.array([[0, 0], [30, 0], [30, 30]], float))
    assert np.isnan(route.at(np.nan)).all()
    assert np.isnan([route.heading(np.nan), route.curvature(np.nan)]).all()
    here = route.project(Pose(np.nan, 0.0, 0.0))
    assert np.isnan([here.s, here.lateral, here.heading_error]).all()


def test_points_are_placed_along_and_beside_the_route():
    route = Route(np.array([[0, 0], [30, 0], [30, 30]], float))
    s, lateral = route.project_points(np.array([[10.0, 2.0], [10.0, -1.0], [28.0, 20.0]]), 0.0, 60.0)
    np.testing.assert_allclose(s, [10.0, 10.0, 50.0], atol=1e-6)
    np.testing.assert_allclose(lateral, [2.0, -1.0, 2.0], atol=1e-6)


def test_local_waypoints_of_a_straight_route():
    route = Route(np.array([[0, 0], [0, 100]], float))
    waypoints = route.local(Pose(1.0, 10.0, np.pi / 2), 10.0, count=3, spacing=2.0)
    np.testing.assert_allclose(waypoints, [[2, 1], [4, 1], [6, 1]], atol=1e-9)


def test_route_goes_on_straight_beyond_its_ends():
    route = Route(np.array([[0, 0], [10, 0]], float))
    np.testing.assert_allclose(route.at(np.array([-2.0, 13.0])), [[-2, 0], [13, 0]])


def test_option_names_the_turn_ahead():
    corner = Route(np.array([[0, 0], [30, 0], [30, 30]], float))
    assert corner.option(0.0) is RoadOption.FOLLOW
    assert corner.option(20.0) is RoadOption.LEFT
    mirrored = Route(np.array([[0, 0], [30, 0], [30, -30]], float))
    assert mirrored.option(20.0) is RoadOption.RIGHT


@pytest.mark.parametrize(
    ("points", "reason"),
    [
        ([], RouteReason.ROUTE_MALFORMED),
        ([[1.0], [2.0]], RouteReason.ROUTE_MALFORMED),
        ([["a", "b"], ["c", "d"]], RouteReason.ROUTE_MALFORMED),
        ([[0, 0]], RouteReason.ROUTE_TOO_SHORT),
        ([[5, 5]] * 10, RouteReason.ROUTE_TOO_SHORT),
        ([[0, 0], [np.nan, 3]], RouteReason.ROUTE_NOT_FINITE),
        ([[0, 0], [10, 0], [np.inf, 0]], RouteReason.ROUTE_NOT_FINITE),
        ([[0, 0], [10, 0], [1000, 0]], RouteReason.ROUTE_BROKEN),
        (np.zeros((20_001, 2)), RouteReason.ROUTE_TOO_LONG),
    ],
)
def test_garbage_is_refused_with_its_reason(points, reason):
    with pytest.raises(RouteRefused) as refusal:
        Route(points)
    assert refusal.value.reason is reason


def test_the_speed_limit_is_that_of_the_last_point_passed():
    route = Route(np.array([[0, 0], [50, 0], [50, 0], [100, 0]], float), np.array([10.0, 11.0, 5.0, 5.0]))
    np.testing.assert_array_equal(route.speed_limit(np.array([-1.0, 49.9, 50.0, 120.0])), [10.0, 10.0, 11.0, 5.0])


@pytest.mark.parametrize("limits", [[10.0], [10.0, 0.0], [10.0, np.nan], [10.0, 99.0]])
def test_impossible_speed_limits_are_refused(limits):
    with pytest.raises(RouteRefused) as refusal:
        Route(np.array([[0, 0], [50, 0]], float), np.array(limits))
    assert refusal.value.reason is RouteReason.SPEED_LIMIT_INVALID
