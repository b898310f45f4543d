"""Weighted averaging of updates."""

from __future__ import annotations

import math

import numpy as np

from ..update import Tensors, Update
from .base import STRATEGIES, Strategy
from .blocks import add_scaled


class MeanStrategy(Strategy):
    """Streams the weighted mean of the updates: memory is one model. Subclasses turn the mean into the new model."""

    def begin(self, model: Tensors, round_number: int) -> None:
        super().begin(model, round_number)
        self._sum = {name: np.zeros(tensor.shape, np.float32) for name, tensor in model.items()}
        self._weight = 0.0

    def _accumulate(self, update: Update, weight: float) -> None:
        for name, total in self._sum.items():
            add_scaled(total, update.tensors[name], weight)
        self._weight += weight

    def _mean(self) -> Tensors:
        factor = np.float32(1 / self._weight)
        for total in self._sum.values():
            total *= factor
        return self._sum


@STRATEGIES.register("fedavg")
class FedAvg(MeanStrategy):
    """McMahan et al. 2017: x ← x + server_lr · Σ w_i Δ_i / Σ w_i."""

    def __init__(self, server_lr: float = 1.0) -> None:
        if not (math.isfinite(server_lr) and server_lr > 0):
            raise ValueError("server_lr must be positive")
        self.server_lr = server_lr

    def _combine(self) -> Tensors:
        model = {name: tensor.astype(np.float32) for name, tensor in self._model.items()}
        for name, mean in self._mean().items():
            add_scaled(model[name], mean, self.server_lr)
        return model
