"""How a dataset is dealt out to vehicles."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .base import Dataset, Subset


def by_source(dataset: Dataset) -> dict[str, Subset]:
    """The natural partition: one vehicle per source, sorted by name."""
    names = np.array(dataset.sources)
    return {str(name): Subset(dataset, np.flatnonzero(names == name)) for name in np.unique(names)}


def dirichlet(labels: Sequence[int], vehicles: int, alpha: float, seed: int, least: int = 1) -> list[NDArray[np.int64]]:
    """Indices per vehicle, each label's samples dealt by a draw from Dirichlet(alpha) (Hsu et al., 2019).

    A small `alpha` gives each vehicle few labels, a large one the same mix to all. Every vehicle gets at least `least`
    samples, taken from those that have most. Raises ValueError where that can't be.
    """
    labels = np.asarray(labels)
    if vehicles < 1 or alpha <= 0 or least * vehicles > len(labels):
        raise ValueError(f"{len(labels)} samples for {vehicles} vehicles with at least {least} each, alpha {alpha}")
    random = np.random.default_rng(seed)
    parts: list[list[int]] = [[] for _ in range(vehicles)]
    for label in np.unique(labels):
        members = random.permutation(np.flatnonzero(labels == label))
        cuts = np.cumsum(random.dirichlet(np.full(vehicles, alpha)))[:-1] * len(members)
        for part, share in zip(parts, np.split(members, cuts.round().astype(int)), strict=True):
            part.extend(share.tolist())
    for part in parts:
        while len(part) < least:
            part.append(max(parts, key=len).pop())
    return [np.sort(np.array(part, np.int64)) for part in parts]
