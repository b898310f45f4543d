"""`GradientCompressor`: the update stages as one object, for research code that has no fleet around it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import safetensors.numpy

from ..refusal import ConfigurationReason, ConfigurationRefused, UpdateReason, UpdateRefused
from ..stages import Context, Parts, Quantise, RandomK, Stage, TopK
from ..update import Layout, Tensors, UpdateMetadata

METHODS: dict[str, type[TopK] | type[RandomK]] = {"top_k_sparsification": TopK, "random_k_sparsification": RandomK}


@dataclass(frozen=True)
class CompressedGradients:
    """Arrays that are sent, and the stages that undo them."""

    parts: Parts
    stages: tuple[Stage, ...]
    context: Context


class GradientCompressor:
    """Keeps the share `compression_ratio` of the values; what is left out goes into the next call (`error_feedback`).

    `method`: `top_k_sparsification` or `random_k_sparsification`. Store `state_dict` where the residual must survive.
    """

    def __init__(
        self, method: str = "top_k_sparsification", compression_ratio: float = 0.01, error_feedback: bool = True
    ) -> None:
        if method not in METHODS:
            raise ConfigurationRefused(
                ConfigurationReason.UNKNOWN_NAME, f"unknown method {method!r}; known: {', '.join(METHODS)}"
            )
        self._sparsifier = METHODS[method](ratio=compression_ratio, error_feedback=error_feedback)
        self._residual: np.ndarray | None = None
        self._calls = 0

    def compress(self, gradients: Mapping[str, np.ndarray]) -> CompressedGradients:
        """Sparsify float32 tensors by name; raises `UpdateRefused` for a NaN or for another model than before."""
        layout = Layout.of(gradients)
        values = layout.flatten(gradients)
        if not np.isfinite(values).all():
            raise UpdateRefused(UpdateReason.NOT_FINITE, "the gradients have a NaN or an infinity")
        if self._residual is not None:
            self._check(self._residual, layout.size)
            values += self._residual
        context = Context(layout, UpdateMetadata(self._calls, 0, "", 0))
        self._calls += 1
        compressed = CompressedGradients(
            self._sparsifier.encode({"values": values}, context), (self._sparsifier,), context
        )
        if self._sparsifier.error_feedback:
            self._residual = values - self._dense(compressed)
        return compressed

    def quantize(self, compressed: CompressedGradients, bits: int = 8) -> CompressedGradients:
        """Values as `bits` (8 or 4) each; the rounding joins the residual."""
        stage = Quantise(bits=bits)
        quantised = replace(
            compressed, parts=stage.encode(compressed.parts, compressed.context), stages=(*compressed.stages, stage)
        )
        if self._residual is not None:
            self._residual += self._dense(compressed) - self._dense(quantised)
        return quantised

    def decompress(self, compressed: CompressedGradients) -> Tensors:
        """What the receiver gets, float32 by name."""
        return compressed.context.layout.unflatten(self._dense(compressed))

    def get_size_mb(self, compressed: CompressedGradients) -> float:
        """Size on the wire in 10⁶ bytes, names and shapes of the arrays included."""
        return len(safetensors.numpy.save(compressed.parts)) / 1e6

    def state_dict(self) -> Tensors:
        """The residual, float32 (P,): what a restart must not lose."""
        return {} if self._residual is None else {"residual": self._residual.copy()}

    def load_state_dict(self, state: Mapping[str, np.ndarray]) -> None:
        self._residual = state["residual"].copy() if state else None

    @staticmethod
    def _dense(compressed: CompressedGradients) -> np.ndarray:
        parts = compressed.parts
        for stage in reversed(compressed.stages):
            parts = stage.decode(parts, compressed.context)
        return parts["values"]

    @staticmethod
    def _check(residual: np.ndarray, size: int) -> None:
        if residual.shape != (size,):
            raise UpdateRefused(UpdateReason.WRONG_LAYOUT, f"a residual of {residual.size} values for {size}")
