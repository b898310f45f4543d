"""What the aggregator's store holds: rounds, updates, releases, vehicles."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class Phase(StrEnum):
    """A round's way; each step is durable before the next begins."""

    OPEN = "open"  # vehicles train and send
    CLOSED = "closed"  # who takes part is fixed
    AGGREGATED = "aggregated"  # the candidate's weights are stored
    RELEASED = "released"
    HELD = "held"  # the candidate was worse than the last good release
    ABANDONED = "abandoned"

    @property
    def ended(self) -> bool:
        return self in (Phase.RELEASED, Phase.HELD, Phase.ABANDONED)


@dataclass(frozen=True)
class Round:
    """One round. `participants`: (vehicle, digest) in the order of aggregation; `model`, `state`: digests of the
    candidate and of the strategy.
    """

    run: str
    number: int
    phase: Phase
    base: int
    selected: list[str]
    participants: list[tuple[str, str]]
    model: str
    state: str
    metrics: dict[str, float]
    reason: str
    release: int
    opened: float
    ended: float


@dataclass(frozen=True)
class StoredUpdate:
    """One accepted update; `digest` names its sealed bytes. It was made for round `made_for` and counts in `round`."""

    run: str
    round: int
    made_for: int
    vehicle: str
    digest: str
    samples: int
    size: int
    metrics: dict[str, float]
    received: float


@dataclass(frozen=True)
class ReleaseRecord:
    """A release that was published. `kind`: pretrained, round, rollback, or above (an aggregator above made it);
    `source`: the version it was made from.
    """

    version: int
    digest: str
    kind: str
    source: int
    run: str
    round: int
    metrics: dict[str, float]
    created: float


@dataclass(frozen=True)
class VehicleRecord:
    """What a vehicle last said of itself."""

    name: str
    online: bool
    activity: str
    release: int
    metrics: dict[str, float] = field(default_factory=dict)
    seen: float = 0.0
