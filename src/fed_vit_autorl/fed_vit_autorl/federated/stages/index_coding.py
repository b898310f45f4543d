"""Golomb-Rice coding of sorted positions.

Gaps between the k positions of a random 1 % are geometric with mean 100; Rice's code spends about 8.1 bits on
each, the entropy is 8.08 (Golomb 1966; Rice 1979).
"""

from __future__ import annotations

import numpy as np

from ..refusal import UpdateReason, UpdateRefused


def rice_parameter(size: int, count: int) -> int:
    """Bits of the remainder: 2^b nearest below ln 2 × the mean gap."""
    if count == 0:
        return 0
    return max(0, int(np.floor(np.log2(max(1.0, np.log(2) * size / count)))))


def encode_positions(positions: np.ndarray, size: int) -> np.ndarray:
    """Strictly rising positions (k,) in [0, size) → uint8: unary quotients, then remainders, bit-packed."""
    count = positions.size
    bits = rice_parameter(size, count)
    gaps = np.diff(positions.astype(np.int64), prepend=-1) - 1
    ends = np.cumsum((gaps >> bits) + 1)
    unary = np.zeros(int(ends[-1]) if count else 0, np.uint8)
    unary[ends - 1] = 1
    remainders = (gaps & ((1 << bits) - 1)).astype(np.uint32)
    return np.concatenate([np.packbits(unary), pack_bits(remainders, bits)])


def decode_positions(coded: np.ndarray, size: int, count: int) -> np.ndarray:
    """Inverse of `encode_positions`: int64 (count,); raises `UpdateRefused` on anything it cannot have written."""
    if not 0 <= count <= size:
        raise _refused(f"{count} positions in {size}")
    bits = rice_parameter(size, count)
    tail = (count * bits + 7) // 8
    head = coded.size - tail
    if head < 0 or head > (count + (size >> bits)) // 8 + 1:
        raise _refused("coded length does not fit the count")
    ends = np.flatnonzero(np.unpackbits(coded[:head]))
    if ends.size != count:
        raise _refused(f"{ends.size} positions coded, {count} announced")
    quotients = np.diff(ends, prepend=-1) - 1
    gaps = (quotients.astype(np.int64) << bits) + unpack_bits(coded[head:], bits, count)
    positions = np.cumsum(gaps + 1) - 1
    if count and positions[-1] >= size:
        raise _refused("a position is outside the model")
    return positions


def pack_bits(values: np.ndarray, bits: int) -> np.ndarray:
    """Unsigned `values` (n,) below 2^bits → uint8 (⌈n·bits/8⌉,)."""
    planes = (values[:, None] >> np.arange(bits, dtype=values.dtype)) & 1
    return np.packbits(planes.astype(np.uint8))


def unpack_bits(packed: np.ndarray, bits: int, count: int) -> np.ndarray:
    """Inverse of `pack_bits`: int64 (count,)."""
    planes = np.unpackbits(packed, count=count * bits).reshape(count, bits)
    return planes @ (np.int64(1) << np.arange(bits, dtype=np.int64))


def _refused(message: str) -> UpdateRefused:
    return UpdateRefused(UpdateReason.MALFORMED_STAGE, f"positions: {message}")
