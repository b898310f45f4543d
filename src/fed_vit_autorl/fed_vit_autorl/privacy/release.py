"""What a private mechanism gives away: the unit that a ledger counts."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .refusal import PrivacyReason, PrivacyRefused


@dataclass(frozen=True)
class Release:
    """`steps` Gaussian releases: noise σ = noise_multiplier · sensitivity, on a Poisson sample of rate `sampling_rate`.

    A rate below 1 may be claimed only where every vehicle (or sample) was drawn independently with that probability.
    """

    noise_multiplier: float
    sampling_rate: float = 1.0
    steps: int = 1

    def __post_init__(self) -> None:
        if not (
            math.isfinite(self.noise_multiplier)
            and self.noise_multiplier > 0
            and 0 < self.sampling_rate <= 1
            and self.steps >= 1
        ):
            raise PrivacyRefused(PrivacyReason.BAD_PARAMETER, f"{self} is not a release with noise")
