"""What the vehicle's computer may use, and what to give up, in which order, when it uses more."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

WATTS = Path("/sys/class/hwmon")
PATIENCE, RECOVERY = 3, 10
"""Readings over a limit before the next level is taken; readings with room before it is given back."""
ROOM = 0.8


class Shortage(StrEnum):
    """What there is not enough of."""

    MEMORY = "memory_over_limit"
    POWER = "power_over_limit"
    FRAME_RATE = "frame_rate_below_target"


@dataclass(frozen=True)
class ResourceLimits:
    """max_memory [GB] of this process, max_power [W] of the board, target_fps [1/s]."""

    max_memory: float = 8.0
    max_power: float = 15.0
    target_fps: float = 30.0


@dataclass(frozen=True)
class Level:
    """How to see: with the light profile or not, every how many frames, with the fallback model or not."""

    light: bool = False
    every: int = 1
    fallback: bool = False


DEGRADE_ORDER = (
    Level(),
    Level(light=True),
    Level(light=True, fallback=True),
    Level(light=True, every=2, fallback=True),
)


@dataclass(frozen=True)
class Reading:
    """memory [GB], power [W] where the board tells it, frame_s: time that one frame takes [s]."""

    memory: float
    power: float | None = None
    frame_s: float | None = None

    def shares(self, limits: ResourceLimits) -> dict[Shortage, float]:
        """How much of each limit is used; above 1 is too much."""
        used = {Shortage.MEMORY: self.memory / limits.max_memory}
        if self.power is not None:
            used[Shortage.POWER] = self.power / limits.max_power
        if self.frame_s is not None:
            used[Shortage.FRAME_RATE] = self.frame_s * limits.target_fps
        return used


class ResourceManager:
    """Takes one level of `DEGRADE_ORDER` after another while a limit is exceeded, and gives them back with
    hysteresis."""

    def __init__(self, limits: ResourceLimits = ResourceLimits()) -> None:
        self.limits = limits
        self.shortages: Mapping[Shortage, float] = {}
        self._level = self._over = self._roomy = 0

    @property
    def level(self) -> Level:
        """What is in force."""
        return DEGRADE_ORDER[self._level]

    def update(self, reading: Reading) -> Level:
        """One reading, at a steady rate; the level for the time until the next."""
        used = reading.shares(self.limits)
        self.shortages = {shortage: share for shortage, share in used.items() if share > 1}
        self._over = self._over + 1 if self.shortages else 0
        self._roomy = self._roomy + 1 if max(used.values()) <= ROOM else 0
        if self._over >= PATIENCE:
            # Leaving images out saves power; it makes a slow computer no faster, and late images are dropped anyway.
            last = len(DEGRADE_ORDER) - 1 if Shortage.POWER in self.shortages else len(DEGRADE_ORDER) - 2
            self._level, self._over = max(self._level, min(self._level + 1, last)), 0
        elif self._roomy >= RECOVERY:
            self._level, self._roomy = max(self._level - 1, 0), 0
        return self.level


def process_memory() -> float:
    """Resident memory of this process [GB]."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e9


def board_power(hwmon: Path = WATTS) -> float | None:
    """Power that the board takes in [W], where it has a sensor for it (a Jetson's INA3221 rail VDD_IN), else None."""
    for label in sorted(hwmon.glob("hwmon*/in*_label")):
        if label.read_text().strip() == "VDD_IN":
            number = label.name.removeprefix("in").removesuffix("_label")
            millivolts, milliamperes = (
                int(label.with_name(f"{kind}{number}_input").read_text()) for kind in ("in", "curr")
            )
            return millivolts * milliamperes / 1e6
    return None
