"""`FederatedVehicleRL`: a fleet's learning in one process, for notebooks and research on strategies."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import Any

import numpy as np
import torch

from ...privacy.mechanisms import Mechanism
from ...privacy.secure_aggregation import SecureAggregator
from ..pipeline import Pipeline
from ..refusal import AggregationReason, AggregationRefused
from ..registry import split_spec
from ..selection import weighting
from ..strategies import STRATEGIES
from ..update import Layout, Tensors, Update, UpdateMetadata

SECURE = "secure_aggregation"
Evaluate = Callable[[torch.nn.Module], Mapping[str, float]]


class FederatedVehicleRL:
    """A global `model` and rounds of `get_vehicle_model`, local training, `vehicle_update`, `aggregate_updates`,
    `federated_update`, with the same strategies, stages and noise as the real fleet.

    `aggregation`: a strategy's name, or {name: options}. `privacy_mechanism`: `none`, `local_dp`, `central_dp`
    (ε = `epsilon` and `delta` over `num_rounds` rounds) or `secure_aggregation` (all vehicles, a mean strategy;
    four fifths of them must take part). `evaluate`: what `evaluate_global_model` asks, model → `mAP` and other figures.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        num_vehicles: int,
        aggregation: str | Mapping[str, Any] = "fedavg",
        privacy_mechanism: str = "none",
        epsilon: float = 1.0,
        delta: float = 1e-5,
        clip_norm: float = 1.0,
        num_rounds: int = 1000,
        evaluate: Evaluate | None = None,
    ) -> None:
        name, options = split_spec("strategy", aggregation)
        mechanism = Mechanism(
            name="none" if privacy_mechanism == SECURE else privacy_mechanism,
            epsilon=epsilon,
            delta=delta,
            clip_norm=clip_norm,
            rounds=num_rounds,
            vehicles=num_vehicles,
        )
        self.model, self.num_vehicles, self.round = model, num_vehicles, 0
        self.strategy = STRATEGIES.build(mechanism.server_strategy({name: options}))
        self._pipeline = Pipeline.from_config(mechanism.vehicle_stages(), Layout.of(self._tensors(model)))
        self._masking = (
            SecureAggregator(num_vehicles, max(num_vehicles * 4 // 5, num_vehicles // 2 + 1), value_range=clip_norm)
            if privacy_mechanism == SECURE
            else None
        )
        if self._masking and self.strategy.readable:
            raise AggregationRefused(
                AggregationReason.NOT_READABLE,
                f"{self.strategy.name} looks into updates that {SECURE} hides: use a mean",
            )
        self._evaluate = evaluate

    def get_vehicle_model(self, vehicle: int) -> torch.nn.Module:
        """A copy of the global model to train on `vehicle`, 0 … num_vehicles - 1; raises IndexError for another."""
        if not 0 <= vehicle < self.num_vehicles:
            raise IndexError(f"vehicle {vehicle} of {self.num_vehicles}")
        return copy.deepcopy(self.model)

    def vehicle_update(self, vehicle: int, trained: torch.nn.Module, samples: int, **metrics: float) -> Update:
        """What `vehicle` sends after training: the difference to the global model, clipped and, if asked, noised."""
        start, end = self._tensors(self.model), self._tensors(trained)
        delta = {name: end[name] - tensor for name, tensor in start.items()}
        metadata = UpdateMetadata(self.round, self.round, f"vehicle-{vehicle}", samples, metrics)
        return self._pipeline.decode(self._pipeline.encode(Update(delta, metadata)))

    def aggregate_updates(self, updates: Sequence[Update], weighted_by: str = "data_quality") -> Tensors:
        """The new global parameters; `weighted_by`: `data_quality` (metric of that name), `samples` or `uniform`.

        Raises `AggregationRefused` when no update counts.
        """
        weigh = weighting(weighted_by)
        weighted = [(update, weigh(update.metadata)) for update in updates]
        self.strategy.begin(self._tensors(self.model), self.round)
        for update, weight in self._masked_mean(weighted) if self._masking else weighted:
            if weight > 0:
                self.strategy.add(update, weight)
        return self.strategy.finish()

    def federated_update(self, parameters: Mapping[str, np.ndarray]) -> None:
        """Make `parameters` the global model and begin the next round."""
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                parameter.copy_(torch.from_numpy(np.ascontiguousarray(parameters[name])))
        self.round += 1

    def evaluate_global_model(self) -> dict[str, float]:
        """Figures of `evaluate` (`mAP` …) and `latency`, the seconds it took; raises ValueError without `evaluate`."""
        if self._evaluate is None:
            raise ValueError("give FederatedVehicleRL an `evaluate` function to measure the global model with")
        started = perf_counter()
        figures = dict(self._evaluate(self.model))
        return {"latency": perf_counter() - started, **figures}

    def _masked_mean(self, weighted: Sequence[tuple[Update, float]]) -> list[tuple[Update, float]]:
        """The weighted mean as the server of a secure aggregation sees it: no update in the clear."""
        assert self._masking is not None
        counted = [(update, weight) for update, weight in weighted if weight > 0]
        if not counted:
            return []
        heaviest = max(weight for _, weight in counted)
        encrypted = [
            self._masking.encrypt_update(update.metadata.vehicle, update.tensors, weight / heaviest)
            for update, weight in counted
        ]
        mean = self._masking.decrypt(self._masking.aggregate_encrypted(encrypted))
        metadata = UpdateMetadata(self.round, self.round, SECURE, 0)
        return [(Update(mean, metadata), sum(weight for _, weight in counted))]

    @staticmethod
    def _tensors(model: torch.nn.Module) -> Tensors:
        return {name: parameter.detach().cpu().float().numpy() for name, parameter in model.named_parameters()}
