"""What all parties of a secure aggregation agree on beforehand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .refusal import SecAggReason, SecAggRefused

MAX_LEVELS = 1 << 24  # what float32 tells apart
RING_HALF = 1 << 30  # sums stay within ± this, half of the ring: garbage falls outside and is seen


@dataclass(frozen=True)
class SecAggSettings:
    """Values of an update in ±`value_range`; at most `num_vehicles`, of which `threshold` must survive.

    `neighbours` (even) is the degree of the mask graph, None for everybody; with it, work per vehicle no longer grows
    with the fleet. Raises `SecAggRefused` for settings under which a sum could overflow or secrecy would fail.
    """

    num_vehicles: int = 100
    threshold: int = 80
    neighbours: int | None = None
    value_range: float = 1.0

    def __post_init__(self) -> None:
        problem = (
            ("at least 2 vehicles are needed" if self.num_vehicles < 2 else "")
            or ("value_range must be positive" if not (np.isfinite(self.value_range) and self.value_range > 0) else "")
            or (
                f"threshold {self.threshold} must be a majority of {self.num_vehicles} and not more"
                if not self.num_vehicles < 2 * self.threshold <= 2 * self.num_vehicles
                else ""
            )
            or (
                f"neighbours {self.neighbours} must be even, from 2 to {self.num_vehicles - 1}"
                if self.neighbours is not None
                and (self.neighbours % 2 or not 2 <= self.neighbours <= self.num_vehicles - 1)
                else ""
            )
        )
        if problem:
            raise SecAggRefused(SecAggReason.BAD_SETTINGS, problem)
        if self.levels < 127:
            raise SecAggRefused(
                SecAggReason.OVERFLOW, f"{self.num_vehicles} vehicles leave {self.levels} levels, less than 8 bits"
            )

    @property
    def levels(self) -> int:
        """Largest code of a value: `num_vehicles` of them stay within ±2^30."""
        return min(MAX_LEVELS, RING_HALF // self.num_vehicles)

    def share_threshold(self, degree: int) -> int:
        """Shares that open a secret of a vehicle, held by it and `degree` others: a majority, or `threshold`."""
        majority = (degree + 1) // 2 + 1
        return majority if self.neighbours is not None else max(self.threshold, majority)
