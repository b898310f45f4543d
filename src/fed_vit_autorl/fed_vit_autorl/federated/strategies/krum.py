"""Distance-based robust rules: Krum, Multi-Krum (Blanchard et al. 2017) and Bulyan (El Mhamdi et al. 2018)."""

from __future__ import annotations

import numpy as np

from ..update import Tensors
from .base import STRATEGIES
from .kept import KeepingStrategy, distances_by, gram_matrix, mean_of, squared_distances
from .robust import median_of_sorted


def krum_scores(distances: np.ndarray, byzantine: int) -> np.ndarray:
    """Sum of each update's n - f - 2 smallest squared distances to others; `distances` (n, n), result (n,)."""
    others = np.sort(distances + np.diag(np.full(len(distances), np.inf)), axis=1)
    return others[:, : max(1, len(distances) - byzantine - 2)].sum(axis=1)


def expected_byzantine(share: float, count: int) -> int:
    """f: the assumed number of attackers among `count` updates."""
    return int(np.floor(share * count))


def dealt(count: int, size: int, seed: int) -> list[np.ndarray]:
    """Indices of `count` updates, dealt by chance into buckets of `size`, the last may hold fewer; of one, in order."""
    order = np.random.default_rng(seed).permutation(count) if size > 1 else np.arange(count)
    return [order[start : start + size] for start in range(0, count, size)]


class _Distances(KeepingStrategy):
    def __init__(self, byzantine_share: float = 0.2) -> None:
        if not 0 <= byzantine_share < 0.5:
            raise ValueError("byzantine_share must be in [0, 0.5)")
        self.byzantine_share = byzantine_share


@STRATEGIES.register("krum")
class Krum(_Distances):
    """The one update closest to its n - f - 2 nearest; needs n ≥ 2f + 3.

    With a `bucket` of s > 1 it chooses among the means of s updates each, dealt anew every round: one vehicle alone
    knows too little where vehicles have seen different things (Karimireddy et al. 2022, Byzantine-Robust Learning on
    Heterogeneous Datasets via Bucketing, algorithm 1). f attackers spoil f buckets at most, so there must be
    2f + 3 of these; the deal follows from the round's number, so that a round repeated after a crash ends with the same
    bits.
    """

    def __init__(self, byzantine_share: float = 0.2, bucket: int = 1) -> None:
        super().__init__(byzantine_share)
        if bucket < 1:
            raise ValueError("a bucket holds at least 1 update")
        self.bucket = bucket

    def _aggregate(self, updates: list[Tensors]) -> Tensors:
        byzantine = expected_byzantine(self.byzantine_share, len(updates))
        self._need(self.bucket * (2 * byzantine + 2) + 1, f"2f + 3 buckets of {self.bucket} with f = {byzantine}")
        buckets = dealt(len(updates), self.bucket, self._round)
        shares = np.zeros((len(buckets), len(updates)))
        for share, bucket in zip(shares, buckets, strict=True):
            share[bucket] = 1 / len(bucket)
        # Inner products of means are means of inner products: no mean is made but the one that is taken.
        distances = distances_by(shares @ gram_matrix(updates) @ shares.T)
        best = buckets[int(np.argmin(krum_scores(distances, byzantine)))]
        return mean_of([updates[index] for index in best], self._model)


@STRATEGIES.register("multi_krum")
class MultiKrum(_Distances):
    """Mean of the n - f updates with the best Krum scores; needs n ≥ 2f + 3."""

    def _aggregate(self, updates: list[Tensors]) -> Tensors:
        byzantine = expected_byzantine(self.byzantine_share, len(updates))
        self._need(2 * byzantine + 3, f"n ≥ 2f + 3 with f = {byzantine}")
        ranking = np.argsort(krum_scores(squared_distances(updates), byzantine), kind="stable")
        return mean_of([updates[index] for index in ranking[: len(updates) - byzantine]], self._model)


@STRATEGIES.register("bulyan")
class Bulyan(_Distances):
    """θ = n - 2f updates by repeated Krum, then per coordinate the mean of the θ - 2f values nearest the median.

    Needs n ≥ 4f + 3; f = ⌊byzantine_share · n⌋ is lowered to that bound, ⌊(n - 3) / 4⌋.
    """

    def _aggregate(self, updates: list[Tensors]) -> Tensors:
        self._need(3, "n ≥ 4f + 3 with f = 0")
        byzantine = min(expected_byzantine(self.byzantine_share, len(updates)), (len(updates) - 3) // 4)
        chosen = [updates[index] for index in bulyan_selection(squared_distances(updates), byzantine)]
        nearest = len(chosen) - 2 * byzantine
        return self._by_coordinate(chosen, lambda values: mean_near_median(values, nearest))


def bulyan_selection(distances: np.ndarray, byzantine: int) -> list[int]:
    """Indices of the n - 2f updates that Krum picks one after the other, each time without those picked before."""
    left = list(range(len(distances)))
    chosen: list[int] = []
    while len(chosen) < len(distances) - 2 * byzantine:
        scores = krum_scores(distances[np.ix_(left, left)], byzantine)
        chosen.append(left.pop(int(np.argmin(scores))))
    return chosen


def mean_near_median(values: np.ndarray, nearest: int) -> np.ndarray:
    """Mean of the `nearest` values closest to the median, for sorted rows (b, n): they are a window of the row."""
    count = values.shape[1]
    median = median_of_sorted(values)
    sums = np.cumsum(values, axis=1, dtype=np.float64)
    best_sum, best_reach = sums[:, nearest - 1], np.maximum(median - values[:, 0], values[:, nearest - 1] - median)
    for start in range(1, count - nearest + 1):
        reach = np.maximum(median - values[:, start], values[:, start + nearest - 1] - median)
        closer = reach < best_reach
        best_sum = np.where(closer, sums[:, start + nearest - 1] - sums[:, start - 1], best_sum)
        best_reach = np.minimum(reach, best_reach)
    return (best_sum / nearest).astype(np.float32)
