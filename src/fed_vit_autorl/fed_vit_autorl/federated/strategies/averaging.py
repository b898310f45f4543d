"""Weighted averaging of updates: FedAvg, FedProx."""

from __future__ import annotations

import numpy as np

from ..blocks import add_scaled
from ..update import Tensors, Update
from .base import STRATEGIES, Strategy, require_positive


class MeanStrategy(Strategy):
    """Streams the weighted mean of the updates: memory is one model. Subclasses turn the mean into the new model."""

    def begin(self, model: Tensors, round_number: int) -> None:
        super().begin(model, round_number)
        self._sum = self._layout.zeros()
        self._weight = 0.0

    def _accumulate(self, update: Update, weight: float) -> None:
        add_scaled(self._sum, update.tensors, weight)
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
        self.server_lr = require_positive("server_lr", server_lr)

    def _combine(self) -> Tensors:
        return self._moved(self._mean(), self.server_lr)


@STRATEGIES.register("fedprox")
class FedProx(FedAvg):
    """Li et al. 2020: averages like FedAvg; vehicles add `proximal_mu` · (w - global) to their gradients (`local`)."""

    def __init__(self, proximal_mu: float = 0.01, server_lr: float = 1.0) -> None:
        super().__init__(server_lr)
        self.proximal_mu = require_positive("proximal_mu", proximal_mu)

    def client_settings(self) -> dict[str, float]:
        return {"proximal_mu": self.proximal_mu}
