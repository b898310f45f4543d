"""Block quantisation to 8 or 4 bits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..refusal import UpdateReason, UpdateRefused
from .base import STAGES, Context, Form, Parts, Stage, check_feedback, take


def quantise_blocks(values: np.ndarray, bits: int, block: int) -> tuple[np.ndarray, np.ndarray]:
    """float32 (n,) → codes int8 (n,) in ±(2^(bits-1) - 1) and a float32 scale per block of `block` values.

    A value differs from code × scale by at most half a scale; scale = largest magnitude of the block / largest code.
    """
    limit = (1 << (bits - 1)) - 1
    whole = values.size - values.size % block
    rows = values[:whole].reshape(-1, block)
    peaks = [np.maximum(rows.max(axis=1), -rows.min(axis=1))] if whole else []
    if whole < values.size:
        peaks.append(np.abs(values[whole:]).max(keepdims=True))
    scales = (np.concatenate(peaks) if peaks else np.zeros(0, np.float32)) / np.float32(limit)
    inverse = np.divide(1, scales, out=np.zeros_like(scales), where=scales > np.finfo(np.float32).tiny)
    codes = np.empty(values.size, np.int8)
    np.rint(rows * inverse[: whole // block, None], out=codes[:whole].reshape(-1, block), casting="unsafe")
    if whole < values.size:
        np.rint(values[whole:] * inverse[-1], out=codes[whole:], casting="unsafe")
    return codes, scales.astype(np.float32)


def dequantise_blocks(codes: np.ndarray, scales: np.ndarray, block: int) -> np.ndarray:
    """Inverse of `quantise_blocks` up to rounding: float32 (n,)."""
    whole = codes.size - codes.size % block
    values = np.empty(codes.size, np.float32)
    np.multiply(codes[:whole].reshape(-1, block), scales[: whole // block, None], out=values[:whole].reshape(-1, block))
    if whole < codes.size:
        np.multiply(codes[whole:], scales[-1], out=values[whole:])
    return values


@STAGES.register("quantise")
@dataclass(frozen=True)
class Quantise(Stage):
    """Sends each value as a signed integer of `bits` (8 or 4) and one float32 scale per `block` values."""

    bits: int = 8
    block: int = 1024
    error_feedback: float = 0.0

    accepts = frozenset({Form.DENSE, Form.SPARSE})
    linear = False
    lossy = True

    def __post_init__(self) -> None:
        if self.bits not in (4, 8):
            raise ValueError("bits must be 8 or 4")
        if self.block < 8:
            raise ValueError("block must be at least 8 values")
        check_feedback(self.error_feedback)

    def produces(self, form: Form) -> Form:
        return Form.CODED

    def encode(self, parts: Parts, context: Context) -> Parts:
        codes, scales = quantise_blocks(parts["values"], self.bits, self.block)
        others = {name: part for name, part in parts.items() if name != "values"}
        if self.bits == 4:
            # An odd count is padded; the parity tells the decoder.
            nibbles = np.append(codes, np.int8(0)) if codes.size % 2 else codes
            packed = (nibbles[0::2] & 15).view(np.uint8) | ((nibbles[1::2] & 15).view(np.uint8) << 4)
            return others | {"nibbles": packed, "odd": np.array([codes.size % 2], np.uint8), "scales": scales}
        return others | {"codes": codes, "scales": scales}

    def decode(self, parts: Parts, context: Context) -> Parts:
        others = {name: part for name, part in parts.items() if name not in ("codes", "nibbles", "odd", "scales")}
        if self.bits == 4:
            packed = take(parts, "nibbles", np.uint8)
            codes = np.empty(2 * packed.size, np.int8)
            codes[0::2] = (packed << 4).view(np.int8) >> 4
            codes[1::2] = packed.view(np.int8) >> 4
            codes = codes[: codes.size - min(int(take(parts, "odd", np.uint8, 1)[0]), 1)] if packed.size else codes
        else:
            codes = take(parts, "codes", np.int8)
        if codes.size > context.layout.size:
            raise UpdateRefused(UpdateReason.MALFORMED_STAGE, f"{codes.size} codes, more than parameters")
        scales = take(parts, "scales", np.float32, -(-codes.size // self.block))
        if not np.isfinite(scales).all():
            raise UpdateRefused(UpdateReason.NOT_FINITE, "a scale is not finite")
        return others | {"values": dequantise_blocks(codes, scales, self.block)}
