"""Differential privacy on the vehicle: clipping and noise in one stage, so that one never runs without the other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...privacy.noise import gaussian
from ..blocks import clip_factor, l2_norm
from .base import STAGES, Context, Form, Parts, Stage


@STAGES.register("dp_noise")
@dataclass(frozen=True)
class DpNoise(Stage):
    """Scales the update to an L2 norm ≤ `clip_norm` and adds N(0, (noise_multiplier · clip_norm)² / vehicles).

    `vehicles` = 1: the update is private by itself (local DP). Under a secure mask, `vehicles` = the number of vehicles
    that must survive: their sum has the whole noise (distributed DP), each alone has a part of it.
    """

    noise_multiplier: float
    clip_norm: float = 1.0
    vehicles: int = 1

    accepts = frozenset({Form.DENSE})
    linear = True
    lossy = False

    def __post_init__(self) -> None:
        if not (self.noise_multiplier > 0 and self.clip_norm > 0 and self.vehicles >= 1):
            raise ValueError("noise_multiplier and clip_norm must be positive, vehicles at least 1")

    def produces(self, form: Form) -> Form:
        return form

    def encode(self, parts: Parts, context: Context) -> Parts:
        values = parts["values"]
        noise = gaussian(values.shape, self.noise_multiplier * self.clip_norm / np.sqrt(self.vehicles))
        return {"values": (values * clip_factor(l2_norm(values), self.clip_norm) + noise).astype(np.float32)}

    def decode(self, parts: Parts, context: Context) -> Parts:
        return parts
