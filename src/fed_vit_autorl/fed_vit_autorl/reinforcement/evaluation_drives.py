"""The drives of an evaluation: each a task of its own, logged, resumable, and spread over processes."""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from multiprocessing import get_context
from pathlib import Path

import click
import numpy as np

from fed_vit_autorl.cli.output import CommandError
from fed_vit_autorl.deployment import keys, release
from fed_vit_autorl.deployment.processes import end_with_parent
from fed_vit_autorl.deployment.release import Manifest
from fed_vit_autorl.edge import runtime
from fed_vit_autorl.edge.perceiver import Perceiver
from fed_vit_autorl.evaluation.run_log import write_runs
from fed_vit_autorl.reinforcement.closed_loop import MakeDriver, record
from fed_vit_autorl.reinforcement.collect import FIRST_EVALUATION_SEED
from fed_vit_autorl.reinforcement.drivers import ExpertDriver, ModelPerception, PolicyDriver, ShieldedDriver
from fed_vit_autorl.reinforcement.policy import RESIDUAL_HEADS
from fed_vit_autorl.reinforcement.policy_runtime import load_policy
from fed_vit_autorl.simulation.config import EgoConfig, WorldConfig
from fed_vit_autorl.simulation.scenarios import Scenario
from fed_vit_autorl.simulation.town import TownKind, TownSpec
from fed_vit_autorl.simulation.weather import WEATHERS
from fed_vit_autorl.simulation.world import World

ROUTES_PER_TOWN = 5
FRAME_S = 0.1
"""The slower end of the policy's 10 to 20 Hz."""
EGO = "ego"


@dataclass(frozen=True)
class Task:
    """One route: `index` decides town, weather and seed, `variant` the driver; a `scenario` makes it difficult."""

    index: int
    variant: str
    release: Path
    trusted_keys: Path
    folder: Path
    route_length: float
    limit_s: float
    scenario: Scenario | None = None

    @property
    def town(self) -> TownSpec:
        """The town, one for `ROUTES_PER_TOWN` routes in a row; no training uses its seed."""
        number = self.index // ROUTES_PER_TOWN
        kinds = tuple(TownKind)
        return TownSpec(kind=kinds[number % len(kinds)], seed=FIRST_EVALUATION_SEED + number)

    @property
    def weather(self) -> str:
        """Every weather in turn, one per town; noon where a scenario may bring its own."""
        if self.scenario is not None:
            return "noon"
        names = sorted(WEATHERS)
        return names[(self.index // ROUTES_PER_TOWN) % len(names)]

    @property
    def log(self) -> Path:
        """Where the route's run log is kept."""
        return self.folder / self.variant / f"route_{self.index:03d}.jsonl"

    def manifest(self) -> Manifest:
        """The release's, verified."""
        return release.verify(self.release, keys.load_public_keys(self.trusted_keys))


def run_town(tasks: list[Task]) -> None:
    """Drive the routes of one town and variant."""
    first = tasks[0]
    perceives = first.variant != "expert"
    config = WorldConfig(
        town=first.town,
        egos={EGO: EgoConfig(first.weather, first.route_length)},
        image=perceives,
        scan=perceives,
        dt=FRAME_S,
    )
    make = VARIANTS[first.variant](first)
    with World(config) as world:
        for task in tasks:
            scenarios = {EGO: task.scenario} if task.scenario else None
            runs = record(world, task.index, make, task.limit_s, scenarios)
            task.log.parent.mkdir(parents=True, exist_ok=True)
            write_runs(task.log, runs)
            completion = ", ".join(f"{run.completion:.2f}" for run in runs)
            click.echo(f"{task.variant} route {task.index}: completion {completion}", err=True)


def _shielded(task: Task) -> MakeDriver:
    make = _policy(task)
    return lambda name, observation: ShieldedDriver(observation, make(name, observation))


def _policy(task: Task) -> MakeDriver:
    manifest = task.manifest()
    return _driving(task, manifest, load_policy(task.release, manifest))


def _prior(task: Task) -> MakeDriver:
    """The proposals that the policy's residuals stand on: the heads that make the residuals give nothing."""
    manifest = task.manifest()
    weights = release.read_weights(task.release, manifest, "policy")
    mute = {name: np.zeros_like(value) for name, value in weights.items() if name.startswith(RESIDUAL_HEADS)}
    graph = release.read_file(task.release, manifest, "policy.onnx")
    return _driving(task, manifest, runtime.create(graph, weights | mute))


def _driving(task: Task, manifest: Manifest, policy: runtime.ModelRuntime) -> MakeDriver:
    perceiver = Perceiver(runtime.load(task.release, manifest, "perception"))
    return lambda name, observation: PolicyDriver(observation, policy, ModelPerception(perceiver))


def _expert(task: Task) -> MakeDriver:
    return lambda name, observation: ExpertDriver(observation)


VARIANTS: dict[str, Callable[[Task], MakeDriver]] = {
    "shielded": _shielded,
    "policy": _policy,
    "prior": _prior,
    "expert": _expert,
}
"""Who drives: the policy under the safety shield, the policy alone, the policy without what it learned, the expert."""


def drive_all(tasks: list[Task], jobs: int) -> None:
    """Drive what has no log yet, in `jobs` processes."""
    missing = [task for task in tasks if not task.log.exists()]
    towns = [list(group) for _, group in groupby(missing, key=lambda task: (task.variant, task.town))]
    click.echo(f"{len(missing)} of {len(tasks)} drives to go", err=True)
    with ProcessPoolExecutor(jobs, get_context("spawn"), end_with_parent) as pool:
        for _ in pool.map(run_town, towns):
            pass


def open_release(folder: Path, trusted_keys: Path) -> Manifest:
    """The verified release that drives. Raises CommandError."""
    try:
        return release.verify(folder, keys.load_public_keys(trusted_keys))
    except (release.ReleaseRefused, OSError, ValueError) as error:
        raise CommandError(f"{folder}: {error}") from error
