"""The privileged expert: drives a route on the world's true state, as PDM-Lite does, to be cloned and measured against.

Lateral: pure pursuit of the route. Longitudinal: the least acceleration that any of these allows: the free road with
its curves, the lead vehicle (IDM), the stop line of a red light, anyone forecast to cross the path (at constant speed
and turn rate), the route's end.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from fed_vit_autorl.data.classes import VEHICLE
from fed_vit_autorl.data.sample import EgoState
from fed_vit_autorl.reinforcement.control import PurePursuit
from fed_vit_autorl.reinforcement.longitudinal import (
    DrivingStyle,
    curve_speed,
    follow,
    free_road,
    must_stop,
    stop_at,
)
from fed_vit_autorl.reinforcement.route import PATH_POINTS, PATH_SPACING_M, Pose, Route
from fed_vit_autorl.reinforcement.vehicle import Footprint
from fed_vit_autorl.simulation.vehicle import VehicleParameters

HORIZON_M = 60.0
TIMES_S = np.arange(0.0, 5.01, 0.5)
SLACK_S = 1.0
IN_THE_WAY_M, BESIDE_M = 0.3, 0.8
WALKING_PACE = 2.5


@dataclass(frozen=True)
class RoadUser:
    """Another road user as it truly is: centre in `map` [m], yaw [rad], speed [m/s], length, width [m], class index."""

    x: float
    y: float
    yaw: float
    speed: float
    length: float
    width: float
    class_id: int


@dataclass(frozen=True)
class StopLine:
    """The next light on the route: distance from the ego's front to its stop line [m] and whether it says stop."""

    distance: float
    red: bool
    yellow: bool = False


@dataclass(frozen=True)
class Decision:
    """Steering [rad], acceleration [m/s²], target speed [m/s], path (20, 2) in `base_link`, and what decided it."""

    steering: float
    acceleration: float
    target_speed: float
    path: np.ndarray
    because: str


@dataclass
class Expert:
    """Drives one route; keeps its progress and each road user's last yaw (for the turn rate) between calls."""

    route: Route
    vehicle: VehicleParameters = field(default_factory=VehicleParameters)
    footprint: Footprint = field(default_factory=Footprint)
    style: DrivingStyle = field(default_factory=DrivingStyle)
    progress: float | None = None
    _yaws: dict[str, tuple[float, float]] = field(default_factory=dict)

    def decide(self, ego: EgoState, users: Mapping[str, RoadUser], light: StopLine | None) -> Decision:
        """The next action. `users` by a name that stays the same from call to call."""
        pose = Pose(*ego.position[:2], ego.yaw)
        here = self.route.project(pose, self.progress)
        self.progress = here.s
        target = curve_speed(self.route, here.s, self.style)
        limits = {"free_road": free_road(ego.speed, target, self.style)}
        limits["route_end"] = stop_at(ego.speed, self.route.length - here.s, self.style)
        if light is not None and must_stop(ego.speed, light.distance, light.red, light.yellow):
            limits["red_light"] = stop_at(ego.speed, light.distance - self.style.stop_line_gap, self.style)
        limits |= self._traffic(ego, here.s, users)
        because = min(limits, key=limits.__getitem__)
        acceleration = limits[because]
        if ego.speed < 0.1 and acceleration < 0.0:
            acceleration = -1.0
        path = self.route.local(pose, here.s, PATH_POINTS, PATH_SPACING_M)
        steering = PurePursuit(self.vehicle).steer(path, ego.speed, 0.05)
        target = target if because == "free_road" else min(target, max(ego.speed + acceleration, 0.0))
        return Decision(steering, acceleration, target, path, because)

    def _traffic(self, ego: EgoState, s: float, users: Mapping[str, RoadUser]) -> dict[str, float]:
        """What the lead, people on the path and whoever is going to cross it allow, in m/s²."""
        limits: dict[str, float] = {}
        rates = self._turn_rates(ego.stamp, users)
        x, y, _ = ego.position
        near = {name: user for name, user in users.items() if _may_matter(user, x, y)}
        if not near:
            return limits
        circles = [_circles(user, rates[name]) for name, user in near.items()]
        flat = np.concatenate([points.reshape(-1, 2) for points in circles])
        along, lateral = self.route.project_points(flat, s, s + HORIZON_M)
        start = 0
        for user, points in zip(near.values(), circles, strict=True):
            shape, end = points.shape[:2], start + points.shape[0] * points.shape[1]
            limit = self._user_limit(
                ego.speed, s, user, along[start:end].reshape(shape), lateral[start:end].reshape(shape)
            )
            start = end
            if limit is not None:
                cause, acceleration = limit
                limits[cause] = min(limits.get(cause, np.inf), acceleration)
        return limits

    def _user_limit(
        self, speed: float, s: float, user: RoadUser, along: np.ndarray, lateral: np.ndarray
    ) -> tuple[str, float] | None:
        """(cause, acceleration) for a user whose circles lie at `along`, `lateral` (T, C) now and as forecast."""
        width, front = 0.5 * (self.footprint.width + user.width), s + self.footprint.front
        now = (np.abs(lateral[0]) < width + IN_THE_WAY_M) & (along[0] > s)
        if now.any():
            place = float(along[0][now].min())
            toward = float(user.speed * np.cos(user.yaw - float(self.route.heading(place))))
            cause = "lead" if user.class_id == VEHICLE else "person"
            return cause, follow(speed, place - front - 0.5 * user.width, toward, self.style)
        beside = (np.abs(lateral[0]) < width + BESIDE_M) & (along[0] > front) & (along[0] < front + speed * 2.0 + 5.0)
        if user.class_id != VEHICLE and beside.any():
            return "beside", free_road(speed, WALKING_PACE, self.style)
        margin = IN_THE_WAY_M if user.class_id == VEHICLE else BESIDE_M
        inside = (np.abs(lateral) < width + margin) & (along > front) & (along < s + HORIZON_M - 1.0)
        if user.speed <= 0.3 or not inside.any():
            return None
        when, where, radius = TIMES_S[inside.any(axis=1)], along[inside], 0.5 * user.width
        enter = self._arrival(speed, float(where.min()) - radius - front)
        leave = self._arrival(speed, float(where.max()) + radius - s + self.footprint.rear)
        # Whoever is still on the path when the forecast ends may stay there.
        stays = 2.0 if when[-1] == TIMES_S[-1] else 0.0
        if leave < when[0] - SLACK_S or enter > when[-1] + SLACK_S + stays:
            return None
        stop = float(where.min()) - radius - front - self.style.standstill_gap
        return "crossing", stop_at(speed, stop, self.style)

    def _turn_rates(self, stamp: float, users: Mapping[str, RoadUser]) -> dict[str, float]:
        """rad/s from each user's yaw at the previous call."""
        rates = {}
        for name, user in users.items():
            before, yaw = self._yaws.get(name, (stamp, user.yaw))
            change = (user.yaw - yaw + np.pi) % (2.0 * np.pi) - np.pi
            rates[name] = float(np.clip(change / (stamp - before), -1.0, 1.0)) if stamp > before else 0.0
        self._yaws = {name: (stamp, user.yaw) for name, user in users.items()}
        return rates

    def _arrival(self, speed: float, distance: float) -> float:
        """Seconds until the ego has gone `distance` metres when it accelerates gently to at least 4 m/s."""
        if distance <= 0.0:
            return 0.0
        a, top = 0.7 * self.style.acceleration, max(speed, 8.0)
        ramp = (top**2 - speed**2) / (2.0 * a)
        if distance < ramp:
            return float((np.sqrt(speed**2 + 2.0 * a * distance) - speed) / a)
        return float((top - speed) / a + (distance - ramp) / top)


def _may_matter(user: RoadUser, x: float, y: float) -> bool:
    """Whether the user is near enough, or fast enough to come near within the forecast."""
    return bool(np.hypot(user.x - x, user.y - y) < HORIZON_M + user.speed * 1.5)


def _circles(user: RoadUser, rate: float) -> np.ndarray:
    """Centres (T, C, 2) in `map` of the circles, as wide as the user, that cover it at each of `TIMES_S`."""
    half = 0.5 * rate * TIMES_S
    distance = user.speed * TIMES_S * np.sinc(half / np.pi)
    centre = np.stack((user.x + distance * np.cos(user.yaw + half), user.y + distance * np.sin(user.yaw + half)), -1)
    yaw = user.yaw + rate * TIMES_S
    half_length = max(user.length - user.width, 0.0) / 2.0
    count = 1 if half_length == 0.0 else int(np.ceil(half_length / 0.75)) + 1
    direction = np.stack((np.cos(yaw), np.sin(yaw)), axis=-1)
    return centre[:, None] + np.linspace(-half_length, half_length, count)[None, :, None] * direction[:, None]
