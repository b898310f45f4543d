"""Trust-aware rules: weights from the cosine between a reference and each vehicle's parameters or update."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..blocks import add_scaled
from ..refusal import AggregationReason, AggregationRefused
from ..update import Tensors, Update
from .base import STRATEGIES, Strategy, require_fraction
from .kept import KeepingStrategy, combination
from .robust import median_of_sorted, norm_of


def cosine(first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray]) -> float:
    """Cosine of the angle between two models, 0 when one is zero."""
    product = sum(float(np.vdot(first[name], second[name])) for name in first)
    squares = [sum(float(np.vdot(tensor, tensor)) for tensor in tensors.values()) for tensors in (first, second)]
    return product / float(np.sqrt(squares[0] * squares[1])) if all(squares) else 0.0


@STRATEGIES.register("trust_cosine")
class TrustCosine(Strategy):
    """w_k = max(0, cos(θ, θ_k)) / Σ; θ ← α θ + (1 - α) Σ w_k θ_k, with θ_k the parameters of vehicle k. Streams.

    The blend of hybrid federated-distributed RL, where θ keeps learning on the server: it slows drift. Against vehicles
    that lie, use `trust_direction`: one round's parameters all point about where θ does.
    """

    readable = True

    def __init__(self, alpha: float = 0.5) -> None:
        self.alpha = require_fraction("alpha", alpha)

    def begin(self, model: Tensors, round_number: int) -> None:
        super().begin(model, round_number)
        self._sum = self._layout.zeros()
        self._trust = 0.0

    def _accumulate(self, update: Update, weight: float) -> None:
        parameters = {name: tensor + update.tensors[name] for name, tensor in self._model.items()}
        trust = max(0.0, cosine(self._model, parameters))
        add_scaled(self._sum, update.tensors, trust)
        self._trust += trust

    def _combine(self) -> Tensors:
        # α θ + (1-α) Σ w_k (θ + Δ_k) = θ + (1-α) Σ w_k Δ_k, as the w_k sum to 1
        if self._trust == 0:
            raise AggregationRefused(AggregationReason.NO_UPDATES, "no vehicle is trusted: every cosine is ≤ 0")
        return self._moved(self._sum, (1 - self.alpha) / self._trust)


@STRATEGIES.register("trust_direction")
class TrustDirection(KeepingStrategy):
    """Mean of updates weighted by max(0, cos(reference, Δ_k)), lengths equal to the reference's.

    FLTrust (Cao et al. 2021) with the coordinate-wise median of the round as its reference, so that no server data is
    needed; like the median it holds while fewer than half of the vehicles lie.
    """

    def _aggregate(self, updates: list[Tensors]) -> Tensors:
        medians = self._by_coordinate(updates, median_of_sorted)
        reference = {name: tensor.reshape(-1) for name, tensor in medians.items()}
        norms = np.array([norm_of(update) for update in updates])
        trust = np.array([max(0.0, cosine(reference, update)) for update in updates])
        if not trust.any():
            raise AggregationRefused(AggregationReason.NO_UPDATES, "no vehicle is trusted: every cosine is ≤ 0")
        lengths = np.median(norms) / np.maximum(norms, np.finfo(float).tiny)
        return combination(updates, trust / trust.sum() * lengths, self._model)
