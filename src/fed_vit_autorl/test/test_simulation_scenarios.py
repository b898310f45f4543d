"""Scenarios: drawn from a seed, played before the ego."""

import numpy as np
import pytest

from fed_vit_autorl.reinforcement.route import Pose
from fed_vit_autorl.simulation.config import EgoConfig, WorldConfig
from fed_vit_autorl.simulation.failures import FAILURES, Failure
from fed_vit_autorl.simulation.rendering import CameraSpec
from fed_vit_autorl.simulation.routes import PlannedRoute
from fed_vit_autorl.simulation.scenarios import Scenario, ScenarioGenerator, ScenarioKind
from fed_vit_autorl.simulation.scripts import SCRIPTS, place_on
from fed_vit_autorl.simulation.town import TownSpec
from fed_vit_autorl.simulation.weather import WEATHERS
from fed_vit_autorl.simulation.world import World

DT = 0.05
NOBODY = np.zeros((0, 2))


@pytest.fixture
def route():
    """200 m straight ahead with a junction from 90 to 110 m."""
    points = np.column_stack([np.arange(0.0, 201.0), np.zeros(201)])
    inside = (points[:, 0] >= 90) & (points[:, 0] <= 110)
    ones = np.ones(201)
    return PlannedRoute(points, 4 * ones.astype(int), 11 * ones, 3.5 * ones, inside, (), ("a",), "a_0")


def play(route, kind, speed, boldness=0.5, others=NOBODY):
    """The actor's states while the ego drives past at `speed` without braking; and the ego's front at each."""
    script = SCRIPTS[kind](route, Scenario(kind, 0.3, boldness))
    front, states = 0.0, []
    while front < 160:
        state = script.step(DT, front - 3.65, speed, others)
        states.append((front, state))
        front += speed * DT
    return states


def test_a_generator_gives_the_same_scenario_for_a_number_and_all_kinds():
    one, again, other = ScenarioGenerator(3), ScenarioGenerator(3), ScenarioGenerator(4)
    assert [one(n) for n in range(50)] == [again(n) for n in range(50)]
    assert [one(n) for n in range(50)] != [other(n) for n in range(50)]
    assert {one(n).kind for n in range(5)} == set(ScenarioKind)
    for n in range(200):
        scenario = one(n)
        assert scenario.weather is None or scenario.weather in WEATHERS
        assert (scenario.failure in FAILURES) == (scenario.kind is ScenarioKind.SENSOR_FAILURE)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 0.9])
def test_actors_keep_away_from_junctions(route, share):
    s = place_on(route, share)
    assert s < 90 - 13 or s > 110 + 13
    assert 30 < s < 190


def test_a_car_cuts_in_in_front_and_leaves_the_lane_again(route):
    states = play(route, ScenarioKind.CUT_IN, 5.0)
    lateral = [state.y for _, state in states if state]
    assert lateral[0] == pytest.approx(-2.9)
    assert max(lateral) == pytest.approx(0.0, abs=0.05), "it gets to the lane's middle"
    starts, first = next((front, s) for front, s in states if s and s.speed > 0)
    # It starts when the gap to its rear falls below 6 m + 2.5 s · 5 m/s = 18.5 m.
    assert first.x - 2.3 - starts == pytest.approx(18.5, abs=0.4)
    assert states[-1][1] is None or states[-1][1].y < -2.0


def test_a_car_does_not_pull_out_into_somebody(route):
    s = place_on(route, 0.3)
    states = play(route, ScenarioKind.CUT_IN, 5.0, others=np.array([[s + 3.0, 0.0]]))
    assert max(state.y for _, state in states if state) < -2.8


@pytest.mark.parametrize("boldness", [0.0, 1.0])
def test_a_jaywalker_crosses_when_the_ego_can_still_stop(route, boldness):
    speed = 10.0
    states = play(route, ScenarioKind.JAYWALKER, speed, boldness)
    front, walker = next((front, state) for front, state in states if state and state.speed > 0)
    # Braking at 6 m/s² after half a second: 5 + 100 / 12 = 13.3 m.
    assert walker.x - front > 13.3
    assert max(state.y for _, state in states if state) > 1.5 * 3.5, "over both lanes"


def test_debris_is_cleared_after_the_ego_has_waited(route):
    script = SCRIPTS[ScenarioKind.DEBRIS](route, Scenario(ScenarioKind.DEBRIS, 0.3))
    s = place_on(route, 0.3)
    waited = [script.step(DT, s - 3.65 - 5.0, 0.0, NOBODY) for _ in range(round(8 / DT))]
    assert waited[0] is not None
    assert sum(state is not None for state in waited) * DT == pytest.approx(6.0, abs=0.1)


def test_every_failure_changes_what_is_delivered_only_while_it_lasts():
    rng = np.random.default_rng(0)
    for name in FAILURES:
        failure = Failure(name, 1.0, 2.0)
        for stamp in (0.0, 0.5, 1.0, 1.5, 2.0):
            image = rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)
            points = rng.normal(0, 10, (50, 4)).astype(np.float32)
            seen, scanned = failure.apply(stamp, image, points)
            same = seen is image and scanned is points
            assert same == (not 1.0 <= stamp < 2.0), name


def test_a_world_plays_a_scenario_and_forgets_it():
    config = WorldConfig(
        town=TownSpec(seed=3, size=3),
        egos={"ego": EgoConfig("noon", 120.0)},
        vehicles=4,
        pedestrians=4,
        camera=CameraSpec(64, 48),
    )
    with World(config) as world:
        seen = world.reset(1, {"ego": Scenario(ScenarioKind.DEBRIS, 0.2)})["ego"]
        name, lies = next((name, user) for name, user in seen.truth.users.items() if name.startswith("debris"))
        at = seen.route.line.project(Pose(lies.x, lies.y, 0.0))
        assert abs(at.lateral) < 0.7
        assert world.actor_id(name) == 100
        silent = Scenario(ScenarioKind.SENSOR_FAILURE, failure="lidar_silent", begins=0.05, seconds=0.05)
        world.reset(1, {"ego": silent})
        assert [world.step({})["ego"].points is None for _ in range(3)] == [True, False, False]
        assert world.reset(1, {"ego": Scenario(ScenarioKind.WEATHER, weather="fog")})["ego"].weather == "fog"
        seen = world.reset(1)["ego"]
        assert seen.weather == "noon"
        assert not [name for name in seen.truth.users if "before" in name]
