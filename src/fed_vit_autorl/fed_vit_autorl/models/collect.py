"""Labelled samples from the embedded world, driven by the privileged expert."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import count
from multiprocessing import get_context
from pathlib import Path

import msgspec
from rich.progress import Progress as Bar

from fed_vit_autorl.data.sample import Sample
from fed_vit_autorl.data.store import ExperienceStore
from fed_vit_autorl.deployment.processes import end_with_parent
from fed_vit_autorl.reinforcement import closed_loop
from fed_vit_autorl.reinforcement.drivers import ExpertDriver
from fed_vit_autorl.simulation.config import EgoConfig, WorldConfig
from fed_vit_autorl.simulation.observation import Observation
from fed_vit_autorl.simulation.town import TownSpec
from fed_vit_autorl.simulation.world import World

STEP_S = 0.1
WARM_UP_S = 4.0
ROUTE_M = 600.0
LIMIT_S = 60.0
CAPACITY_BYTES = 64 << 30


class Drive(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """One run of the world: `egos` vehicles of one weather in one town, each kept every `interval_s`, `samples` in all.

    Around them drive `vehicles`, walk `pedestrians`, and cycle so many more `cyclists` than traffic has anyway.
    """

    town: TownSpec
    weather: str = "noon"
    samples: int = 360
    egos: int = 6
    vehicles: int = 40
    pedestrians: int = 40
    cyclists: int = 0
    interval_s: float = 0.8
    seed: int = 1
    points: bool = False


def collect(job: tuple[Drive, Path]) -> int:
    """Drive and write labelled samples into a folder, in a process of its own: it holds one world only. Returns how
    many there are.

    What is there already counts, so that an interrupted collection goes on (with another run of the same town). Raises
    the world's refusals, OSError for a disk that does not take a sample.
    """
    os.environ["LP_NUM_THREADS"] = "1"  # the software renderer takes every core otherwise
    drive, folder = job
    store = ExperienceStore(folder, CAPACITY_BYTES)
    kept = len(store)
    if kept >= drive.samples:
        return kept
    names = [f"ego_{number}" for number in range(drive.egos)]
    config = WorldConfig(
        town=drive.town,
        egos={name: EgoConfig(drive.weather, ROUTE_M) for name in names},
        vehicles=drive.vehicles,
        pedestrians=drive.pedestrians,
        cyclists=drive.cyclists,
        dt=STEP_S,
    )
    with World(config) as world:
        # The sensors are there, but they look only when a sample is kept.
        world.config = replace(config, image=False, scan=False)
        for run in count():
            if kept >= drive.samples:
                break
            due = WARM_UP_S
            seed = drive.seed + 1000 * kept + run
            for observations, _ in closed_loop.drive(world, seed, lambda _, seen: ExpertDriver(seen), LIMIT_S):
                if kept >= drive.samples or _is_over(observations):
                    break
                if world.stamp < due:
                    continue
                due += drive.interval_s
                for name, seen in observations.items():
                    if seen.completion < 1 and not seen.truth.collided:
                        fault = store.add(_sample(world, name, seen, drive))
                        if fault is not None:
                            raise OSError(f"{folder}: {fault}")
                        kept += 1
    return kept


def collect_all(drives: Sequence[Drive], work: Path, jobs: int, bar: Bar) -> list[Path]:
    """One folder of samples per drive below `work`, named by what it holds; only what is missing is driven."""
    folders = [work / hashlib.sha256(msgspec.json.encode(drive)).hexdigest()[:12] for drive in drives]
    with get_context("spawn").Pool(jobs, end_with_parent, maxtasksperchild=1) as pool:
        collected = pool.imap_unordered(collect, zip(drives, folders, strict=True))
        for _ in bar.track(collected, len(drives), description=f"collecting {work.name}"):
            pass
    return folders


def _is_over(observations: Mapping[str, Observation]) -> bool:
    """Half of the egos have arrived or collided."""
    running = [seen for seen in observations.values() if seen.completion < 1 and not seen.truth.collided]
    return 2 * len(running) <= len(observations)


def _sample(world: World, name: str, seen: Observation, drive: Drive) -> Sample:
    ego = world.egos[name]
    return Sample(
        image=ego.image(),
        camera=seen.camera,
        points=ego.scan() if drive.points else None,
        base_from_lidar=seen.base_from_lidar,
        labels=world.labels(name),
        ego=seen.ego,
        stamp=seen.stamp,
        source=f"{drive.town.kind}_{drive.town.seed}/{name}",
        domain=drive.weather,
    )
