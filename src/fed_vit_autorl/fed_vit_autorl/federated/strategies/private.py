"""Central differential privacy around a strategy that needs only the mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...privacy.noise import gaussian
from ...privacy.release import Release
from ..blocks import add_scaled, clip_factor, l2_norm
from ..update import Tensors, Update, UpdateMetadata
from .base import STRATEGIES, Strategy, require_positive


@STRATEGIES.register("central_dp")
class CentralDP(Strategy):
    """DP-FedAvg (McMahan et al. 2018): updates are clipped here, their sum is noised by N(0, (z C)²).

    One vehicle changes the sum by at most C = `clip_norm`, whatever it sends; z = `noise_multiplier`. Weights are not
    used, and the divisor is `expected_vehicles` instead of the true count, as both could tell who took part. The
    strategy named by `strategy` gets the noised mean. Ask a `PrivacyLedger` before the round: nothing is counted here.
    """

    readable = True

    def __init__(
        self,
        noise_multiplier: float,
        expected_vehicles: float,
        clip_norm: float = 1.0,
        strategy: str | Mapping[str, Any] = "fedavg",
    ) -> None:
        self.noise_multiplier = require_positive("noise_multiplier", noise_multiplier)
        self.expected_vehicles = require_positive("expected_vehicles", expected_vehicles)
        self.clip_norm = require_positive("clip_norm", clip_norm)
        self._inner = STRATEGIES.build(strategy)
        if self._inner.readable:
            raise ValueError(f"{self._inner.name} looks into single updates, which are not private")

    def begin(self, model: Tensors, round_number: int) -> None:
        super().begin(model, round_number)
        self._inner.begin(model, round_number)
        self._sum = self._layout.zeros()

    def private_release(self) -> Release:
        return Release(self.noise_multiplier)

    def client_settings(self) -> dict[str, float]:
        return self._inner.client_settings()

    def state_dict(self) -> Tensors:
        return self._inner.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._inner.load_state_dict(state)

    def _accumulate(self, update: Update, weight: float) -> None:
        norm = float(np.linalg.norm([l2_norm(tensor.reshape(-1)) for tensor in update.tensors.values()]))
        factor = clip_factor(norm, self.clip_norm)
        add_scaled(self._sum, update.tensors, factor)

    def _combine(self) -> Tensors:
        sigma = self.noise_multiplier * self.clip_norm
        mean = {
            name: ((total + gaussian(total.shape, sigma)) / self.expected_vehicles).astype(np.float32)
            for name, total in self._sum.items()
        }
        self._inner.add(Update(mean, UpdateMetadata(self._round, 0, "central_dp", 0)), 1.0)
        return self._inner.finish()
