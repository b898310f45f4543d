"""Policies that mean no good, by name: each turns the good proposal of a frame into what reaches the shield."""

from collections import deque
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ..types import Proposal

Adversary = Callable[[Proposal], Proposal | None]
LOCK = 0.6


def nominal(rng: np.random.Generator) -> Adversary:
    """The good proposal itself."""
    return lambda proposal: proposal


def random(rng: np.random.Generator) -> Adversary:
    """Other controls every frame, and now and then another path."""

    def propose(proposal: Proposal) -> Proposal:
        path = rng.uniform(-20.0, 40.0, (20, 2)) if rng.random() < 0.3 else proposal.path
        steering, throttle, brake = rng.uniform(-LOCK, LOCK), rng.uniform(0.0, 1.0), rng.choice((0.0, rng.random()))
        return replace(proposal, steering_angle=steering, throttle=throttle, brake=float(brake), path=path)

    return propose


def full_throttle(rng: np.random.Generator) -> Adversary:
    """Steers well and never lifts the foot."""
    return lambda proposal: replace(proposal, throttle=1.0, brake=0.0)


def wrong_steer(rng: np.random.Generator) -> Adversary:
    """Steers off by a constant angle, at speed, with a path that agrees with it."""
    bias = float(rng.choice((-1.0, 1.0)) * rng.uniform(0.05, LOCK))

    def propose(proposal: Proposal) -> Proposal:
        x = 2.0 * np.arange(1, 21)
        path = np.stack((x, 0.5 * np.tan(bias) / 2.7 * x**2), axis=-1)
        return replace(proposal, steering_angle=bias, throttle=0.6, brake=0.0, path=path)

    return propose


def frozen(rng: np.random.Generator) -> Adversary:
    """Repeats its first controls for ever, each time with a fresh stamp."""
    first: list[Proposal] = []

    def propose(proposal: Proposal) -> Proposal:
        first.append(proposal)
        del first[1:]
        return replace(first[0], stamp=proposal.stamp, throttle=max(first[0].throttle, 0.3), brake=0.0)

    return propose


def nan(rng: np.random.Generator) -> Adversary:
    """A value is NaN or infinite, in some frames or in all."""
    share = rng.choice((0.3, 1.0))

    def propose(proposal: Proposal) -> Proposal:
        if rng.random() > share:
            return replace(proposal, throttle=1.0, brake=0.0)
        field = str(rng.choice(("steering_angle", "throttle", "brake", "path")))
        bad = float(rng.choice((np.nan, np.inf, -np.inf)))
        return replace(proposal, **{field: np.full((20, 2), bad) if field == "path" else bad})

    return propose


def delayed(rng: np.random.Generator) -> Adversary:
    """Full throttle, and everything late; the stamps are honest or lie."""
    late: deque[Proposal] = deque(maxlen=int(rng.integers(2, 20)))
    honest = rng.random() < 0.5

    def propose(proposal: Proposal) -> Proposal:
        late.append(replace(proposal, throttle=1.0, brake=0.0))
        return late[0] if honest else replace(late[0], stamp=proposal.stamp)

    return propose


def oscillating(rng: np.random.Generator) -> Adversary:
    """Swings the wheel and pumps the pedals."""
    period, phase = rng.uniform(0.2, 3.0), rng.uniform(0.0, 6.28)

    def propose(proposal: Proposal) -> Proposal:
        swing = float(np.sin(2.0 * np.pi * proposal.stamp / period + phase))
        return replace(proposal, steering_angle=LOCK * swing, throttle=max(swing, 0.2), brake=max(-swing, 0.0) ** 4)

    return propose


def silent(rng: np.random.Generator) -> Adversary:
    """Says nothing any more, or only now and then."""
    share = rng.choice((0.0, 0.2))
    return lambda proposal: replace(proposal, throttle=1.0, brake=0.0) if rng.random() < share else None


ADVERSARIES: dict[str, Callable[[np.random.Generator], Adversary]] = {
    make.__name__: make
    for make in (nominal, random, full_throttle, wrong_steer, frozen, nan, delayed, oscillating, silent)
}
