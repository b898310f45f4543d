"""``fedvit evaluate scenarios``: the safety validation; difficult moments by number, judged by what went wrong."""

from pathlib import Path

import click

from fed_vit_autorl.cli.output import emit, json_option
from fed_vit_autorl.evaluation.driving import NEAR_MISS_CLEARANCE_M, NEAR_MISS_TTC_S
from fed_vit_autorl.evaluation.run_log import COLLISIONS, RunLog, read_runs
from fed_vit_autorl.reinforcement.evaluation_drives import Task, drive_all, open_release
from fed_vit_autorl.simulation.scenarios import ScenarioGenerator, ScenarioKind

SEED = 7
ROUTE_M = 150.0
LIMIT_S = 120.0
MOVING = 1.0


def rates(runs: list[RunLog]) -> dict[str, float | int | None]:
    """Shares of the scenarios with a collision, a near miss, a violation, an intervention; and of the way driven.

    Near misses are counted while the ego moves. With no collision at fault in N scenarios its rate lies below 3 / N at
    95 %.
    """
    collisions = [[one for one in run.infractions if one.kind in COLLISIONS] for run in runs]
    at_fault = sum(any(one.at_fault for one in found) for found in collisions)
    count = len(runs)
    return {
        "scenarios": count,
        "collision_rate": sum(bool(found) for found in collisions) / count,
        "at_fault_collisions": at_fault,
        "upper_bound_95": 3.0 / count if at_fault == 0 else None,
        "near_miss_rate": sum(map(_near_miss, runs)) / count,
        "violation_rate": sum(any(one.kind not in COLLISIONS for one in run.infractions) for run in runs) / count,
        "intervention_rate": sum(any(step.intervention for step in run.steps) for run in runs) / count,
        "route_completion": sum(run.completion for run in runs) / count,
    }


def _near_miss(run: RunLog) -> bool:
    moving = [step for step in run.steps if step.speed > MOVING]
    tight = any(step.clearance is not None and step.clearance < NEAR_MISS_CLEARANCE_M for step in moving)
    return tight or any(step.seconds_to_collision < NEAR_MISS_TTC_S for step in moving)


@click.command()
@click.option("--scenarios", "count", type=click.IntRange(1), default=1000, show_default=True)
@click.option("--release", "folder", type=click.Path(path_type=Path), default=Path("releases/base"), show_default=True)
@click.option("--trusted-keys", type=click.Path(path_type=Path), default=Path("releases/keys"), show_default=True)
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="processes")
@click.option("--out", type=click.Path(path_type=Path), default=Path("out/evaluate_scenarios"), show_default=True)
@json_option
def scenarios(count: int, folder: Path, trusted_keys: Path, jobs: int, out: Path, as_json: bool) -> None:
    """Validate the policy under its shield in scenarios: cut-ins, jaywalkers, debris, failing sensors, bad weather.

    Scenarios follow from their number, in towns that no training saw. Those in OUT for the same release are not driven
    again, so a validation that was stopped goes on.
    """
    manifest = open_release(folder, trusted_keys)
    generate = ScenarioGenerator(SEED)
    tasks = [
        Task(index, "shielded", folder, trusted_keys, out / manifest.model_id, ROUTE_M, LIMIT_S, generate(index))
        for index in range(count)
    ]
    drive_all(tasks, jobs)
    runs = {task: list(read_runs(task.log)) for task in tasks}
    by_kind = {
        str(kind): rates(found)
        for kind in ScenarioKind
        if (found := [run for task, driven in runs.items() if task.scenario.kind is kind for run in driven])
    }
    result = rates([run for driven in runs.values() for run in driven])
    emit(result | {"by_kind": by_kind, "model": manifest.model_id}, as_json)
