"""The evaluation commands on the expert, and what a failing camera does to a shielded policy."""

import json
from dataclasses import dataclass, field

import numpy as np
import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fed_vit_autorl.deployment import keys, release
from fed_vit_autorl.evaluation.run_log import Infraction, InfractionKind, RunLog, Step
from fed_vit_autorl.reinforcement.drivers import Action, ModelPerception, PolicyDriver, ShieldedDriver
from fed_vit_autorl.reinforcement.evaluate_driving import driving
from fed_vit_autorl.reinforcement.evaluate_scenarios import rates
from fed_vit_autorl.reinforcement.evaluation_drives import Task
from fed_vit_autorl.reinforcement.policy import VisionPolicy
from fed_vit_autorl.reinforcement.policy_release import engine
from fed_vit_autorl.simulation.boxworld import EGO, BoxWorld
from fed_vit_autorl.simulation.events import Collision
from fed_vit_autorl.simulation.vehicle import Control


@pytest.fixture(scope="module")
def any_release(tmp_path_factory):
    """The expert reads nothing of it."""
    folder, key = tmp_path_factory.mktemp("release"), Ed25519PrivateKey.generate()
    release.write_release(folder / "base", {"a": b"1"}, key, version=1, architecture={})
    keys.save_public_key(key.public_key(), folder / "keys" / "test.pub")
    return folder


def test_routes_are_driven_scored_and_not_driven_again(any_release, tmp_path):
    options = ["--routes", "1", "--variants", "expert", "--route-length", "40", "--limit", "20", "--out", str(tmp_path)]
    options += ["--release", str(any_release / "base"), "--trusted-keys", str(any_release / "keys"), "--json"]
    first = CliRunner().invoke(driving, options, catch_exceptions=False)
    figures = json.loads(first.stdout.splitlines()[-1])
    assert figures["routes"] == 1
    assert 0.3 < figures["route_completion"] <= 1.0
    assert figures["at_fault_collisions"] == 0
    assert figures["ablations"] == {}
    logs = list(tmp_path.rglob("*.jsonl"))
    stamp = logs[0].stat().st_mtime_ns
    again = CliRunner().invoke(driving, options, catch_exceptions=False)
    assert json.loads(again.stdout.splitlines()[-1]) == figures
    assert logs[0].stat().st_mtime_ns == stamp


def test_towns_and_weathers_of_routes_are_held_out_and_vary(tmp_path):
    tasks = [Task(index, "expert", tmp_path, tmp_path, tmp_path, 200.0, 300.0) for index in range(100)]
    assert len({task.town for task in tasks}) == 20
    assert min(task.town.seed for task in tasks) >= 1000
    assert {"noon", "rain_dusk", "fog", "night"} <= {task.weather for task in tasks}


@dataclass
class Idle:
    """A driver that rolls on."""

    actions: list[Action] = field(default_factory=list)

    def act(self, observation) -> Action:
        return Action(Control(0.0, 0.3, 0.0), np.stack((np.arange(1.0, 21.0), np.zeros(20)), axis=-1))


def with_image(view, image):
    """A box world's view with a picture."""
    names = ("stamp", "points", "base_from_lidar", "ego", "route", "light", "events", "truth", "completion")
    return type("View", (), {name: getattr(view, name) for name in names} | {"image": image, "camera": None})()


def test_without_pictures_the_policys_last_word_grows_old_and_the_shield_stops():
    world, perception = BoxWorld(), ModelPerception(None)
    view = with_image(world.reset(3)[EGO], None)
    driver = ShieldedDriver(view, PolicyDriver(view, engine(VisionPolicy(8).eval()), perception))
    driver._driver._last = Action(Control(0.0, 0.5, 0.0), np.zeros((0, 2)), stamp=0.0)
    reasons = {}
    for _ in range(10):
        action = driver.act(view)
        reasons[view.stamp] = action.intervention
        view = with_image(world.step({EGO: action.control})[EGO], None)
    assert reasons[0.1] != "proposal_stale"
    assert reasons[0.25] == "proposal_stale"
    assert action.control.brake > 0.0


def test_after_a_contact_an_operator_clears_the_stop():
    world = BoxWorld()
    view = world.reset(5)[EGO]
    driver = ShieldedDriver(view, Idle())
    contact = Collision(0.0, "x", "stands", (0.0, 0.0, 0.0), 0.0, 1.0, 1.0, 0.0, False)
    latched = []
    for frame in range(240):
        seen = with_image(view, None)
        seen.events = (contact,) if frame == 0 else ()
        action = driver.act(seen)
        latched.append(action.intervention == "collision")
        view = world.step({EGO: action.control})[EGO]
    assert all(latched[:200])
    assert not any(latched[201:])


def run(*infractions: Infraction, ttc: float | None = None, intervention: str = "") -> RunLog:
    step = Step(0.0, 0.0, 0.0, 0.0, 5.0, 0.0, 0.0, 0.0, 8.0, ttc, None, False, intervention)
    return RunLog("r", 10.0, [step], list(infractions), False, "noon")


def test_rates_by_hand():
    hit = Infraction(InfractionKind.COLLISION_VEHICLE, 1.0, True)
    struck = Infraction(InfractionKind.COLLISION_PEDESTRIAN, 1.0, False)
    red = Infraction(InfractionKind.RED_LIGHT, 1.0)
    found = rates([run(hit, struck), run(struck), run(red), run(ttc=1.0, intervention="obstacle")])
    assert found["collision_rate"] == 0.5
    assert found["at_fault_collisions"] == 1
    assert found["upper_bound_95"] is None
    assert found["violation_rate"] == found["near_miss_rate"] == found["intervention_rate"] == 0.25
    assert rates([run()] * 300)["upper_bound_95"] == pytest.approx(0.01)
