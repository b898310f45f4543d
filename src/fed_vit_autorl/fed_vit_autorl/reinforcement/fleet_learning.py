"""What a fleet is worth to its policy: vehicles of unlike towns learn alone, and together through the fleet's pipeline.

Each vehicle drives its own town behind the shield and keeps a `driving_log`; learning is that of `driving_lessons`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import torch

from fed_vit_autorl.federated.pipeline import Pipeline
from fed_vit_autorl.federated.strategies import STRATEGIES
from fed_vit_autorl.federated.update import Layout, Tensors, Update, UpdateMetadata
from fed_vit_autorl.reinforcement.cloning import SPEED, action_errors
from fed_vit_autorl.reinforcement.closed_loop import drive
from fed_vit_autorl.reinforcement.degrade import DegradedPerception
from fed_vit_autorl.reinforcement.demonstrations import INPUTS
from fed_vit_autorl.reinforcement.drivers import PolicyDriver, ShieldedDriver, TruthPerception
from fed_vit_autorl.reinforcement.driving_lessons import LessonSettings, learn
from fed_vit_autorl.reinforcement.driving_log import DrivingLog, load_drives
from fed_vit_autorl.reinforcement.policy_release import build, engine
from fed_vit_autorl.safety.in_world import light_of, route_of
from fed_vit_autorl.simulation.boxtraffic import Behaviour
from fed_vit_autorl.simulation.boxworld import EGO, BoxView, BoxWorld

TOWNS: dict[str, frozenset[Behaviour]] = {
    "queues": frozenset({Behaviour.FOLLOWS, Behaviour.ONCOMING}),
    "pavements": frozenset({Behaviour.WALKS, Behaviour.JAYWALKS, Behaviour.ONCOMING}),
    "parking": frozenset({Behaviour.CUTS_IN, Behaviour.CROSSES}),
}
"""Each vehicle's town, by what happens in it."""
PIPELINE = ["clip", {"top_k": {"ratio": 0.25}}, {"quantise": {"bits": 8}}]
MOST_ROWS = 100_000


class Drive(msgspec.Struct, frozen=True):
    """One drive: what was driven [m], how often the shield stepped in, the mean reward of its rows."""

    metres: float
    interventions: int
    reward: float


@dataclass(frozen=True)
class FleetSettings:
    """`drives` of `drive_s` seconds in each town to learn from, `held_out` more to judge by; `rounds` of `epochs`."""

    drives: int = 8
    held_out: int = 4
    drive_s: float = 20.0
    rounds: int = 8
    epochs: int = 10
    learning_rate: float = 1e-3


def drive_town(architecture: Mapping, weights: Tensors, town: str, seed: int, seconds: float, folder: Path) -> Drive:
    """One drive of the policy behind the shield in a town; its log is left in `folder`."""
    policy, log = engine(build(architecture, weights)), DrivingLog(folder)
    width = architecture["feature_width"]

    def make(name: str, view: BoxView) -> ShieldedDriver:
        log.on_route(route_of(view.route))
        perception = TruthPerception(DegradedPerception(width, np.random.default_rng([seed, 5])))
        return ShieldedDriver(view, PolicyDriver(view, policy, perception))

    metres, count, before = 0.0, 0, ""
    for views, actions in drive(BoxWorld(TOWNS[town]), seed, make, seconds):
        view, action = views[EGO], actions[EGO]
        if view.events:
            log.on_contact()
        log.on_ego(view.ego)
        log.on_light(light_of(view))
        log.on_scene(view.stamp, action.scene)
        log.on_command(view.stamp, action.control, action.intervention)
        metres += view.ego.speed * BoxWorld.dt
        count += bool(action.intervention) and not before
        before = action.intervention
    log.flush()
    reward = load_drives(folder, width, MOST_ROWS)["reward"]
    return Drive(metres, count, float(reward.mean()) if len(reward) else 0.0)


def learn_alone(
    architecture: Mapping, weights: Tensors, rows: Mapping[str, np.ndarray], settings: FleetSettings
) -> Tensors:
    """The weights after as much learning as a fleet's vehicle does, without the fleet."""
    for number in range(settings.rounds):
        delta, _ = learn(architecture, weights, rows, _lessons(settings, number))
        weights = {name: tensor + delta[name] for name, tensor in weights.items()}
    return weights


def learn_together(
    architecture: Mapping, weights: Tensors, towns: Mapping[str, Mapping[str, np.ndarray]], settings: FleetSettings
) -> Tensors:
    """The fleet's weights: every round each vehicle's delta goes through the pipeline, error feedback included."""
    layout = Layout.of(weights)
    vehicles = {town: Pipeline.from_config(PIPELINE, layout) for town in towns}
    cloud, strategy = Pipeline.from_config(PIPELINE, layout), STRATEGIES.build("fedavg")
    for number in range(settings.rounds):
        strategy.begin(weights, number)
        for town, rows in sorted(towns.items()):
            delta, _ = learn(architecture, weights, rows, _lessons(settings, number))
            update = Update(delta, UpdateMetadata(number, 1, town, len(rows["reward"])))
            arrived = cloud.decode(vehicles[town].encode(update))
            strategy.add(arrived, float(arrived.metadata.samples))
        weights = strategy.finish()
    return weights


@torch.no_grad()
def error(architecture: Mapping, weights: Tensors, rows: Mapping[str, np.ndarray]) -> float:
    """Mean action error where the shield stepped in and where it let the policy drive, the two weighing the same: how
    far the policy is from doing by itself what it is made to do, and no more than that.
    """
    data = {name: torch.from_numpy(np.ascontiguousarray(rows[name])) for name in (*INPUTS, "control", "corrected")}
    control = build(architecture, weights)(*(data[name] for name in INPUTS))[0]
    errors = action_errors(control, data["control"], 10.0 * data["ego"][:, SPEED])
    corrected = data["corrected"] > 0.5
    kinds = [errors[chosen].mean().item() for chosen in (corrected, ~corrected) if chosen.any()]
    return float(np.mean(kinds))


def _lessons(settings: FleetSettings, number: int) -> LessonSettings:
    return LessonSettings(epochs=settings.epochs, learning_rate=settings.learning_rate, seed=number)
