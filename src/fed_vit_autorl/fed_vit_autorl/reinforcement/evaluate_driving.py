"""``fedvit evaluate driving``: closed-loop scores on held-out routes, shield on, beside what each part is worth."""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from multiprocessing import get_context
from pathlib import Path

import click
import numpy as np

from fed_vit_autorl.cli.output import CommandError, emit, json_option
from fed_vit_autorl.deployment import keys, release
from fed_vit_autorl.deployment.release import Manifest
from fed_vit_autorl.edge import runtime
from fed_vit_autorl.edge.perceiver import Perceiver
from fed_vit_autorl.evaluation.driving import DrivingEvaluator
from fed_vit_autorl.evaluation.run_log import read_runs, write_runs
from fed_vit_autorl.reinforcement.closed_loop import MakeDriver, record
from fed_vit_autorl.reinforcement.collect import FIRST_EVALUATION_SEED
from fed_vit_autorl.reinforcement.drivers import ExpertDriver, ModelPerception, PolicyDriver, ShieldedDriver
from fed_vit_autorl.reinforcement.policy import RESIDUAL_HEADS
from fed_vit_autorl.reinforcement.policy_runtime import load_policy
from fed_vit_autorl.simulation.config import EgoConfig, WorldConfig
from fed_vit_autorl.simulation.town import TownKind, TownSpec
from fed_vit_autorl.simulation.weather import WEATHERS
from fed_vit_autorl.simulation.world import World

ROUTES_PER_TOWN = 5
FRAME_S = 0.1
"""The slower end of the policy's 10 to 20 Hz."""
FIGURES = (
    "route_completion",
    "driving_score_lb20",
    "driving_score_lb21",
    "at_fault_collisions",
    "collisions",
    "infractions",
    "off_road_share",
    "interventions_per_km",
    "hard_braking_per_km",
    "comfortable_share",
    "near_misses",
    "min_ttc_s",
    "speed_mean",
    "kilometres",
    "routes",
)


@dataclass(frozen=True)
class Task:
    """One route: `index` decides town, weather and seed; `variant` the driver."""

    index: int
    variant: str
    release: Path
    trusted_keys: Path
    folder: Path
    route_length: float
    limit_s: float

    @property
    def town(self) -> TownSpec:
        """The town, one for `ROUTES_PER_TOWN` routes in a row; no training uses its seed."""
        number = self.index // ROUTES_PER_TOWN
        kinds = tuple(TownKind)
        return TownSpec(kind=kinds[number % len(kinds)], seed=FIRST_EVALUATION_SEED + number)

    @property
    def weather(self) -> str:
        """Every weather in turn, one per town."""
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
        egos={"ego": EgoConfig(first.weather, first.route_length)},
        image=perceives,
        scan=perceives,
        dt=FRAME_S,
    )
    make = VARIANTS[first.variant](first)
    with World(config) as world:
        for task in tasks:
            runs = record(world, task.index, make, task.limit_s)
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


def evaluate(tasks: list[Task], jobs: int) -> dict[str, dict]:
    """Figures by variant; routes whose log is there are not driven again."""
    missing = [task for task in tasks if not task.log.exists()]
    towns = [list(group) for _, group in groupby(missing, key=lambda task: (task.variant, task.town))]
    click.echo(f"{len(missing)} of {len(tasks)} drives to go", err=True)
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        for _ in pool.map(run_town, towns):
            pass
    figures = {}
    for variant, group in groupby(tasks, key=lambda task: task.variant):
        evaluator = DrivingEvaluator()
        for task in group:
            for run in read_runs(task.log):
                evaluator.add(run)
        figures[variant] = evaluator.result()
    return figures


@click.command()
@click.option("--routes", type=click.IntRange(1), default=100, show_default=True)
@click.option("--release", "folder", type=click.Path(path_type=Path), default=Path("releases/base"), show_default=True)
@click.option("--trusted-keys", type=click.Path(path_type=Path), default=Path("releases/keys"), show_default=True)
@click.option("--variants", default=",".join(VARIANTS), show_default=True, help="drivers, separated by commas")
@click.option("--route-length", type=click.FloatRange(40.0), default=200.0, show_default=True, help="at least [m]")
@click.option("--limit", "limit_s", type=float, default=300.0, show_default=True, help="per route [s of simulation]")
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="processes")
@click.option("--out", type=click.Path(path_type=Path), default=Path("out/evaluate_driving"), show_default=True)
@json_option
def driving(
    routes: int,
    folder: Path,
    trusted_keys: Path,
    variants: str,
    route_length: float,
    limit_s: float,
    jobs: int,
    out: Path,
    as_json: bool,
) -> None:
    """Drive held-out routes and score them; towns, seeds and most weathers are ones that no training saw.

    The first variant's figures are the result, the others' its ablations: `shielded` is the policy under the safety
    shield, `policy` the same without it, `prior` that without what it learned, `expert` the privileged expert. Runs
    already in OUT for the same release are not driven again, so an evaluation that was stopped goes on.
    """
    names = variants.split(",")
    if unknown := sorted(set(names) - set(VARIANTS)):
        raise CommandError(f"unknown variant {', '.join(unknown)}; there are: {', '.join(VARIANTS)}")
    try:
        manifest = release.verify(folder, keys.load_public_keys(trusted_keys))
    except (release.ReleaseRefused, OSError, ValueError) as error:
        raise CommandError(f"{folder}: {error}") from error
    runs = out / manifest.model_id
    tasks = [
        Task(index, name, folder, trusted_keys, runs, route_length, limit_s)
        for name in names
        for index in range(routes)
    ]
    figures = evaluate(tasks, jobs)
    chosen = {name: {key: value[key] for key in FIGURES} for name, value in figures.items()}
    result = chosen[names[0]] | {"ablations": {name: chosen[name] for name in names[1:]}, "model": manifest.model_id}
    emit(result, as_json)
