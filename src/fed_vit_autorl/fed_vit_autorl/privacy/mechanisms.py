"""What the `privacy` section of a fleet's file means: stages on the vehicle, a strategy on the aggregator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from scipy.optimize import brentq

from .ledger import epsilon_of
from .refusal import PrivacyReason, PrivacyRefused
from .release import Release

MECHANISMS = ("none", "local_dp", "central_dp")
Spec = str | Mapping[str, Any]


@cache
def noise_multiplier(epsilon: float, delta: float, releases: int, accountant: str = "rdp") -> float:
    """The least noise (σ over sensitivity, to 0.1 %) with which `releases` of one budget stay within (ε, δ)."""

    def excess(multiplier: float) -> float:
        return epsilon_of([Release(multiplier, steps=releases)], delta, accountant) - epsilon

    multiplier = 1.0
    while excess(multiplier) > 0:
        multiplier *= 2
    while excess(multiplier / 2) <= 0:
        multiplier /= 2
    # The root is found to 0.01 % and stepped over: never below what the ledger asks for.
    return float(brentq(excess, multiplier / 2, multiplier, rtol=1e-4)) * 1.001


@dataclass(frozen=True, kw_only=True)
class Mechanism:
    """The privacy of one run: `rounds` rounds of `vehicles` each within (ε, δ), updates clipped to `clip_norm`.

    `masked`: the aggregator sees only sums of at least `threshold` updates, each with `neighbours` masks (None: one
    for every other vehicle).
    """

    name: str
    epsilon: float
    delta: float
    clip_norm: float
    rounds: int
    vehicles: int
    masked: bool = False
    threshold: int = 0
    neighbours: int | None = None

    def __post_init__(self) -> None:
        if self.name not in MECHANISMS:
            raise PrivacyRefused(
                PrivacyReason.BAD_PARAMETER, f"mechanism {self.name!r}, known: {', '.join(MECHANISMS)}"
            )

    def vehicle_stages(self) -> list[Spec]:
        """First stages of the update pipeline: clipping, and noise where it comes from the vehicles.

        A local update is protected against any other one: the sensitivity is twice the clip norm. For a masked sum each
        vehicle adds a part, so that `threshold` of them have the whole noise (distributed DP, Kairouz et al. 2021; a
        vehicle's neighbour is an update of zeros, as the number of updates is public).
        """
        if self.name == "local_dp":
            multiplier = 2 * noise_multiplier(self.epsilon, self.delta, self.rounds)
            return [{"dp_noise": {"noise_multiplier": multiplier, "clip_norm": self.clip_norm}}]
        if self._distributed:
            options = {"noise_multiplier": self._multiplier, "clip_norm": self.clip_norm, "vehicles": self.threshold}
            return [{"dp_noise": options}]
        return [{"clip": {"norm": self.clip_norm}}]

    def mask_stages(self) -> list[Spec]:
        """The last stage of a masked pipeline, its range wide enough for a clipped update and its noise (8 σ)."""
        if not self.masked:
            return []
        deviation = self._multiplier / self.threshold**0.5 if self._distributed else 0.0
        if self.name == "local_dp":
            deviation = 2 * noise_multiplier(self.epsilon, self.delta, self.rounds)
        options = {
            "num_vehicles": self.vehicles,
            "threshold": self.threshold,
            "neighbours": self.neighbours,
            "value_range": self.clip_norm * (1 + 8 * deviation),
        }
        return [{"secure_mask": options}]

    def server_strategy(self, strategy: Spec) -> Spec:
        """The strategy, for `central_dp` of readable updates inside one that noises the mean."""
        if self.name != "central_dp" or self.masked:
            return strategy
        options = {"noise_multiplier": self._multiplier, "expected_vehicles": self.vehicles}
        return {"central_dp": options | {"clip_norm": self.clip_norm, "strategy": strategy}}

    def round_cost(self) -> Release | None:
        """What a round takes from the fleet's budget: ask a `PrivacyLedger` for it first."""
        return Release(self._multiplier) if self.name == "central_dp" else None

    @property
    def _distributed(self) -> bool:
        return self.masked and self.name == "central_dp"

    @property
    def _multiplier(self) -> float:
        return noise_multiplier(self.epsilon, self.delta, self.rounds)
