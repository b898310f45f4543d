"""What a federation cost and how it went, from one record a round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class RoundRecord:
    """A finished round: vehicles invited and updates accepted, bytes sent up and down, `seconds` it took, the evaluated
    `metric` of its model (higher is better; None if not evaluated) and the privacy budget `epsilon` spent so far.
    """

    invited: int
    accepted: int
    bytes_up: int
    bytes_down: int
    seconds: float
    metric: float | None = None
    epsilon: float | None = None


def federation_figures(rounds: Sequence[RoundRecord], target: float | None = None, window: int = 3) -> dict:
    """`rounds`, `rounds_to_target` and `bytes_to_target` (None if never reached), bytes and seconds per round,
    `participation` (accepted / invited), `best`, `converged` (the mean metric of the last `window` rounds is within
    1 % of that of the window before), `epsilon_spent`. Raises ValueError without rounds.
    """
    if not rounds:
        raise ValueError("no rounds to evaluate")
    metrics = [record.metric for record in rounds if record.metric is not None]
    reached = None
    if target is not None:
        hits = (n for n, record in enumerate(rounds, start=1) if record.metric is not None and record.metric >= target)
        reached = next(hits, None)
    invited = sum(record.invited for record in rounds)
    traffic = [record.bytes_up + record.bytes_down for record in rounds]
    return {
        "rounds": len(rounds),
        "rounds_to_target": reached,
        "bytes_to_target": sum(traffic[:reached]) if reached else None,
        "bytes_up_per_round": float(np.mean([record.bytes_up for record in rounds])),
        "bytes_down_per_round": float(np.mean([record.bytes_down for record in rounds])),
        "seconds_per_round": float(np.mean([record.seconds for record in rounds])),
        "participation": sum(record.accepted for record in rounds) / invited if invited else float("nan"),
        "best": max(metrics, default=None),
        "last": metrics[-1] if metrics else None,
        "converged": _converged(metrics, window),
        "epsilon_spent": next((r.epsilon for r in reversed(rounds) if r.epsilon is not None), None),
    }


def _converged(metrics: list[float], window: int) -> bool:
    if len(metrics) < 2 * window:
        return False
    before, now = np.mean(metrics[-2 * window : -window]), np.mean(metrics[-window:])
    return bool(abs(now - before) <= 0.01 * abs(before))
