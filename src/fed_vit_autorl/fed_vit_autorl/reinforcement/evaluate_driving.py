"""``fedvit evaluate driving``: closed-loop scores on held-out routes, shield on, beside what each part is worth."""

from pathlib import Path

import click

from fed_vit_autorl.cli.output import CommandError, emit, json_option
from fed_vit_autorl.evaluation.driving import DrivingEvaluator
from fed_vit_autorl.evaluation.run_log import read_runs
from fed_vit_autorl.reinforcement.evaluation_drives import VARIANTS, Task, drive_all, open_release

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
    manifest = open_release(folder, trusted_keys)
    runs = out / manifest.model_id
    tasks = [
        Task(index, name, folder, trusted_keys, runs, route_length, limit_s)
        for name in names
        for index in range(routes)
    ]
    drive_all(tasks, jobs)
    chosen = {}
    for name in names:
        evaluator = DrivingEvaluator()
        for task in tasks:
            if task.variant == name:
                for run in read_runs(task.log):
                    evaluator.add(run)
        figures = evaluator.result()
        chosen[name] = {key: figures[key] for key in FIGURES}
    result = chosen[names[0]] | {"ablations": {name: chosen[name] for name in names[1:]}, "model": manifest.model_id}
    emit(result, as_json)
