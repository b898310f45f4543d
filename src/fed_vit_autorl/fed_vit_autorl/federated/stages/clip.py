"""Norm clipping."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .base import STAGES, Context, Form, Parts, Stage


def clip_factor(norm: float, limit: float) -> float:
    """Factor ≤ 1 that brings a vector of L2 `norm` within `limit`."""
    return 1.0 if norm <= limit else limit / norm


def l2_norm(vector: np.ndarray) -> float:
    """L2 norm in float64, without a float64 copy of `vector` (P,)."""
    blocks = (vector[start : start + 65536].astype(np.float64) for start in range(0, vector.size, 65536))
    return float(np.sqrt(sum(float(block @ block) for block in blocks)))


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
