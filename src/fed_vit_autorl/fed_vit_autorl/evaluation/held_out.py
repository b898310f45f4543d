"""Labelled pictures of towns that no training has seen, in weathers that the shipped models have not seen either."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path

from rich.progress import Progress

from fed_vit_autorl.data.datasets import Dataset
from fed_vit_autorl.data.datasets.stored import Stored
from fed_vit_autorl.data.store import SampleFolder
from fed_vit_autorl.models.collect import Drive, collect_all
from fed_vit_autorl.reinforcement.collect import FIRST_EVALUATION_SEED
from fed_vit_autorl.simulation.town import TownKind, TownSpec

UNSEEN_WEATHERS = ("dusk", "rain_dusk")
FOLDER = Path("out/held_out")
TOWNS = (
    TownSpec(TownKind.GRID, FIRST_EVALUATION_SEED, size=4),
    TownSpec(TownKind.SPIDER, FIRST_EVALUATION_SEED + 1, size=6),
    TownSpec(TownKind.RANDOM, FIRST_EVALUATION_SEED + 2, size=6),
)


def held_out_drives(weathers: Sequence[str] = UNSEEN_WEATHERS, samples: int = 60) -> list[Drive]:
    """A drive of `samples` pictures with LiDAR through each of the towns in each weather."""
    return [
        Drive(town=town, weather=weather, samples=samples, seed=FIRST_EVALUATION_SEED, cyclists=6, points=True)
        for town, weather in product(TOWNS, weathers)
    ]


def held_out_samples(
    jobs: int, bar: Progress, weathers: Sequence[str] = UNSEEN_WEATHERS, folder: Path = FOLDER
) -> list[Dataset]:
    """The pictures of `held_out_drives`, a data set per drive; driven once and kept below `folder`."""
    stores = [SampleFolder(one) for one in collect_all(held_out_drives(weathers), folder, jobs, bar)]
    return [Stored(store, store.keys()) for store in stores]
