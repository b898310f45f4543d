"""Whether a release is worse than the one before, by what vehicles found on their own experience."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

FIGURE = "map50"
BEFORE = "before."
TESTED = "tested"
OBJECTS = "objects"
STANDARD_ERRORS = 2.0


class Verdict(StrEnum):
    """On a release."""

    OPEN = "open"  # too few have tested it
    HOLDS = "holds"
    DRIFTED = "drifted"


@dataclass(frozen=True)
class Report:
    """A vehicle's shadow test: mAP50 of a release and of the one that it had before, on the same samples with so many
    labelled `objects`.
    """

    version: int
    before: float
    after: float
    objects: int


def report(metrics: Mapping[str, float]) -> Report | None:
    """What a vehicle's figures say of a release, None for nothing. Both mAP50 must be in [0, 1], so that no vehicle
    counts for more than another.
    """
    tested, before, after, objects = (metrics.get(name, -1.0) for name in (TESTED, BEFORE + FIGURE, FIGURE, OBJECTS))
    if not (1 <= tested < 2**48 and 0 <= before <= 1 and 0 <= after <= 1 and 1 <= objects < 2**48):
        return None
    return Report(int(tested), before, after, int(objects))


def standard_error(share: float, count: int) -> float:
    """Of a share of `count`, as the figures here are about one of objects or pictures: √(p (1 - p) / n)."""
    return math.sqrt(share * (1 - share) / count)


def relative_drop(reports: Sequence[Report]) -> float:
    """Share of its mAP50 that the fleet lost: 1 - Σ after / Σ before; 0 where there was nothing to lose.

    A sum over vehicles, not a mean of shares: one that sees next to nothing decides next to nothing.
    """
    before = sum(each.before for each in reports)
    return 1.0 - sum(each.after for each in reports) / before if before > 0 else 0.0


def judge(reports: Sequence[Report], gate: float, least: int) -> Verdict:
    """Of all reports on one release; `gate` is the share that it may lose, `least` how many reports are enough. What
    two standard errors of the sum explain is no drift: two vehicles with a dozen objects each prove nothing.
    """
    if len(reports) < least:
        return Verdict.OPEN
    lost = sum(each.before - each.after for each in reports)
    chance = math.hypot(*(standard_error(each.before, each.objects) for each in reports))
    drifted = relative_drop(reports) > gate and lost > STANDARD_ERRORS * chance
    return Verdict.DRIFTED if drifted else Verdict.HOLDS
