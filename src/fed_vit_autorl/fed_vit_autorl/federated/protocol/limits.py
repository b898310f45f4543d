"""Bounds on what vehicles may send."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Of one aggregator. Rates are per vehicle; `spare_bytes` of the disk stay free."""

    update_bytes: int = 512 << 20
    incoming_bytes: int = 8 << 30
    spare_bytes: int = 256 << 20
    messages_per_s: float = 400.0
    burst: float = 2000.0


DEFAULT = Limits()


class TokenBucket:
    """`per_s` tokens a second, at most `burst` of them at once; full in the beginning."""

    def __init__(self, per_s: float, burst: float) -> None:
        self._per_s, self._burst = per_s, burst
        self._tokens, self._filled = burst, 0.0

    def take(self, now: float, amount: float = 1.0) -> bool:
        """Whether there were so many; then they are gone. `now` is a steady clock in seconds."""
        self._tokens = min(self._burst, self._tokens + (now - self._filled) * self._per_s)
        self._filled = now
        if self._tokens < amount:
            return False
        self._tokens -= amount
        return True
