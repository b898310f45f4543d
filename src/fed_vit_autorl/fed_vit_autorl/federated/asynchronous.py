"""Buffered asynchronous aggregation: no vehicle waits for another."""

from __future__ import annotations

import numpy as np

from .refusal import AggregationReason, AggregationRefused
from .strategies import FedAvg, Strategy
from .strategies.base import require_positive
from .update import Tensors, Update


def staleness_weight(staleness: int, factor: float) -> float:
    """(1 + staleness)^-factor, in (0, 1]; raises `AggregationRefused` for an update from the future."""
    if staleness < 0:
        raise AggregationRefused(AggregationReason.BAD_WEIGHT, "an update from a version that does not exist yet")
    return float((1 + staleness) ** -factor)


def discounted(update: Update, version: int, factor: float) -> Update:
    """`update` scaled by what its staleness leaves of it at the model's `version`."""
    scale = staleness_weight(version - update.metadata.base_version, factor)
    if scale == 1:
        return update
    return Update({name: tensor * np.float32(scale) for name, tensor in update.tensors.items()}, update.metadata)


class AsyncAggregator:
    """FedBuff (Nguyen et al. 2022) with polynomial staleness weights s(τ) = (1 + τ)^-staleness_factor.

    An update made from version v arrives at version V with staleness τ = V - v. After `buffer_size` updates the model
    moves by Σ n_i s_i Δ_i / Σ n_i, n_i the weight: stale updates move it less, they are not scaled up again.
    `strategy` takes the buffered updates; memory is the strategy's.
    """

    def __init__(
        self, staleness_factor: float = 0.5, buffer_size: int = 1000, strategy: Strategy | None = None
    ) -> None:
        self.staleness_factor = require_positive("staleness_factor", staleness_factor)
        self.buffer_size = int(require_positive("buffer_size", buffer_size))
        self.strategy = strategy or FedAvg()
        self.buffered = 0

    def start(self, model: Tensors, version: int) -> None:
        """Begin from the global `model` of `version`."""
        self.model, self.version, self.buffered = model, version, 0
        self.strategy.begin(model, version)

    def on_update_received(self, update: Update, weight: float = 1.0) -> Tensors | None:
        """Buffer `update`; the new global model if it filled the buffer, else None."""
        self.add_update(update, weight)
        return self.aggregate() if self.should_aggregate() else None

    def compute_weight(self, staleness: int) -> float:
        """(1 + staleness)^-staleness_factor, in (0, 1]."""
        return staleness_weight(staleness, self.staleness_factor)

    def add_update(self, update: Update, weight: float = 1.0) -> None:
        """Put `update` into the buffer; raises `AggregationRefused` and leaves the buffer as it was."""
        self.strategy.add(discounted(update, self.version, self.staleness_factor), weight)
        self.buffered += 1

    def should_aggregate(self) -> bool:
        return self.buffered >= self.buffer_size

    def aggregate(self) -> Tensors:
        """Empty the buffer into a new global model, one version on."""
        self.start(self.strategy.finish(), self.version + 1)
        return self.model
