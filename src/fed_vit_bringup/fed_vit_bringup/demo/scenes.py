"""Labelled scenes that no vehicle trains on: for the aggregator's gate, and for the report."""

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from itertools import pairwise, product
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import TypeVar

from fed_vit_autorl.data.store import Key, SampleFolder
from fed_vit_autorl.deployment import release
from fed_vit_autorl.deployment.keys import load_public_keys
from fed_vit_autorl.deployment.processes import end_with_parent
from fed_vit_autorl.evaluation.reference import evaluate_parts
from fed_vit_autorl.evaluation.uncertainty import interval
from fed_vit_autorl.models.collect import Drive, collect
from fed_vit_autorl.simulation.town import TownSpec

METRICS = ("map50", "free_space_iou")
CYCLISTS = 20  # traffic has so few of its own that chance moves their part of mAP50 by half a point
TELL_S = 0.5
PARTS = 2  # of each town, in the order of time, since neighbours show nearly the same
Job, Result = TypeVar("Job"), TypeVar("Result")
Report = Callable[[int, int], None]
"""Told how many of how many jobs are done, at least twice a second; what it raises ends them."""


def held_out(folder: Path, towns: Sequence[TownSpec], domains: Sequence[str], samples: int, report: Report) -> Path:
    """``samples`` scenes of each town in each domain's weather; what is there already counts."""
    drives = [
        Drive(town=town, weather=domain, samples=samples, cyclists=CYCLISTS) for domain, town in product(domains, towns)
    ]
    _each(collect, [(drive, folder / f"{drive.weather}-{drive.town.seed}") for drive in drives], report)
    return folder


@dataclass(frozen=True)
class Seen:
    """What a release is worth on the scenes of one domain: each of ``METRICS`` on ``all`` of them, and on all but each
    part of them (``without``).
    """

    all: dict[str, float]
    without: list[dict[str, float]]


def figures(
    releases: Sequence[Path], trusted_keys: Sequence[Path], scenes: Path, domains: Sequence[str], report: Report
) -> list[dict[str, Seen]]:
    """Each release's detection mAP50 and free-space IoU on the scenes of each domain."""
    measure = partial(_measure, trusted_keys=trusted_keys, scenes=scenes)
    found = iter(_each(measure, list(product(releases, domains)), report))
    return [{domain: next(found) for domain in domains} for _ in releases]


def change(before: Seen, after: Seen) -> dict[str, list[float]]:
    """By how much each metric has changed, and the 95 % interval of it by what the choice of the scenes explains:
    [value, low, high].
    """
    found = {}
    for metric, value in after.all.items():
        apart = [late[metric] - early[metric] for early, late in zip(before.without, after.without, strict=True)]
        difference = value - before.all[metric]
        found[metric] = [difference, *interval(difference, apart)]
    return found


def _measure(job: tuple[Path, str], trusted_keys: Sequence[Path], scenes: Path) -> Seen:
    folder, domain = job
    manifest = release.read_manifest(folder, [key for path in trusted_keys for key in load_public_keys(path)])
    towns = [SampleFolder(town) for town in sorted(scenes.glob(f"{domain}-*"))]
    parts = (town.read(keys) for town in towns for keys in _in_parts(town.keys()))
    whole, without = evaluate_parts(folder, manifest, parts)
    return Seen(_metrics(whole), [_metrics(found) for found in without])


def _in_parts(keys: list[Key]) -> list[list[Key]]:
    ends = [len(keys) * number // PARTS for number in range(PARTS + 1)]
    return [keys[first:end] for first, end in pairwise(ends)]


def _metrics(found: Mapping[str, float]) -> dict[str, float]:
    return {metric: float(found[metric]) for metric in METRICS}


def _each(do: Callable[[Job], Result], jobs: Sequence[Job], report: Report) -> list[Result]:
    """What ``do`` makes of each job, a process for each at a time on every core: a process can hold one world only."""
    cores = len(os.sched_getaffinity(0))
    pool = ProcessPoolExecutor(min(cores, len(jobs)), get_context("spawn"), end_with_parent, max_tasks_per_child=1)
    try:
        results = [pool.submit(do, job) for job in jobs]
        running = set(results)
        while running:
            report(len(jobs) - len(running), len(jobs))
            _, running = wait(running, TELL_S, FIRST_COMPLETED)
        return [result.result() for result in results]
    except BaseException:
        for process in active_children():  # the executor would let them come to their end, and begin one more each
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
