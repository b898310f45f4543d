"""Where an ego is on its route, and what is ahead of it there: lights, limits, whoever is in the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..data.classes import VEHICLE
from ..reinforcement.expert import RoadUser, StopLine
from ..reinforcement.route import Pose, Projection
from .actors import EGO_KIND
from .observation import LightAhead, Truth
from .routes import PlannedRoute
from .vehicle import VehicleParameters

LIGHT_AHEAD_M = 80.0
LIGHT_BEHIND_M = 4.0
LEAD_AHEAD_M = 60.0
GOAL_M = 3.0
EGO_FRONT_M = EGO_KIND.length - VehicleParameters.rear_overhang


class RouteGuide:
    """An ego's progress along `route`; `here` is where it is now, as `Projection`."""

    def __init__(self, route: PlannedRoute):
        self.route = route
        self.here = Projection(0.0, 0.0, 0.0)
        self._furthest = 0.0

    def move_to(self, x: float, y: float, yaw: float) -> None:
        """Takes over the pose of `base_link` [m, rad]."""
        self.here = self.route.line.project(Pose(x, y, yaw), self.here.s)
        self._furthest = max(self._furthest, self.here.s)

    @property
    def completion(self) -> float:
        """Share of the route that has been driven, 1 from 3 m before its end."""
        return min(self._furthest / max(self.route.line.length - GOAL_M, 1.0), 1.0)

    @property
    def lane_width(self) -> float:
        """Metres."""
        return float(self.route.at(self.route.lane_widths, self.here.s))

    @property
    def in_junction(self) -> bool:
        """Whether `base_link` is inside a junction."""
        return bool(self.route.at(self.route.in_junction, self.here.s))

    @property
    def speed_limit(self) -> float:
        """m/s."""
        return float(self.route.at(self.route.speed_limits, self.here.s))

    def light(self, signals: Sequence[str] | Mapping[int, str]) -> LightAhead | None:
        """The next light; `signals` gives the state of each by its id."""
        front = self.here.s + EGO_FRONT_M
        for s, signal in self.route.stops:
            if -LIGHT_BEHIND_M < s - front < LIGHT_AHEAD_M:
                x, y = self.route.line.at(np.array(s))
                return LightAhead(signal, signals[signal], float(s - front), float(x), float(y))
        return None

    def truth(self, users: dict[str, RoadUser], light: LightAhead | None, off_road: bool, collided: bool) -> Truth:
        """What an expert or an evaluation may know."""
        gap, speed = self._lead(users)
        return Truth(
            users=users,
            stop_line=light and StopLine(light.distance, light.state == "red", light.state == "yellow"),
            lateral=self.here.lateral,
            heading_error=self.here.heading_error,
            lead_gap=gap,
            lead_speed=speed,
            off_road=off_road,
            collided=collided,
        )

    def _lead(self, users: dict[str, RoadUser]) -> tuple[float, float]:
        """Gap [m] and speed along the route [m/s] of the nearest road user in the lane ahead."""
        best, speed = np.inf, 0.0
        if not users:
            return best, speed
        s, line = self.here.s, self.route.line
        points = np.array([(user.x, user.y) for user in users.values()])
        along, lateral = line.project_points(points, s, s + LEAD_AHEAD_M)
        for user, at, side in zip(users.values(), along, lateral, strict=True):
            in_lane = abs(side) < 0.5 * (EGO_KIND.width + user.width) and s + 1.0 < at < s + LEAD_AHEAD_M - 1.0
            half = 0.5 * (user.length if user.class_id == VEHICLE else user.width)
            gap = max(float(at) - half - s - EGO_FRONT_M, 0.0)
            if in_lane and gap < best:
                best, speed = gap, float(user.speed * np.cos(user.yaw - float(line.heading(at))))
        return best, speed
