"""Where episodes take place, by name: which world belongs to an episode's number."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import numpy as np

from fed_vit_autorl.simulation.boxworld import EGO, BoxWorld
from fed_vit_autorl.simulation.config import EgoConfig, WorldConfig
from fed_vit_autorl.simulation.town import TownKind, TownSpec
from fed_vit_autorl.simulation.world import World

WEATHERS = ("noon", "noon", "rain", "rain_dusk", "fog")


@contextmanager
def boxes(block: int) -> Iterator[BoxWorld]:
    """The light world of boxes; every episode has its own road."""
    yield BoxWorld()


@contextmanager
def town(block: int) -> Iterator[World]:
    """SUMO's traffic in a generated town, LiDAR by MuJoCo, no camera; a block of 25 episodes shares one."""
    rng = np.random.default_rng([block, 5])
    kind = list(TownKind)[block % len(TownKind)]
    spec = TownSpec(kind, seed=int(rng.integers(1, 1000)), size=4, block_m=float(rng.uniform(60.0, 110.0)))
    egos = {EGO: EgoConfig(WEATHERS[int(rng.integers(len(WEATHERS)))], 300.0)}
    with World(WorldConfig(town=spec, egos=egos, vehicles=60, pedestrians=40, image=False)) as world:
        yield world


@dataclass(frozen=True)
class Place:
    """How to open a world for a block of episodes, and how many share it."""

    open: Callable[[int], AbstractContextManager]
    block: int


WORLDS: dict[str, Place] = {"boxes": Place(boxes, 1), "town": Place(town, 25)}
