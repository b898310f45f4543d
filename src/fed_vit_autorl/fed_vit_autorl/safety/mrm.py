"""The minimum-risk manoeuvre: an explicit state machine as one pure function."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

from .assumptions import Assumptions
from .reasons import RESPONSES, Behaviour, Reason

PATIENCE = 1.5  # a stop may take this many times as long as planned, plus a second, before the brakes are said to fail


class MrmState(StrEnum):
    """Where the manoeuvre is."""

    NORMAL = "normal"
    OPERATING = "operating"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Manoeuvre:
    """State of the minimum-risk manoeuvre.

    Attributes:
        state: where it is.
        behaviour: how the vehicle is stopped.
        reasons: causes since it began, in order of appearance.
        latched: only the clear service ends it.
        since: when it began [s].
        deadline: when the vehicle has to stand [s].
        healthy_since: since when no cause is active [s]; NaN while one is.
    """

    state: MrmState = MrmState.NORMAL
    behaviour: Behaviour = Behaviour.NONE
    reasons: tuple[Reason, ...] = ()
    latched: bool = False
    since: float = math.nan
    deadline: float = math.inf
    healthy_since: float = math.nan

    @property
    def active(self) -> bool:
        """Whether the manoeuvre, not the policy, has the vehicle."""
        return self.state is not MrmState.NORMAL

    @property
    def clears_when(self) -> str:
        """What an operator reads: what ends the manoeuvre; empty in normal operation."""
        return "; ".join(dict.fromkeys(RESPONSES[reason].clears_when for reason in self.reasons))

    def deceleration(self, a: Assumptions) -> float:
        """What the manoeuvre brakes with [m/s²]."""
        return {
            Behaviour.NONE: 0.0,
            Behaviour.COMFORTABLE_STOP: a.comfortable_brake,
            Behaviour.EMERGENCY_STOP: a.max_deceleration,
        }[self.behaviour]


NORMAL = Manoeuvre()


def advance(
    before: Manoeuvre, faults: Iterable[Reason], speed: float | None, room: float, now: float, a: Assumptions
) -> Manoeuvre:
    """The manoeuvre after this tick.

    Args:
        before: its state so far.
        faults: causes that are active now; those without a response are ignored.
        speed: of the ego [m/s]; None while it is not known.
        room: free way ahead [m]; a comfortable stop is only made where it ends within it.
        now: [s].
        a: assumptions.
    """
    causes = [fault for fault in faults if fault in RESPONSES]
    if causes:
        return _operate(before, causes, speed, room, now, a)
    if not before.active:
        return before
    healthy_since = now if math.isnan(before.healthy_since) else before.healthy_since
    if not before.latched and now - healthy_since >= a.recovery_time:
        return NORMAL
    return _progress(replace(before, healthy_since=healthy_since), speed, room, now, a)


def clear(before: Manoeuvre) -> Manoeuvre:
    """What the clear service leaves: a cause that is still active starts a new manoeuvre on the next tick."""
    return NORMAL


def _operate(
    before: Manoeuvre, causes: list[Reason], speed: float | None, room: float, now: float, a: Assumptions
) -> Manoeuvre:
    gravest = max(RESPONSES[cause].behaviour for cause in causes)
    latched = before.latched or any(RESPONSES[cause].latched for cause in causes)
    reasons = tuple(dict.fromkeys((*before.reasons, *causes)))
    behaviour = max(before.behaviour, gravest)
    started = before.active
    after = replace(
        before,
        state=before.state if started else MrmState.OPERATING,
        behaviour=behaviour,
        reasons=reasons,
        latched=latched,
        since=before.since if started else now,
        healthy_since=math.nan,
    )
    if not started and speed is not None:
        after = replace(after, deadline=now + PATIENCE * speed / after.deceleration(a) + 1.0)
    return _progress(after, speed, room, now, a)


def _progress(m: Manoeuvre, speed: float | None, room: float, now: float, a: Assumptions) -> Manoeuvre:
    """Comfortable or emergency by the room there is; operating, succeeded or failed by the speed."""
    if speed is None:
        return replace(m, behaviour=Behaviour.EMERGENCY_STOP)
    if m.state is MrmState.SUCCEEDED and speed < 5 * a.standstill:
        return m
    if speed < a.standstill:
        return replace(m, state=MrmState.SUCCEEDED)
    if m.state is MrmState.SUCCEEDED:
        return _fail(m)
    if now > m.deadline:
        return _fail(m)
    if speed * a.response_time + speed**2 / (2.0 * a.comfortable_brake) > room:
        return replace(m, behaviour=Behaviour.EMERGENCY_STOP)
    return m


def _fail(m: Manoeuvre) -> Manoeuvre:
    """The vehicle moves although it is braked: latched, at full brake."""
    return replace(
        m,
        state=MrmState.FAILED,
        behaviour=Behaviour.EMERGENCY_STOP,
        reasons=tuple(dict.fromkeys((*m.reasons, Reason.BRAKE_INEFFECTIVE))),
        latched=True,
    )
