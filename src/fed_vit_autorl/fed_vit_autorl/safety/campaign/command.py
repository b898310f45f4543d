"""``fedvit campaign``: thousands of adversarial drives, in two processes, resumable."""

import multiprocessing
import os
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import click
import msgspec
import numpy as np

from fed_vit_autorl.cli.output import CommandError, emit, json_option
from fed_vit_autorl.deployment.processes import end_with_parent

from .episode import Episode, run
from .worlds import WORLDS

FRAME_S = 0.05


@click.command()
@click.option("--episodes", default=1000, show_default=True, type=click.IntRange(1, 1_000_000), help="How many drives.")
@click.option("--first", default=0, show_default=True, type=click.IntRange(0), help="Number of the first one.")
@click.option(
    "--world", type=click.Choice(sorted(WORLDS)), default="boxes", show_default=True, help="Where they drive."
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=Path("out/campaign"),
    show_default=True,
    help="Folder of the episodes' log; those in it are not driven again.",
)
@click.option("--processes", default=2, show_default=True, type=click.IntRange(1, 64), help="How many at a time.")
@json_option
def campaign(episodes: int, first: int, world: str, output: Path, processes: int, as_json: bool) -> None:
    """Attack the safety shield: bad policies and broken sensors in dense traffic, and count what gets through.

    An episode follows from its number alone: to see a failure again, delete the log and give its number as --first.

    \b
    Examples:
      fedvit campaign --episodes 10000 --json
      fedvit campaign --first 4711 --episodes 1 --output /tmp/again
    """
    log = output / f"{world}.jsonl"
    done = _read(log)
    missing = [number for number in range(first, first + episodes) if number not in done]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        for count, episode in enumerate(_drive(world, missing, processes), 1):
            file.write(msgspec.json.encode(episode) + b"\n")
            file.flush()
            done[episode.number] = episode
            bad = sum(bool(one.at_fault) for one in done.values())
            click.echo(f"\r{count}/{len(missing)} episodes, at fault in {bad}", nl=False, err=True)
    click.echo(err=True)
    emit(summary([done[number] for number in range(first, first + episodes)]), as_json)


def summary(episodes: list[Episode]) -> dict:
    """The campaign's figures.

    `upper_bound_95`: of the rate of episodes with a collision at fault, 3 / N without one (rule of three), else by
    Clopper and Pearson. `resume_s`: 95th percentile. `failures`: episodes with a collision at fault.
    """
    from scipy.stats import beta

    count, bad = len(episodes), [one for one in episodes if one.at_fault]
    nominal = [one for one in episodes if one.adversary == "nominal" and one.fault == "none"]
    standing, held = sum(one.standing for one in episodes), sum(one.held for one in episodes)
    resumed = [seconds for one in episodes for seconds in one.resumed]
    exact = float(beta.ppf(0.95, len(bad) + 1, count - len(bad))) if len(bad) < count else 1.0
    return {
        "episodes": count,
        "at_fault_collisions": sum(len(one.at_fault) for one in episodes),
        "upper_bound_95": exact if bad else min(3.0 / count, 1.0),
        "false_stop_rate": sum(one.false_stop for one in nominal) / max(len(nominal), 1),
        "stop_held": held / max(standing, 1),
        "resume_s": float(np.percentile(resumed, 95)) if resumed else None,
        "nominal_episodes": len(nominal),
        "standing_s": round(standing * FRAME_S, 1),
        "resumptions": len(resumed),
        "others_fault_collisions": sum(len(one.others_fault) for one in episodes),
        "kilometres": round(sum(one.metres for one in episodes) / 1e3, 1),
        "failures": [
            {"number": one.number, "adversary": one.adversary, "fault": one.fault, "collisions": one.at_fault}
            for one in bad
        ],
        "false_stops": [{"number": one.number, "reasons": one.false_reasons} for one in nominal if one.false_stop],
    }


def _read(log: Path) -> dict[int, Episode]:
    if not log.exists():
        return {}
    try:
        episodes = [msgspec.json.decode(line, type=Episode) for line in log.read_bytes().splitlines() if line]
    except msgspec.MsgspecError as error:
        raise CommandError(f"{log} is not a campaign's log ({error}); delete it or name another --output") from error
    return {episode.number: episode for episode in episodes}


def _drive(world: str, numbers: list[int], processes: int) -> Iterator[Episode]:
    """The episodes of these numbers as they end; a block at a time to each process."""
    size = WORLDS[world].block
    blocks = [(world, block, list(group)) for block, group in groupby(numbers, lambda number: number // size)]
    if processes == 1:
        for block in blocks:
            yield from _drive_block(block)
        return
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with multiprocessing.get_context("spawn").Pool(processes, end_with_parent, maxtasksperchild=200) as pool:
        for episodes in pool.imap_unordered(_drive_block, blocks):
            yield from episodes


def _drive_block(task: tuple[str, int, list[int]]) -> list[Episode]:
    name, block, numbers = task
    with WORLDS[name].open(block) as world:
        return [run(world, number) for number in numbers]
