"""The collect phase: the expert drives many routes in many towns, one file of demonstrations per drive."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np

from fed_vit_autorl.edge.runtime import ModelRuntime
from fed_vit_autorl.reinforcement.closed_loop import drive
from fed_vit_autorl.reinforcement.degrade import DegradedPerception
from fed_vit_autorl.reinforcement.demonstrations import Demonstrator, save_shard
from fed_vit_autorl.reinforcement.drivers import Perception, TruthPerception
from fed_vit_autorl.simulation.boxworld import BoxWorld
from fed_vit_autorl.simulation.config import EgoConfig, WorldConfig
from fed_vit_autorl.simulation.observation import Observation
from fed_vit_autorl.simulation.town import TownKind, TownSpec
from fed_vit_autorl.simulation.world import World

FIRST_EVALUATION_SEED = 1000
MakePerception = Callable[[np.random.Generator], Perception]
Progress = Callable[[int, int, int], None]


@dataclass(frozen=True)
class CollectSettings:
    """Where and how demonstrations are driven.

    `routes_per_town` in every combination of `town_seeds`, `kinds` and `weathers`, with `egos` at a time on routes of
    `route_length` [m] for at most `limit_s` [s]; one frame in `every` is kept. `streets` more drives, of at most
    `street_limit_s` [s], are in the light world with its dense, hostile traffic. `perception`: "degraded" (truth with a
    small model's errors) or "model" (the release's, on rendered images; the streets stay degraded). Town seeds from
    1000 on are kept for evaluation and refused with ValueError.
    """

    routes_per_town: int = 3
    town_seeds: tuple[int, ...] = (1, 2, 3, 4, 5, 6)
    kinds: tuple[TownKind, ...] = (TownKind.GRID, TownKind.SPIDER, TownKind.RANDOM)
    weathers: tuple[str, ...] = ("noon",)
    egos: int = 2
    route_length: float = 300.0
    vehicles: int = 30
    pedestrians: int = 30
    limit_s: float = 200.0
    every: int = 4
    streets: int = 100
    street_limit_s: float = 25.0
    perception: str = "degraded"

    def __post_init__(self) -> None:
        if self.perception not in ("degraded", "model"):
            raise ValueError(f"perception: {self.perception!r}; known: degraded, model")
        if max(self.town_seeds) >= FIRST_EVALUATION_SEED:
            raise ValueError(f"town_seeds: those from {FIRST_EVALUATION_SEED} on are kept for evaluation")

    @property
    def worlds(self) -> list[WorldConfig]:
        """One configuration per town and weather."""
        sensors = self.perception == "model"
        return [
            WorldConfig(
                town=TownSpec(kind=kind, seed=seed),
                egos={f"vehicle_{i}": EgoConfig(weather, self.route_length) for i in range(self.egos)},
                vehicles=self.vehicles,
                pedestrians=self.pedestrians,
                image=sensors,
                scan=sensors,
            )
            for seed, kind, weather in product(self.town_seeds, self.kinds, self.weathers)
        ]


def collect(
    settings: CollectSettings,
    folder: Path,
    make_perception: MakePerception,
    feature_width: int,
    policy: ModelRuntime | None = None,
    progress: Progress | None = None,
) -> int:
    """Drive what is not in `folder` yet; the number of demonstrations that were added.

    `policy` drives part of the way (see `Demonstrator`). `progress(drive, drives in all, demonstrations in it)`.
    """
    folder.mkdir(parents=True, exist_ok=True)

    def keep(index: int, rows: list[dict[str, np.ndarray]]) -> int:
        save_shard(_shard(folder, index), rows)
        if progress is not None:
            progress(index + 1, total, len(rows))
        return len(rows)

    def degraded(rng: np.random.Generator) -> Perception:
        return TruthPerception(DegradedPerception(feature_width, rng))

    added, routes = 0, len(settings.worlds) * settings.routes_per_town
    total = routes + settings.streets
    for number, config in enumerate(settings.worlds):
        indices = range(number * settings.routes_per_town, (number + 1) * settings.routes_per_town)
        missing = [index for index in indices if not _shard(folder, index).exists()]
        if missing:
            with World(config) as world:
                for index in missing:
                    rows = _drive(world, index, settings, settings.limit_s, make_perception, feature_width, policy)
                    added += keep(index, rows)
    for index in range(routes, total):
        if not _shard(folder, index).exists():
            rows = _drive(BoxWorld(), index, settings, settings.street_limit_s, degraded, feature_width, policy)
            added += keep(index, rows)
    return added


def _shard(folder: Path, index: int) -> Path:
    return folder / f"drive_{index:04d}.safetensors"


def _drive(
    world: World | BoxWorld,
    seed: int,
    settings: CollectSettings,
    limit_s: float,
    make_perception: MakePerception,
    feature_width: int,
    policy: ModelRuntime | None,
) -> list[dict[str, np.ndarray]]:
    demonstrators: list[Demonstrator] = []

    def make(name: str, observation: Observation) -> Demonstrator:
        rng = np.random.default_rng([seed, len(demonstrators), 7])
        perception = make_perception(rng)
        demonstrators.append(Demonstrator(observation, perception, feature_width, rng, policy, settings.every))
        return demonstrators[-1]

    deque(drive(world, seed, make, limit_s), maxlen=0)
    return [row for demonstrator in demonstrators for row in demonstrator.rows]
