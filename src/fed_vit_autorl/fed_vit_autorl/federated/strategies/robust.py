"""Coordinate-wise robust rules (Yin et al. 2018, Byzantine-Robust Distributed Learning) and norm clipping."""

from __future__ import annotations

import numpy as np

from ..update import Tensors
from .base import STRATEGIES, require_positive
from .kept import KeepingStrategy, combination


def median_of_sorted(values: np.ndarray) -> np.ndarray:
    """Medians (b,) of sorted rows (b, N)."""
    count = values.shape[1]
    return (values[:, (count - 1) // 2] + values[:, count // 2]) / 2


@STRATEGIES.register("median")
class Median(KeepingStrategy):
    """Median of every coordinate."""

    def _aggregate(self, updates: list[Tensors]) -> Tensors:
        return self._by_coordinate(updates, median_of_sorted)


@STRATEGIES.register("trimmed_mean")
class TrimmedMean(KeepingStrategy):
    """Mean of every coordinate without its ⌊trim · N⌋ lowest and highest values; 0 ≤ trim < 0.5."""

    def __init__(self, trim: float = 0.2) -> None:
        if not 0 <= trim < 0.5:
            raise ValueError("trim must be in [0, 0.5)")
        self.trim = trim

    def _aggregate(self, updates: list[Tensors]) -> Tensors:
        cut = int(self.trim * len(updates))
        return self._by_coordinate(updates, lambda values: values[:, cut : len(updates) - cut].mean(axis=1))


@STRATEGIES.register("norm_clipping")
class NormClipping(KeepingStrategy):
    """Mean of the updates, each scaled down to an L2 norm of at most `norm`, or of the round's median norm without it.

    Sun et al. 2019, Can You Really Backdoor Federated Learning?
    """

    def __init__(self, norm: float | None = None) -> None:
        self.norm = None if norm is None else require_positive("norm", norm)

    def _aggregate(self, updates: list[Tensors]) -> Tensors:
        norms = np.array([norm_of(update) for update in updates])
        limit = np.median(norms) if self.norm is None else self.norm
        factors = np.minimum(1, limit / np.maximum(norms, np.finfo(float).tiny))
        return combination(updates, factors / len(updates), self._model)


def norm_of(update: Tensors) -> float:
    """L2 norm over all tensors of a flat update."""
    return float(np.sqrt(sum(float(np.dot(tensor, tensor)) for tensor in update.values())))
