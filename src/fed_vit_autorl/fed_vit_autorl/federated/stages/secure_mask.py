"""The secure-aggregation mask as the last stage: what arrives means something only in the sum."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...privacy.secagg.settings import SecAggSettings
from ..refusal import UpdateReason, UpdateRefused
from .base import STAGES, Context, Form, Parts, Stage, take


@STAGES.register("secure_mask")
@dataclass(frozen=True)
class SecureMask(Stage):
    """Masks the update by `Context.mask` (a session's `SecAggClient.mask`). Options as in `SecAggSettings`."""

    num_vehicles: int = 100
    threshold: int = 80
    neighbours: int | None = None
    value_range: float = 1.0

    accepts = frozenset({Form.DENSE, Form.SPARSE})
    linear = True
    lossy = False

    def __post_init__(self) -> None:
        self.settings()

    def settings(self) -> SecAggSettings:
        """Settings of a round's session."""
        return SecAggSettings(self.num_vehicles, self.threshold, self.neighbours, self.value_range)

    def produces(self, form: Form) -> Form:
        return Form.RING

    def encode(self, parts: Parts, context: Context) -> Parts:
        if context.mask is None:
            raise UpdateRefused(UpdateReason.NO_SESSION, "a masked update needs a session of secure aggregation")
        return {"ring": context.mask(parts["values"])}

    def decode(self, parts: Parts, context: Context) -> Parts:
        return {"ring": take(parts, "ring", np.uint32)}
