"""How long to wait before asking a server again, so that a fleet's vehicles don't ask in step."""

from __future__ import annotations

import random
from collections.abc import Callable

LONGEST_ASKED_S = 600.0  # no server puts a vehicle off for longer


class TryLater(OSError):
    """The server answers that it has too much to do; `after_s`: for so long at least, 0 if it doesn't say."""

    def __init__(self, message: str, after_s: float) -> None:
        super().__init__(message)
        self.after_s = after_s


class Backoff:
    """Exponential backoff with full jitter (Brooker 2015, "Exponential Backoff And Jitter", AWS Architecture Blog): the
    n-th wait is uniform in [0, min(last_s, first_s · 2ⁿ)], whatever the server asked for apart.
    """

    def __init__(
        self, first_s: float, last_s: float, uniform: Callable[[float, float], float] = random.uniform
    ) -> None:
        self._first_s, self._last_s, self._uniform = first_s, last_s, uniform
        self._most_s = first_s

    def wait_s(self, asked_s: float = 0.0) -> float:
        """Before the next try [s]; `asked_s`: what the server asked for, to which the jitter is added."""
        wait_s = self._uniform(0.0, self._most_s)
        self._most_s = min(2 * self._most_s, self._last_s)
        return wait_s + asked_s

    def reset(self) -> None:
        """It went well."""
        self._most_s = self._first_s


def asked_wait_s(retry_after: str) -> float:
    """Seconds of a `Retry-After` header (RFC 9110, 10.2.3); 0 for none and for a date, which needs a clock that is
    right.
    """
    return min(float(retry_after), LONGEST_ASKED_S) if retry_after.isascii() and retry_after.isdigit() else 0.0
