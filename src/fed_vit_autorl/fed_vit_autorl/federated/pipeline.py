"""The chain of stages that a fleet's configuration names, the same on both sides of the wire."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .refusal import ConfigurationReason, ConfigurationRefused, UpdateReason, UpdateRefused
from .stages import STAGES, Context, Form, Parts, SecureMask, Stage
from .update import MAX_HEADER_BYTES, Header, Layout, Update, UpdateMetadata, pack, unpack


class Pipeline:
    """Stages in order.

    On the vehicle, what the lossy stages left out of one update is added to the next (error feedback), rounding
    included, or the share of it that they keep: store `state_dict()` with every update that is sent.
    """

    def __init__(self, stages: Sequence[Stage], layout: Layout) -> None:
        check_order(stages)
        self.stages = tuple(stages)
        self.layout = layout
        lossy = [index for index, stage in enumerate(stages) if stage.lossy]
        self._lossy = range(lossy[0], lossy[-1] + 1) if lossy else range(0)
        self._feedback = max((stage.error_feedback for stage in stages), default=0.0)
        self._residual = np.zeros(layout.size if self._feedback else 0, np.float32)

    @classmethod
    def from_config(cls, specs: Sequence[str | Mapping[str, Any]], layout: Layout) -> Pipeline:
        """From the YAML list, for instance `[{clip: {norm: 1}}, {top_k: {ratio: 0.01}}, {quantise: {bits: 8}}]`.

        Raises `ConfigurationRefused`.
        """
        return cls([STAGES.build(spec) for spec in specs], layout)

    @property
    def names(self) -> list[str]:
        return [stage.name for stage in self.stages]

    @property
    def max_bytes(self) -> int:
        """Bound of an update's wire bytes: the dense model and room for headers."""
        return 5 * self.layout.size + 2 * MAX_HEADER_BYTES + 1024

    @property
    def mask(self) -> SecureMask | None:
        """The stage that hides single updates, None where each can be read."""
        return self.stages[-1] if self.stages and isinstance(self.stages[-1], SecureMask) else None

    @property
    def sent(self) -> int:
        """How many of the model's values an update sends."""
        size = self.layout.size
        for stage in self.stages:
            size = stage.sent(size)
        return size

    def encode(self, update: Update, mask: Callable[[np.ndarray], np.ndarray] | None = None) -> bytes:
        """Wire bytes of `update`; raises `UpdateRefused` when it has a NaN, an infinity or another layout.

        `mask`: float32 (n,) → uint32 (n + 1,) of the session, where the last stage is `secure_mask`.
        """
        context = Context(self.layout, update.metadata, mask)
        values = self.layout.flatten(update.tensors)
        if not np.isfinite(values).all():
            raise UpdateRefused(UpdateReason.NOT_FINITE, "the update has a NaN or an infinity")
        parts: Parts = {"values": values}
        for index, stage in enumerate(self.stages):
            if self._feedback and index == self._lossy.start:
                compensated = parts["values"] + self._residual
                parts = {"values": compensated}
            parts = stage.encode(parts, context)
            if self._feedback and index == self._lossy.stop - 1:
                if self.mask is not None:  # what it has no room for stays in the residual
                    limit = self.mask.value_range
                    parts = {"values": np.clip(parts["values"], -limit, limit)}
                sent = self._undo(parts, [self.stages[number] for number in self._lossy], context)["values"]
                left = np.subtract(compensated, sent, out=compensated)
                self._residual = np.multiply(left, self._feedback, out=left)
        return pack(Header.of(update.metadata, self.layout, self.names), parts)

    def decode(self, data: bytes) -> Update:
        """Update of wire bytes; raises `UpdateRefused` for anything that this pipeline cannot have sent."""
        metadata, parts = self._open(data)
        return self._dense(parts, self.stages, metadata)

    def decode_masked(self, data: bytes) -> tuple[UpdateMetadata, np.ndarray]:
        """Metadata and masked words, uint32 (n + 1,), of wire bytes: for `SecAggServer`; raises `UpdateRefused`."""
        metadata, parts = self._open(data)
        return metadata, self.stages[-1].decode(parts, Context(self.layout, metadata))["ring"]

    def decode_mean(self, values: np.ndarray, metadata: UpdateMetadata) -> Update:
        """The mean update of a session, float32 (n,) as the server unmasked it; `metadata` has the session's round."""
        return self._dense({"values": values}, self.stages[:-1], metadata)

    def _open(self, data: bytes) -> tuple[UpdateMetadata, Parts]:
        header, parts = unpack(data, self.max_bytes)
        if header.layout != self.layout.digest:
            raise UpdateRefused(UpdateReason.WRONG_LAYOUT, "made for a model of another layout")
        if header.stages != self.names:
            raise UpdateRefused(UpdateReason.WRONG_STAGES, f"stages {header.stages}, this fleet has {self.names}")
        return header.metadata, parts

    def _dense(self, parts: Parts, stages: Sequence[Stage], metadata: UpdateMetadata) -> Update:
        with np.errstate(over="ignore", invalid="ignore"):
            values = self._undo(parts, stages, Context(self.layout, metadata)).get("values")
        if values is None or values.dtype != np.float32 or values.shape != (self.layout.size,):
            raise UpdateRefused(UpdateReason.MALFORMED_STAGE, "the stages did not give a dense float32 vector")
        if not np.isfinite(values).all():
            raise UpdateRefused(UpdateReason.NOT_FINITE, "the update has a NaN or an infinity")
        return Update(self.layout.unflatten(values), metadata)

    def state_dict(self) -> dict[str, np.ndarray]:
        """The residual, float32 (P,) or empty: what a restart must not lose."""
        return {"residual": self._residual.copy()}

    def load_state_dict(self, state: Mapping[str, np.ndarray]) -> None:
        """Raises `UpdateRefused` when the residual belongs to another model."""
        residual = state["residual"]
        if residual.shape != self._residual.shape or residual.dtype != np.float32:
            raise UpdateRefused(UpdateReason.WRONG_LAYOUT, "the residual belongs to another model or pipeline")
        self._residual = residual.copy()

    @staticmethod
    def _undo(parts: Parts, stages: Sequence[Stage], context: Context) -> Parts:
        for stage in reversed(stages):
            parts = stage.decode(parts, context)
        return parts


def check_order(stages: Sequence[Stage]) -> None:
    """Raises `ConfigurationRefused` when a stage cannot take what the one before it gives."""
    form = Form.DENSE
    for index, stage in enumerate(stages):
        after = stage.produces(form)
        if after == Form.RING and (broken := next((before for before in stages[:index] if not before.linear), None)):
            raise ConfigurationRefused(
                ConfigurationReason.IMPOSSIBLE_COMBINATION,
                f"stage {broken.name!r} cannot stand before {stage.name!r}: its positions or scales differ between "
                "vehicles, so the sum of masked updates would mean nothing; use random_k for top_k, and no quantise "
                "(quantization_bits: 32): a mask has a fixed point of its own",
            )
        if form not in stage.accepts:
            before = stages[index - 1].name
            raise ConfigurationRefused(
                ConfigurationReason.STAGE_ORDER,
                f"stage {stage.name!r} cannot follow {before!r}: it takes {_listed(stage.accepts)}, not {form}",
            )
        form = after


def _listed(forms: frozenset[Form]) -> str:
    return " or ".join(sorted(forms))
