"""Generated towns and the routes through them."""

import numpy as np
import pytest

from fed_vit_autorl.reinforcement.route import Pose, RoadOption
from fed_vit_autorl.simulation.ground import KERB_HEIGHT_M, Ground, Surface
from fed_vit_autorl.simulation.layout import plan
from fed_vit_autorl.simulation.routes import RoutePlanReason, RoutePlanRefused, plan_route
from fed_vit_autorl.simulation.town import TownKind, TownReason, TownRefused, TownSpec, build_town, polyline_length


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("towns")


@pytest.fixture(scope="module", params=list(TownKind))
def town(request, cache):
    return build_town(TownSpec(request.param, seed=7), cache)


def test_a_town_has_streets_lights_pavements_and_crossings(town):
    assert len(town.lanes) >= 20
    assert len(town.sidewalks) >= 20
    assert len(town.crossings) >= 10
    assert {connection.signal for out in town.connections.values() for connection in out} <= {
        None,
        *(signal.id for signal in town.signals),
    }
    for signal in town.signals:
        ends = np.array([lane.line[-1] for lane in town.lanes.values()])
        assert np.hypot(*(ends - (signal.x, signal.y)).T).min() < 0.1, "a stop line is where a lane ends"


def test_the_same_spec_is_the_same_town(town, tmp_path):
    again = build_town(town.spec, tmp_path)
    assert again.lanes.keys() == town.lanes.keys()
    assert all((again.lanes[name].line == lane.line).all() for name, lane in town.lanes.items())


def test_two_lanes_per_direction(cache):
    town = build_town(TownSpec(seed=7, lanes=2), cache)
    edges = [lane.edge for lane in town.lanes.values()]
    assert all(edges.count(edge) == 2 for edge in edges)


@pytest.mark.parametrize(
    "wrong", [{"size": 1}, {"size": 99}, {"lanes": 3}, {"block_m": 10.0}, {"seed": -1}, {"speed_limit": 0.0}]
)
def test_a_town_that_cannot_be_is_refused(wrong):
    with pytest.raises(TownRefused) as refusal:
        TownSpec(**wrong)
    assert refusal.value.reason == TownReason.BAD_SPEC


def test_the_ground_knows_road_from_kerb(town):
    ground = Ground(town)
    for lane in town.lanes.values():
        middle = np.mean(lane.line[:2], axis=0)
        assert ground.at(middle) == Surface.ROAD
        assert ground.height(middle) == 0.0
    walks = np.array([lane.line.mean(axis=0) for lane in town.sidewalks.values() if len(lane.line) == 2])
    assert (ground.height(walks) == KERB_HEIGHT_M).mean() > 0.95


def test_nothing_is_built_on_the_street(town):
    ground = Ground(town)
    layout = plan(town, ground)
    assert len(layout.buildings) > 20
    assert not (layout.blocked & (ground.cells != Surface.GREEN)).any()


@pytest.mark.parametrize("seed", range(4))
def test_a_route_can_be_driven(town, seed):
    route = plan_route(town, 300.0, np.random.default_rng(seed))
    line = route.line
    assert line.length >= 250.0
    assert np.linalg.norm(np.diff(route.points, axis=0), axis=1).max() < 2.0
    # The tightest turn that full lock allows: 2.7 m / tan 0.61 = 3.86 m.
    assert np.abs(line.curvature(np.arange(0.0, line.length, 1.0))).max() < 1 / 3.86
    assert len(route.options) == len(route.points) == len(route.speed_limits) == len(route.in_junction)
    for s, number in route.stops:
        signal = town.signals[number]
        assert np.hypot(*(line.at(np.array(s)) - (signal.x, signal.y))) < signal.width
        along = line.project(Pose(signal.x, signal.y, signal.yaw), s)
        assert abs(along.heading_error) < 0.3


def test_options_say_which_way_the_route_turns(cache):
    town = build_town(TownSpec(seed=7), cache)
    for seed in range(6):
        route = plan_route(town, 400.0, np.random.default_rng(seed))
        inside = np.flatnonzero(np.diff(np.concatenate([[0], route.in_junction.astype(int), [0]])))
        for begin, end in inside.reshape(-1, 2):
            before, after = route.points[begin - 1] - route.points[begin - 3], route.points[end + 2] - route.points[end]
            angle = np.arctan2(before[0] * after[1] - before[1] * after[0], before @ after)
            expected = RoadOption.STRAIGHT
            if abs(angle) > np.radians(30):
                expected = RoadOption.LEFT if angle > 0 else RoadOption.RIGHT
            if abs(abs(angle) - np.radians(30)) > 0.1:
                assert set(route.options[begin:end]) == {expected}


def test_a_route_can_change_lanes(cache):
    town = build_town(TownSpec(seed=7, lanes=2, block_m=120), cache)
    line = plan_route(town, 600.0, np.random.default_rng(3)).line
    assert np.abs(line.curvature(np.arange(0.0, line.length, 1.0))).max() < 1 / 3.86


def test_a_route_goes_on_from_where_another_ended(cache):
    town = build_town(TownSpec(seed=7), cache)
    rng = np.random.default_rng(1)
    first = plan_route(town, 200.0, rng)
    second = plan_route(town, 200.0, rng, first.last_lane, tuple(first.points[-1]))
    assert np.linalg.norm(second.points[0] - first.points[-1]) < 1.5
    assert polyline_length(second.points) > 150


def test_a_route_from_a_lane_that_leads_nowhere_is_refused(cache):
    town = build_town(TownSpec(seed=7), cache)
    lane = next(iter(town.lanes))
    blind = town.connections | {lane: []}
    stuck = type(town)(**{**vars(town), "connections": {name: blind[name] if name == lane else [] for name in blind}})
    with pytest.raises(RoutePlanRefused) as refusal:
        plan_route(stuck, 100.0, np.random.default_rng(0), lane)
    assert refusal.value.reason == RoutePlanReason.NO_ROUTE


def test_a_routes_arrays_belong_to_its_points(town):
    for seed in range(8):
        route = plan_route(town, 300.0, np.random.default_rng(seed))
        assert len(route.line.s) == len(route.points), "no point is there twice"
