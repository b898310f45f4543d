"""Whether a release is worse than the one before, by what vehicles found on their own experience."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

FIGURE = "map50"
BEFORE = "before."
TESTED = "tested"


class Verdict(StrEnum):
    """On a release."""

    OPEN = "open"  # too few have tested it
    HOLDS = "holds"
    DRIFTED = "drifted"


@dataclass(frozen=True)
class Report:
    """A vehicle's shadow test: mAP50 of a release and of the one that it had before, on the same samples."""

    version: int
    before: float
    after: float


def report(metrics: Mapping[str, float]) -> Report | None:
    """What a vehicle's figures say of a release, None for nothing. Both mAP50 must be in [0, 1], so that no vehicle
    counts for more than another.
    """
    tested, before, after = (metrics.get(name, -1.0) for name in (TESTED, BEFORE + FIGURE, FIGURE))
    if not (1 <= tested < 2**48 and 0 <= before <= 1 and 0 <= after <= 1):
        return None
    return Report(int(tested), before, after)


def relative_drop(reports: Sequence[Report]) -> float:
    """Share of its mAP50 that the fleet lost: 1 - Σ after / Σ before; 0 where there was nothing to lose.

    A sum over vehicles, not a mean of shares: one that sees next to nothing decides next to nothing.
    """
    before = sum(each.before for each in reports)
    return 1.0 - sum(each.after for each in reports) / before if before > 0 else 0.0


def judge(reports: Sequence[Report], gate: float, least: int) -> Verdict:
    """Of all reports on one release; `gate` is the share that it may lose, `least` how many reports are enough."""
    if len(reports) < least:
        return Verdict.OPEN
    return Verdict.DRIFTED if relative_drop(reports) > gate else Verdict.HOLDS
