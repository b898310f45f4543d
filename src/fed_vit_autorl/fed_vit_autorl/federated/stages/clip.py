"""Norm clipping."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..blocks import clip_factor, l2_norm
from .base import STAGES, Context, Form, Parts, Stage


@STAGES.register("clip")
@dataclass(frozen=True)
class Clip(Stage):
    """Scales the update to an L2 norm of at most `norm` (> 0)."""

    norm: float = 1.0

    accepts = frozenset({Form.DENSE})
    linear = True
    lossy = False

    def __post_init__(self) -> None:
        if not (np.isfinite(self.norm) and self.norm > 0):
            raise ValueError("norm must be positive")

    def produces(self, form: Form) -> Form:
        return form

    def encode(self, parts: Parts, context: Context) -> Parts:
        values = parts["values"]
        factor = clip_factor(l2_norm(values), self.norm)
        return {"values": values if factor == 1.0 else values * np.float32(factor)}

    def decode(self, parts: Parts, context: Context) -> Parts:
        return parts
