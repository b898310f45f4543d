"""Fixed-point values in the ring of integers modulo 2^32, and masks of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

from ...federated.blocks import for_spans
from .refusal import SecAggReason, SecAggRefused
from .settings import RING_HALF, SecAggSettings

SEGMENT = 1 << 18  # words masked at a time: 1 MiB
CHACHA_BLOCK_WORDS = 16
_ZEROS = bytes(4 * SEGMENT)


def to_ring(values: np.ndarray, weight: float, settings: SecAggSettings) -> np.ndarray:
    """float32 (n,) → uint32 (n + 1,): weight · value in steps of value_range / levels, then the weight itself.

    `weight` is in (0, 1]. Raises `SecAggRefused` (overflow) for a value outside ±value_range or a NaN.
    """
    if values.ndim != 1 or not 0 < weight <= 1:
        raise SecAggRefused(SecAggReason.MALFORMED_MESSAGE, f"{values.shape} values of weight {weight}")
    largest = float(np.maximum(values.max(initial=0), -values.min(initial=0)))
    if not largest <= settings.value_range:
        raise SecAggRefused(SecAggReason.OVERFLOW, f"|value| {largest:g} exceeds the range {settings.value_range:g}")
    ring = np.empty(values.size + 1, np.uint32)
    factor = np.float32(weight * settings.levels / settings.value_range)

    def work(start: int, stop: int) -> None:
        np.rint(values[start:stop] * factor, out=ring[start:stop].view(np.int32), casting="unsafe")

    for_spans(values.size, work)
    ring[-1] = max(1, round(weight * settings.levels))
    return ring


def from_ring(ring: np.ndarray, settings: SecAggSettings) -> tuple[np.ndarray, float]:
    """Sum in the ring (n + 1,) → weighted mean float32 (n,) and the sum of weights.

    Raises `SecAggRefused` (unmask_mismatch) when a word is where no sum can be: a mask did not cancel.
    """
    signed = ring.view(np.int32)
    if int(signed.max()) > RING_HALF or int(signed.min()) < -RING_HALF or signed[-1] <= 0:
        raise SecAggRefused(SecAggReason.UNMASK_MISMATCH, "the masks did not cancel")
    weight = int(signed[-1]) / settings.levels
    step = settings.value_range / settings.levels / weight
    return (signed[:-1] * step).astype(np.float32), weight


def add_masks(ring: np.ndarray, plus: Sequence[bytes], minus: Sequence[bytes] = ()) -> None:
    """ring ± ChaCha20 key streams of the 32-byte seeds, in place, modulo 2^32 (RFC 8439; block counter from 0)."""
    if ring.size > CHACHA_BLOCK_WORDS << 32:
        raise SecAggRefused(SecAggReason.OVERFLOW, "the update is longer than a ChaCha20 key stream")

    def work(start: int, stop: int) -> None:
        segment, stream = ring[start:stop], np.empty(stop - start, np.uint32)
        nonce = (start // CHACHA_BLOCK_WORDS).to_bytes(4, "little") + bytes(12)
        for seeds, operation in ((plus, np.add), (minus, np.subtract)):
            for seed in seeds:
                encryptor = Cipher(algorithms.ChaCha20(seed, nonce), None).encryptor()
                encryptor.update_into(memoryview(_ZEROS)[: 4 * stream.size], stream.view(np.uint8))
                operation(segment, stream, out=segment)

    for_spans(ring.size, work, SEGMENT)
