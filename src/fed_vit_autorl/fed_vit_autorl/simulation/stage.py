"""The stage on which scenarios are played: scripted actors beside SUMO's traffic, at most one per ego."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from .routes import PlannedRoute
from .scenarios import Scenario
from .scripts import SCRIPTS, Script
from .traffic import RoadUserState, centres

ROLES = ("sedan", "pedestrian", "debris")
"""Kinds of actors; each ego has a place in the scene for one of each."""


class Stage:
    """Actors by ego. SUMO's traffic does not know of them: they keep clear of it, it does not keep clear of them."""

    def __init__(self, egos: Iterable[str]):
        self._egos = list(egos)
        self._scripts: dict[str, Script] = {}
        self._states: dict[str, RoadUserState | None] = {}

    @property
    def kinds(self) -> list[str]:
        """The kind of each place, ego by ego."""
        return [role for _ in self._egos for role in ROLES]

    def reset(self, routes: Mapping[str, PlannedRoute], scenarios: Mapping[str, Scenario]) -> None:
        """Casts the actors of a new run."""
        self._scripts = {
            ego: SCRIPTS[scenario.kind](routes[ego], scenario)
            for ego, scenario in scenarios.items()
            if scenario.kind in SCRIPTS
        }
        self._states = dict.fromkeys(self._scripts)

    def step(self, dt: float, egos: Mapping[str, tuple[float, float]], others: NDArray[np.float64]) -> None:
        """Advances every actor; `egos`: progress [m] and speed [m/s]; `others` (N, 2): where everybody else is [m]."""
        for ego in list(self._scripts):
            self._states[ego] = self._scripts[ego].step(dt, *egos[ego], others)
            if self._states[ego] is None:
                del self._scripts[ego]

    def users(self) -> dict[str, tuple[str, RoadUserState]]:
        """Actors on the stage by name: (kind, state)."""
        return {
            f"{script.kind}_before_{ego}": (script.kind, self._states[ego])
            for ego, script in self._scripts.items()
            if self._states[ego] is not None
        }

    def poses(self) -> NDArray[np.float64]:
        """(places, 4) of x, y, z, yaw; NaN where nobody is."""
        placed: list[RoadUserState | None] = []
        for ego in self._egos:
            script = self._scripts.get(ego)
            placed += [self._states[ego] if script and script.kind == role else None for role in ROLES]
        return centres(placed)
