"""What the `privacy` section of a fleet's file means: stages on the vehicle, a strategy on the aggregator."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from scipy.optimize import brentq

from .ledger import epsilon_of
from .refusal import PrivacyReason, PrivacyRefused
from .release import Release

MECHANISMS = ("none", "local_dp", "central_dp")
Spec = str | Mapping[str, Any]


def require_mechanism(name: str) -> None:
    """Raises `PrivacyRefused` unless `name` is known."""
    if name not in MECHANISMS:
        raise PrivacyRefused(PrivacyReason.BAD_PARAMETER, f"mechanism {name!r}, known: {', '.join(MECHANISMS)}")


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


def vehicle_stages(mechanism: str, epsilon: float, delta: float, clip_norm: float, rounds: int) -> list[Spec]:
    """First stages of the update pipeline: clipping, and for `local_dp` noise for `rounds` updates of one vehicle.

    A local update is protected against any other one: the sensitivity is twice the clip norm.
    """
    require_mechanism(mechanism)
    if mechanism == "local_dp":
        multiplier = 2 * noise_multiplier(epsilon, delta, rounds)
        return [{"dp_noise": {"noise_multiplier": multiplier, "clip_norm": clip_norm}}]
    return [{"clip": {"norm": clip_norm}}]


def server_strategy(
    mechanism: str, strategy: Spec, epsilon: float, delta: float, clip_norm: float, rounds: int, vehicles: int
) -> Spec:
    """The strategy, for `central_dp` inside one that noises the mean for `rounds` rounds of `vehicles` each."""
    require_mechanism(mechanism)
    if mechanism != "central_dp":
        return strategy
    options = {"noise_multiplier": noise_multiplier(epsilon, delta, rounds), "expected_vehicles": vehicles}
    return {"central_dp": options | {"clip_norm": clip_norm, "strategy": strategy}}
