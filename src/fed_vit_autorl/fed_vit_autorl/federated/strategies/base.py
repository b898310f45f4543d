"""The interface of an aggregation strategy."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from ...privacy.release import Release
from ..blocks import add_scaled
from ..refusal import AggregationReason, AggregationRefused
from ..registry import Registry
from ..update import Layout, Tensors, Update


class Strategy(ABC):
    """From a global model and a round's updates to the next global model: `begin`, `add` for each update, `finish`.

    Updates are deltas. A strategy that is not `streaming` keeps the updates until `finish` and reads them in blocks
    of parameters: give it memory-mapped tensors (`federated.cloud.spool.Spool`) and its memory is O(block × updates).
    Sums of floats depend on their order: add a round's updates in the order of their vehicles' names for a
    result that is the same after a restart.
    """

    name: ClassVar[str]
    streaming: ClassVar[bool] = True
    readable: ClassVar[bool] = False  # looks into single updates, so a masked sum is not enough

    def begin(self, model: Tensors, round_number: int) -> None:
        """Start a round from the global `model` (float32 by name); it is not changed."""
        self._model = model
        self._layout = Layout.of(model)
        self._round = round_number
        self._count = 0

    def add(self, update: Update, weight: float) -> None:
        """One update with its weight > 0 (a regional mean: the sum of its weights); raises `AggregationRefused`."""
        if not (math.isfinite(weight) and weight > 0):
            raise AggregationRefused(AggregationReason.BAD_WEIGHT, f"weight {weight} of {update.metadata.vehicle}")
        self._check(update)
        self._accumulate(update, weight)
        self._count += 1

    def finish(self) -> Tensors:
        """The new global model; raises `AggregationRefused` when there is nothing to make it of."""
        if self._count == 0:
            raise AggregationRefused(AggregationReason.NO_UPDATES, "no update was added to the round")
        return self._combine()

    def client_settings(self) -> dict[str, float]:
        """What a vehicle's trainer must know, for instance `proximal_mu`; travels in the round's task."""
        return {}

    def client_tensors(self) -> Tensors:
        """What a vehicle's trainer needs beside the model, for instance SCAFFOLD's control variate."""
        return {}

    def private_release(self) -> Release | None:
        """What one round costs of a privacy budget: ask a `PrivacyLedger` for it before the round; None if nothing."""
        return None

    def state_dict(self) -> Tensors:
        """What must outlive a restart between rounds, for instance a momentum."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state_dict`; raises `AggregationRefused` when the state is another strategy's."""
        if state:
            raise AggregationRefused(AggregationReason.WRONG_STATE, f"{self.name} keeps no state, got {sorted(state)}")

    def _check(self, update: Update) -> None:
        if Layout.of(update.tensors) != self._layout:
            raise AggregationRefused(
                AggregationReason.WRONG_LAYOUT, f"tensors of {update.metadata.vehicle} differ from the global model's"
            )

    def _moved(self, change: Tensors, step: float = 1.0) -> Tensors:
        """New tensors: global + step · change."""
        model = {name: tensor.astype(np.float32) for name, tensor in self._model.items()}
        add_scaled(model, change, step)
        return model

    @abstractmethod
    def _accumulate(self, update: Update, weight: float) -> None: ...

    @abstractmethod
    def _combine(self) -> Tensors: ...


STRATEGIES: Registry[Strategy] = Registry("strategy")


def require_positive(name: str, value: float) -> float:
    """`value`, or ValueError unless it is finite and > 0."""
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} must be positive, not {value}")
    return value


def require_fraction(name: str, value: float) -> float:
    """`value`, or ValueError unless 0 ≤ value < 1."""
    if not 0 <= value < 1:
        raise ValueError(f"{name} must be in [0, 1), not {value}")
    return value
