"""Strategies that look at all updates of a round at once, in blocks of parameters."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

import numpy as np

from ..blocks import add_scaled, for_spans, map_spans
from ..refusal import AggregationReason, AggregationRefused
from ..update import Tensors, Update
from .base import Strategy


class KeepingStrategy(Strategy):
    """Keeps references to the updates until `finish`. Weights are not used: they are what an attacker would raise."""

    streaming = False
    readable = True

    def begin(self, model: Tensors, round_number: int) -> None:
        super().begin(model, round_number)
        self._updates: list[Tensors] = []

    def _accumulate(self, update: Update, weight: float) -> None:
        self._updates.append({name: tensor.reshape(-1) for name, tensor in update.tensors.items()})

    def _combine(self) -> Tensors:
        change = self._aggregate(self._updates)
        self._updates = []
        return self._moved(change)

    @abstractmethod
    def _aggregate(self, updates: list[Tensors]) -> Tensors:
        """The aggregated update of N flat updates, in the model's shapes."""

    def _by_coordinate(self, updates: list[Tensors], rule: Callable[[np.ndarray], np.ndarray]) -> Tensors:
        """Applies `rule`, sorted values (b, N) → (b,), to every coordinate."""
        result = {name: np.empty(tensor.shape, np.float32) for name, tensor in self._model.items()}
        for name, tensor in result.items():
            flat = tensor.reshape(-1)

            def work(start: int, stop: int, name: str = name, flat: np.ndarray = flat) -> None:
                # Rows of N values sort by SIMD; columns would not.
                columns = np.ascontiguousarray(block(updates, name, start, stop).T)
                columns.sort(axis=1)
                flat[start:stop] = rule(columns)

            for_spans(flat.size, work, block_length(len(updates)))
        return result

    def _need(self, minimum: int, why: str) -> None:
        if len(self._updates) < minimum:
            raise AggregationRefused(
                AggregationReason.TOO_FEW_UPDATES, f"{len(self._updates)} updates, {self.name} needs {minimum}: {why}"
            )


def block_length(count: int) -> int:
    """Parameters per block so that a block of `count` updates is about 4 MiB."""
    return max(1024, (1 << 20) // count)


def block(updates: list[Tensors], name: str, start: int, stop: int) -> np.ndarray:
    """float32 (N, stop - start) of one tensor of all updates."""
    rows = np.empty((len(updates), stop - start), np.float32)
    for row, update in zip(rows, updates, strict=True):
        row[:] = update[name][start:stop]
    return rows


def gram_matrix(updates: list[Tensors]) -> np.ndarray:
    """float64 (N, N) inner products of the updates minus the first one, which keeps precision and every distance."""
    gram = np.zeros((len(updates), len(updates)))
    for name, tensor in updates[0].items():

        def part(start: int, stop: int, name: str = name) -> np.ndarray:
            rows = block(updates, name, start, stop)
            rows -= rows[0].copy()
            return rows @ rows.T

        for products in map_spans(tensor.size, part, block_length(len(updates))):
            gram += products
    return gram


def squared_distances(updates: list[Tensors]) -> np.ndarray:
    """float64 (N, N) squared L2 distances between updates, by one Gram matrix."""
    return distances_by(gram_matrix(updates))


def distances_by(gram: np.ndarray) -> np.ndarray:
    """Squared L2 distances (N, N) of vectors by their inner products (N, N)."""
    squares = np.diag(gram)
    return np.maximum(squares[:, None] + squares[None, :] - 2 * gram, 0)


def mean_of(updates: list[Tensors], model: Tensors) -> Tensors:
    """Plain mean of flat updates, in the shapes of `model`."""
    return combination(updates, np.full(len(updates), 1 / len(updates)), model)


def combination(updates: list[Tensors], weights: np.ndarray, model: Tensors) -> Tensors:
    """Σ w_i Δ_i of flat updates, in the shapes of `model`."""
    total = {name: np.zeros(tensor.size, np.float32) for name, tensor in model.items()}
    for update, weight in zip(updates, weights, strict=True):
        add_scaled(total, update, float(weight))
    return {name: tensor.reshape(model[name].shape) for name, tensor in total.items()}
