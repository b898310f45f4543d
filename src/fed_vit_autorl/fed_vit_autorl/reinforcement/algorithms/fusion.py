"""Hybrid federated-distributed learning: parameters are fused by trust, and diverse transitions are shared.

The server learns from the transitions that clients share while it aggregates their parameters.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from fed_vit_autorl.federated.strategies.trust import cosine
from fed_vit_autorl.reinforcement.algorithms.replay import Batch

Parameters = Mapping[str, NDArray[np.float32]]


def trust_weights(server: Parameters, clients: Sequence[Parameters]) -> NDArray[np.float64]:
    """w_k = max(0, cos(θ, θ_k)) / Σ over all clients, (K,); equal weights where no client points the server's way."""
    trust = np.array([max(0.0, cosine(server, client)) for client in clients])
    return trust / trust.sum() if trust.sum() > 0 else np.full(len(clients), 1.0 / len(clients))


def fuse(server: Parameters, clients: Sequence[Parameters], keep: float) -> dict[str, NDArray[np.float32]]:
    """θ ← αθ + (1-α) Σ w_k θ_k with α = ``keep`` in [0, 1] and w_k from ``trust_weights``."""
    weights = trust_weights(server, clients)
    return {
        name: (
            keep * value + (1 - keep) * sum(w * client[name] for w, client in zip(weights, clients, strict=True))
        ).astype(np.float32)
        for name, value in server.items()
    }


def average(clients: Sequence[Parameters]) -> dict[str, NDArray[np.float32]]:
    """Plain FedAvg of clients with equal amounts of data."""
    return {name: np.mean([client[name] for client in clients], axis=0).astype(np.float32) for name in clients[0]}


class DiversityFilter:
    """Which transitions are worth sending: those far from what came before them.

    Args:
        threshold: least mean Euclidean distance of (observation, next observation) to ``samples`` of those before: the
            last ``50 * samples`` sent and the batch's own.
        samples: how many each is compared with, with replacement.
        seed: of their choice.
    """

    def __init__(self, threshold: float = 0.15, samples: int = 32, seed: int = 0) -> None:
        self.threshold, self.samples = threshold, samples
        self._sent: NDArray[np.float32] | None = None
        self._generator = np.random.default_rng(seed)

    def keep(self, batch: Batch) -> NDArray[np.bool_]:
        """Mask (B,) of the transitions to send; those count as sent. The first of all is always sent."""
        fresh = np.concatenate([batch["observation"], batch["next_observation"]], axis=1)
        sent = fresh[:0] if self._sent is None else self._sent
        known = np.concatenate([sent, fresh])
        before = np.arange(len(sent), len(known))
        chosen = self._generator.integers(0, np.maximum(before, 1)[:, None], (len(fresh), self.samples))
        distance = np.linalg.norm(known[chosen] - fresh[:, None], axis=2).mean(axis=1)
        mask = (distance >= self.threshold) | (before == 0)
        self._sent = np.concatenate([sent, fresh[mask]])[-50 * self.samples :]
        return mask
