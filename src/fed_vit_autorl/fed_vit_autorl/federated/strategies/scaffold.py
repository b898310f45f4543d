"""SCAFFOLD: control variates against client drift."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..blocks import add_scaled
from ..refusal import AggregationReason, AggregationRefused
from ..update import Layout, Tensors, Update
from .averaging import MeanStrategy
from .base import STRATEGIES, require_positive


@STRATEGIES.register("scaffold")
class Scaffold(MeanStrategy):
    """Karimireddy et al. 2020, option II: c ← c + |S|/N · mean(c_i⁺ - c_i), with c_i⁺ - c_i = -c - Δ_i / (K η).

    The change of a vehicle's variate follows from its update, so nothing more is sent up than Δ_i and the metrics
    `local_steps` (K) and `local_lr` (η, plain SGD). Vehicles get c beside the release and keep c_i (`control`). Updates
    and variates are unweighted, as in the paper.
    """

    readable = True

    def __init__(self, num_vehicles: int, server_lr: float = 1.0) -> None:
        self.num_vehicles = int(require_positive("num_vehicles", num_vehicles))
        self.server_lr = require_positive("server_lr", server_lr)
        self._control: Tensors = {}

    def begin(self, model: Tensors, round_number: int) -> None:
        super().begin(model, round_number)
        if not self._control:
            self._control = {name: np.zeros(tensor.shape, np.float32) for name, tensor in model.items()}
        elif Layout.of(self._control) != self._layout:
            raise AggregationRefused(AggregationReason.WRONG_STATE, "the control variate belongs to another model")
        self._change = {name: np.zeros(tensor.shape, np.float32) for name, tensor in model.items()}

    def client_settings(self) -> dict[str, float]:
        return {"scaffold": 1.0}

    def client_tensors(self) -> Tensors:
        return self._control

    def state_dict(self) -> Tensors:
        return self._control

    def load_state_dict(self, state: Mapping[str, np.ndarray]) -> None:
        self._control = {name: np.array(tensor, np.float32) for name, tensor in state.items()}

    def _accumulate(self, update: Update, weight: float) -> None:
        metrics = update.metadata.metrics
        travelled = metrics.get("local_steps", 0) * metrics.get("local_lr", 0)
        if not travelled > 0:
            raise AggregationRefused(
                AggregationReason.MISSING_METRIC,
                f"SCAFFOLD needs local_steps and local_lr > 0 from {update.metadata.vehicle}",
            )
        super()._accumulate(update, 1.0)
        add_scaled(self._change, update.tensors, -1 / travelled)

    def _combine(self) -> Tensors:
        share = self._count / self.num_vehicles
        # mean over S of (-c - Δ_i/(Kη)), times |S|/N
        change = {name: self._change[name] / np.float32(self._count) - old for name, old in self._control.items()}
        add_scaled(self._control, change, min(share, 1.0))
        return self._moved(self._mean(), self.server_lr)
