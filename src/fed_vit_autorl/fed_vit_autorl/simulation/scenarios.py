"""Difficult moments drawn from a seed: someone cuts in or jaywalks, lost cargo, a sensor fails, bad weather."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from .failures import FAILURES
from .weather import WEATHERS


class ScenarioKind(StrEnum):
    """What happens."""

    CUT_IN = "cut_in"
    JAYWALKER = "jaywalker"
    DEBRIS = "debris"
    SENSOR_FAILURE = "sensor_failure"
    WEATHER = "weather"


@dataclass(frozen=True)
class Scenario:
    """One difficult moment on an ego's route.

    `share` in [0, 1] says where along the route, `boldness` in [0, 1] how late and fast somebody comes; `failure` names
    one of `failures.FAILURES` for a sensor failure and lasts `seconds` from `begins` [s]; `weather` is the ego's for
    this run, None for its own.
    """

    kind: ScenarioKind
    share: float = 0.5
    boldness: float = 0.5
    weather: str | None = None
    failure: str | None = None
    begins: float = 0.0
    seconds: float = 0.0


class ScenarioGenerator:
    """Scenarios by number: the same seed and number give the same scenario."""

    def __init__(self, seed: int, kinds: tuple[ScenarioKind, ...] = tuple(ScenarioKind)):
        self._seed = seed
        self._kinds = kinds

    def __call__(self, number: int) -> Scenario:
        """Scenario `number`; the kinds take turns."""
        rng = np.random.default_rng([self._seed, number])
        kind = self._kinds[number % len(self._kinds)]
        common = {"share": float(rng.uniform(0.15, 0.85)), "boldness": float(rng.random())}
        if kind is ScenarioKind.WEATHER:
            return Scenario(kind, **common, weather=str(rng.choice([name for name in WEATHERS if name != "noon"])))
        if kind is ScenarioKind.SENSOR_FAILURE:
            failure, begins = str(rng.choice(list(FAILURES))), float(rng.uniform(3.0, 15.0))
            return Scenario(kind, **common, failure=failure, begins=begins, seconds=float(rng.uniform(0.5, 5.0)))
        return Scenario(kind, **common)
