"""Server optimisers: the mean update is a pseudo-gradient (Reddi et al. 2021, Adaptive Federated Optimization)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

import numpy as np

from ..refusal import AggregationReason, AggregationRefused
from ..update import Layout, Tensors
from .averaging import MeanStrategy
from .base import STRATEGIES, require_fraction, require_positive


class _Optimiser(MeanStrategy):
    """Keeps moments of the mean update from round to round."""

    moments: tuple[str, ...] = ("momentum",)

    def __init__(self) -> None:
        self._moments: dict[str, Tensors] = {}

    def begin(self, model: Tensors, round_number: int) -> None:
        super().begin(model, round_number)
        if not self._moments:
            self._moments = {moment: self._initial(moment, model) for moment in self.moments}
        elif any(Layout.of(tensors) != self._layout for tensors in self._moments.values()):
            raise AggregationRefused(AggregationReason.WRONG_STATE, "the moments belong to another model")

    def state_dict(self) -> Tensors:
        return {f"{moment}.{name}": tensor for moment, all_ in self._moments.items() for name, tensor in all_.items()}

    def load_state_dict(self, state: Mapping[str, np.ndarray]) -> None:
        moments: dict[str, Tensors] = {moment: {} for moment in self.moments} if state else {}
        for key, tensor in state.items():
            moment, _, name = key.partition(".")
            if moment not in moments:
                raise AggregationRefused(AggregationReason.WRONG_STATE, f"{self.name} keeps no {moment!r}")
            moments[moment][name] = np.array(tensor, np.float32)
        self._moments = moments

    def _initial(self, moment: str, model: Tensors) -> Tensors:
        return {name: np.zeros(tensor.shape, np.float32) for name, tensor in model.items()}


@STRATEGIES.register("fedavgm")
class FedAvgM(_Optimiser):
    """Hsu et al. 2019: m ← β m + Δ; x ← x + server_lr · m."""

    def __init__(self, server_lr: float = 1.0, momentum: float = 0.9) -> None:
        super().__init__()
        self.server_lr = require_positive("server_lr", server_lr)
        self.momentum = require_fraction("momentum", momentum)

    def _combine(self) -> Tensors:
        momentum = self._moments["momentum"]
        for name, mean in self._mean().items():
            momentum[name] *= np.float32(self.momentum)
            momentum[name] += mean
        return self._moved(momentum, self.server_lr)


class _FedOpt(_Optimiser):
    """Algorithm 2 of Reddi et al.: m ← β1 m + (1-β1) Δ; v by subclass, from τ²; x ← x + server_lr · m / (√v + τ)."""

    moments = ("momentum", "variance")

    def __init__(self, server_lr: float, beta1: float, tau: float) -> None:
        super().__init__()
        self.server_lr = require_positive("server_lr", server_lr)
        self.beta1 = require_fraction("beta1", beta1)
        self.tau = require_positive("tau", tau)

    def _initial(self, moment: str, model: Tensors) -> Tensors:
        start = np.float32(self.tau**2 if moment == "variance" else 0)
        return {name: np.full(tensor.shape, start, np.float32) for name, tensor in model.items()}

    def _combine(self) -> Tensors:
        step = self._mean()
        for name, mean in step.items():
            momentum, variance = self._moments["momentum"][name], self._moments["variance"][name]
            momentum *= np.float32(self.beta1)
            momentum += np.float32(1 - self.beta1) * mean
            self._advance(variance, np.square(mean))
            np.divide(momentum, np.sqrt(variance) + np.float32(self.tau), out=mean)
        return self._moved(step, self.server_lr)

    @abstractmethod
    def _advance(self, variance: np.ndarray, square: np.ndarray) -> None:
        """New v from v and Δ², in place."""


@STRATEGIES.register("fedadagrad")
class FedAdagrad(_FedOpt):
    """v ← v + Δ²."""

    def __init__(self, server_lr: float = 0.1, beta1: float = 0.0, tau: float = 1e-3) -> None:
        super().__init__(server_lr, beta1, tau)

    def _advance(self, variance: np.ndarray, square: np.ndarray) -> None:
        variance += square


@STRATEGIES.register("fedadam")
class FedAdam(_FedOpt):
    """v ← β2 v + (1-β2) Δ²."""

    def __init__(self, server_lr: float = 0.1, beta1: float = 0.9, beta2: float = 0.99, tau: float = 1e-3) -> None:
        super().__init__(server_lr, beta1, tau)
        self.beta2 = require_fraction("beta2", beta2)

    def _advance(self, variance: np.ndarray, square: np.ndarray) -> None:
        variance *= np.float32(self.beta2)
        variance += np.float32(1 - self.beta2) * square


@STRATEGIES.register("fedyogi")
class FedYogi(FedAdam):
    """v ← v - (1-β2) Δ² sign(v - Δ²)."""

    def _advance(self, variance: np.ndarray, square: np.ndarray) -> None:
        variance -= np.float32(1 - self.beta2) * square * np.sign(variance - square)
