"""Road users that act by a script on an ego's route, instead of SUMO's traffic: the actors of scenarios."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..reinforcement.longitudinal import DrivingStyle, follow, free_road
from .actors import EGO_KIND
from .ground import KERB_HEIGHT_M
from .guide import EGO_FRONT_M
from .routes import PlannedRoute
from .scenarios import Scenario, ScenarioKind
from .traffic import RoadUserState

CLEAR_OF_JUNCTION_M = 14.0
HALF_CAR_M = 0.5 * EGO_KIND.length
STYLE = DrivingStyle()


class Script(Protocol):
    """An actor: `kind` of road user it plays; `step` gives its state, or None once it has left the stage."""

    kind: str

    def step(self, dt: float, progress: float, speed: float, others: NDArray[np.float64]) -> RoadUserState | None:
        """Advances by `dt`; the ego is `progress` metres along its route at `speed` m/s, `others` (N, 2) are around."""


def place_on(route: PlannedRoute, share: float) -> float:
    """An arc length [m] near `share` of the route that is well away from junctions and from the start."""
    s = np.arange(35.0, route.line.length - 20.0, 1.0)
    reach = np.arange(-CLEAR_OF_JUNCTION_M, CLEAR_OF_JUNCTION_M + 1.0)
    index = np.clip(np.searchsorted(route.line.s, s[:, None] + reach), 0, len(route.in_junction) - 1)
    free = s[~route.in_junction[index].any(axis=1)]
    return float(free[np.argmin(np.abs(free - share * route.line.length))]) if len(free) else float(s[len(s) // 2])


def state_on(
    route: PlannedRoute, s: float, left: float, speed: float, turn: float = 0.0, z: float = 0.0
) -> RoadUserState:
    """State of somebody `left` metres left of the route at arc length `s`, turned by `turn` [rad] from it."""
    x, y = route.line.at(np.array(s))
    yaw = float(route.line.heading(np.array(s)))
    return RoadUserState(x - left * math.sin(yaw), y + left * math.cos(yaw), z, yaw + turn, speed)


class CutIn:
    """A parked car pulls out in front of the ego, drives on and parks again further along."""

    kind = "sedan"
    PARKED_M = -2.9
    PULL_OUT_S = 2.6
    DRIVES_M = 45.0
    NEEDED_M = 12.0

    def __init__(self, route: PlannedRoute, scenario: Scenario):
        self._route = route
        self._s = place_on(route, scenario.share)
        self._stops_at = self._s + self.DRIVES_M
        self._headway = 3.0 - 1.0 * scenario.boldness
        self._since: float | None = None
        self._speed = 0.0

    def step(self, dt: float, progress: float, speed: float, others: NDArray[np.float64]) -> RoadUserState | None:
        """Waits for the ego, then drives; leaves when the ego has passed."""
        gap = self._s - HALF_CAR_M - progress - EGO_FRONT_M
        if gap < -40.0:
            return None
        room = self._room(others)
        if self._since is None and 0.0 < gap < 6.0 + self._headway * speed and room > self.NEEDED_M:
            self._since = 0.0
        if self._since is not None:
            self._since += dt
            wish = 5.0 if self._s < self._stops_at else 0.0
            acceleration = min(free_road(self._speed, wish, STYLE), follow(self._speed, room, 0.0, STYLE))
            self._speed = max(self._speed + acceleration * dt, 0.0)
            self._s += self._speed * dt
        out = 0.0 if self._since is None else _smooth(self._since / self.PULL_OUT_S)
        back = _smooth((self._s - self._stops_at + 8.0) / 10.0)
        return state_on(self._route, self._s, self.PARKED_M * (1.0 - out * (1.0 - back)), self._speed)

    def _room(self, others: NDArray[np.float64]) -> float:
        """Metres to the next road user in the lane, junction or end of the route; 0 with somebody right beside."""
        ahead = self._route.line.s[self._route.in_junction & (self._route.line.s > self._s)]
        end = float(ahead[0]) if len(ahead) else self._route.line.length
        if len(others):
            along, lateral = self._route.line.project_points(others, self._s - HALF_CAR_M, self._s + 40.0)
            in_lane = (np.abs(lateral) < 1.5) & (along > self._s - HALF_CAR_M) & (along < self._s + 39.0)
            end = min(end, float(along[in_lane].min(initial=np.inf)) - HALF_CAR_M)
        return max(end - self._s - HALF_CAR_M, 0.0)


class Jaywalker:
    """Somebody steps off the pavement in front of the ego and crosses both lanes."""

    kind = "pedestrian"

    def __init__(self, route: PlannedRoute, scenario: Scenario):
        self._route = route
        self._s = place_on(route, scenario.share)
        width = route.at(route.lane_widths, self._s)
        self._left, self._goal = -0.5 * width - 0.7, 1.5 * width + 0.7
        self._edge = 0.5 * width
        self._walk = 1.2 + 1.0 * scenario.boldness
        self._headway = 2.6 - 0.8 * scenario.boldness
        self._walking = False

    def step(self, dt: float, progress: float, speed: float, others: NDArray[np.float64]) -> RoadUserState | None:
        """Waits for the ego, then crosses and stays on the other side until the ego has passed."""
        gap = self._s - progress - EGO_FRONT_M
        if gap < -40.0:
            return None
        self._walking |= 0.0 < gap < 5.0 + self._headway * speed
        goes = self._walking and self._left < self._goal
        if goes:
            self._left += self._walk * dt
        on_road = -self._edge < self._left < self._goal - 0.7
        height = 0.0 if on_road else KERB_HEIGHT_M
        return state_on(self._route, self._s, self._left, self._walk if goes else 0.0, math.pi / 2, height)


class Debris:
    """Lost cargo lies in the lane until somebody has cleared it away, some seconds after the ego has stopped for it."""

    kind = "debris"
    CLEARED_AFTER_S = 6.0

    def __init__(self, route: PlannedRoute, scenario: Scenario):
        self._route = route
        self._s = place_on(route, scenario.share)
        self._left = 1.2 * (scenario.boldness - 0.5)
        self._waited = 0.0

    def step(self, dt: float, progress: float, speed: float, others: NDArray[np.float64]) -> RoadUserState | None:
        """Lies there."""
        gap = self._s - progress - EGO_FRONT_M
        if speed < 0.3 and 0.0 < gap < 20.0:
            self._waited += dt
        if gap < -40.0 or self._waited > self.CLEARED_AFTER_S:
            return None
        return state_on(self._route, self._s, self._left, 0.0, 0.4)


SCRIPTS: dict[ScenarioKind, Callable[[PlannedRoute, Scenario], Script]] = {
    ScenarioKind.CUT_IN: CutIn,
    ScenarioKind.JAYWALKER: Jaywalker,
    ScenarioKind.DEBRIS: Debris,
}


def _smooth(u: float) -> float:
    u = min(max(u, 0.0), 1.0)
    return u * u * (3 - 2 * u)
