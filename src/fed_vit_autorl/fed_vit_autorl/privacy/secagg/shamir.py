"""Shamir's secret sharing over GF(2^521 - 1), a field larger than every 256-bit secret."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from functools import lru_cache

from .refusal import SecAggReason, SecAggRefused

PRIME = 2**521 - 1
SHARE_BYTES = 66
SECRET_BYTES = 32


def split(secret: bytes, threshold: int, holders: Sequence[int]) -> dict[int, bytes]:
    """Shares of a 32-byte `secret` for `holders` (distinct positive numbers); any `threshold` of them recover it."""
    if len(secret) != SECRET_BYTES or not 1 <= threshold <= len(holders) or len(set(holders)) < len(holders):
        raise ValueError("a secret has 32 bytes, holders are distinct and at least as many as the threshold")
    polynomial = [int.from_bytes(secret)] + [secrets.randbelow(PRIME) for _ in range(threshold - 1)]
    return {holder: _evaluate(polynomial, holder).to_bytes(SHARE_BYTES) for holder in holders}


def combine(shares: Mapping[int, bytes], threshold: int) -> bytes:
    """The secret of at least `threshold` shares; raises `SecAggRefused` when they are too few or inconsistent."""
    if len(shares) < threshold:
        raise SecAggRefused(SecAggReason.BELOW_THRESHOLD, f"{len(shares)} shares, {threshold} are needed")
    holders = tuple(sorted(shares))[:threshold]
    terms = zip(_lagrange_at_zero(holders), holders, strict=True)
    secret = sum(weight * int.from_bytes(shares[holder]) for weight, holder in terms) % PRIME
    if secret >> (8 * SECRET_BYTES):
        raise SecAggRefused(SecAggReason.BAD_SHARE, "the shares do not belong together")
    return secret.to_bytes(SECRET_BYTES)


def _evaluate(polynomial: Sequence[int], point: int) -> int:
    value = 0
    for coefficient in reversed(polynomial):
        value = (value * point + coefficient) % PRIME
    return value


@lru_cache(maxsize=256)
def _lagrange_at_zero(holders: tuple[int, ...]) -> tuple[int, ...]:
    weights = []
    for holder in holders:
        numerator = denominator = 1
        for other in holders:
            if other != holder:
                numerator = numerator * other % PRIME
                denominator = denominator * (other - holder) % PRIME
        weights.append(numerator * pow(denominator, -1, PRIME) % PRIME)
    return tuple(weights)
