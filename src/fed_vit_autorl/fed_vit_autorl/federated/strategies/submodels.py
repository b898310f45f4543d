"""Sub-models of different width, depth and precision aggregated into one global model."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from ..refusal import AggregationReason, AggregationRefused
from ..submodel import extract, narrow
from ..update import Layout, Tensors, Update
from .base import STRATEGIES, Strategy


@STRATEGIES.register("submodels")
class SubModels(Strategy):
    """HeteroFL (Diao et al. 2021): each coordinate is averaged over the vehicles that trained it, or stays as it is.

    `profiles`: for each device class the options of `submodel.narrow`, which give the part of the model that it trains;
    `UpdateMetadata.profile` names an update's class. Precision needs nothing here: an update is float32 whatever the
    vehicle computes in.
    """

    readable = True

    def __init__(self, profiles: Mapping[str, Mapping[str, Any]] = MappingProxyType({})) -> None:
        self.profiles = dict(profiles)

    def begin(self, model: Tensors, round_number: int) -> None:
        super().begin(model, round_number)
        self._selections = {name: narrow(model, **options) for name, options in self.profiles.items()}
        self._layouts = {name: Layout.of(extract(model, selection)) for name, selection in self._selections.items()}
        self._sum = {name: np.zeros(tensor.shape, np.float32) for name, tensor in model.items()}
        self._weights = {name: np.zeros(tensor.shape, np.float32) for name, tensor in model.items()}

    def _check(self, update: Update) -> None:
        if update.metadata.profile not in self._layouts:
            super()._check(update)
        elif Layout.of(update.tensors) != self._layouts[update.metadata.profile]:
            raise AggregationRefused(
                AggregationReason.WRONG_LAYOUT,
                f"tensors of {update.metadata.vehicle} are not the profile {update.metadata.profile!r}'s",
            )

    def _accumulate(self, update: Update, weight: float) -> None:
        selection = self._selections.get(update.metadata.profile, {})
        for name, tensor in update.tensors.items():
            where = np.ix_(*selection[name]) if name in selection else ...
            self._sum[name][where] += np.float32(weight) * tensor
            self._weights[name][where] += np.float32(weight)

    def _combine(self) -> Tensors:
        change = {
            name: np.divide(total, self._weights[name], out=np.zeros_like(total), where=self._weights[name] > 0)
            for name, total in self._sum.items()
        }
        return self._moved(change)
