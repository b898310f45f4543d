"""The privileged expert: drives a route on the world's true state, as PDM-Lite does, to be cloned and measured against.

Lateral: pure pursuit of the route. Longitudinal: the least acceleration that any of these allows: the free road with
its curves, the lead vehicle (IDM), the stop line of a red light, anyone forecast to cross the path (at constant speed
and turn rate), the route's end.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from fed_vit_autorl.compiled import compiled
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
from fed_vit_autorl.reinforcement.polyline import KNOTS, chords, heading_at, nearest_chord
from fed_vit_autorl.reinforcement.route import PATH_POINTS, PATH_SPACING_M, Pose, Route, chord_count, wrap
from fed_vit_autorl.reinforcement.vehicle import Footprint
from fed_vit_autorl.simulation.vehicle import VehicleParameters

HORIZON_M = 60.0
STEP_S, STEPS = 0.5, 11
SLACK_S, LINGERS_S = 1.0, 2.0
IN_THE_WAY_M, BESIDE_M = 0.3, 0.8
CIRCLE_GAP_M = 0.75
WALKING_PACE, STANDS = 2.5, 0.3
NOTHING, LEAD, PERSON, BESIDE, CROSSING = range(5)
CAUSES = ("", "lead", "person", "beside", "crossing")


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
        rates, (x, y, _) = self._turn_rates(ego.stamp, users), ego.position
        near = [
            (user.x, user.y, user.yaw, user.speed, user.length, user.width, user.class_id == VEHICLE, rates[name])
            for name, user in users.items()
            if math.hypot(user.x - x, user.y - y) < HORIZON_M + user.speed * 1.5
        ]
        if not near:
            return limits
        line = chords(self.route.knots, s, s + HORIZON_M, chord_count(s, s + HORIZON_M))
        body = (self.footprint.front, self.footprint.rear, self.footprint.width, self.style.acceleration)
        for cause, ahead, toward in _hindrances(self.route.knots, line, np.array(near), s, ego.speed, body).tolist():
            if cause == NOTHING:
                continue
            if cause == BESIDE:
                acceleration = free_road(ego.speed, WALKING_PACE, self.style)
            elif cause == CROSSING:
                acceleration = stop_at(ego.speed, ahead - self.style.standstill_gap, self.style)
            else:
                acceleration = follow(ego.speed, ahead, toward, self.style)
            cause = CAUSES[int(cause)]
            limits[cause] = min(limits.get(cause, math.inf), acceleration)
        return limits

    def _turn_rates(self, stamp: float, users: Mapping[str, RoadUser]) -> dict[str, float]:
        """rad/s from each user's yaw at the previous call."""
        rates = {}
        for name, user in users.items():
            before, yaw = self._yaws.get(name, (stamp, user.yaw))
            rates[name] = min(max(wrap(user.yaw - yaw) / (stamp - before), -1.0), 1.0) if stamp > before else 0.0
        self._yaws = {name: (stamp, user.yaw) for name, user in users.items()}
        return rates


@compiled("float64(float64, float64, float64)")
def _arrival(speed, distance, pull):
    """Seconds until the ego has gone `distance` metres when it accelerates gently to at least 8 m/s."""
    if distance <= 0.0:
        return 0.0
    a, top = 0.7 * pull, max(speed, 8.0)
    ramp = (top * top - speed * speed) / (2.0 * a)
    if distance < ramp:
        return (np.sqrt(speed * speed + 2.0 * a * distance) - speed) / a
    return (top - speed) / a + (distance - ramp) / top


@compiled(f"float64[:, ::1]({KNOTS}, float64[:, ::1], float64[:, ::1], float64, float64, UniTuple(float64, 4))")
def _hindrances(knots, line, users, s, speed, body):
    """Per user what it is to the ego at `s` with `speed`: (cause, gap to it [m], its speed along the route [m/s]).

    `line`: the route's next `HORIZON_M` in chords; `users` (n, 8): x, y, yaw, speed, length, width, whether a vehicle,
    turn rate [rad/s]; `body`: the ego's front, rear, width [m], its acceleration [m/s²].
    """
    front, rear, width, pull = s + body[0], body[1], body[2], body[3]
    found = np.zeros((len(users), 3))
    for i in range(len(users)):
        x, y, yaw, pace = users[i, 0], users[i, 1], users[i, 2], users[i, 3]
        length, wide, vehicle, rate = users[i, 4], users[i, 5], users[i, 6] > 0.0, users[i, 7]
        reach, radius = 0.5 * (width + wide), 0.5 * wide
        # The user is covered by circles as wide as itself.
        half = 0.5 * max(length - wide, 0.0)
        gaps = int(np.ceil(half / CIRCLE_GAP_M))
        margin = IN_THE_WAY_M if vehicle else BESIDE_M
        place, beside = np.inf, False
        first, last, near, far = -1, -1, np.inf, -np.inf
        for step in range(STEPS if pace > STANDS else 1):
            time = STEP_S * step
            turn = 0.5 * rate * time
            way = pace * time * (np.sin(turn) / turn if turn != 0.0 else 1.0)
            centre_x, centre_y = x + way * np.cos(yaw + turn), y + way * np.sin(yaw + turn)
            cos, sin = np.cos(yaw + rate * time), np.sin(yaw + rate * time)
            for circle in range(gaps + 1):
                offset = 2.0 * half / gaps * circle - half if gaps > 0 else 0.0
                along, lateral = nearest_chord(line, centre_x + offset * cos, centre_y + offset * sin)
                aside = abs(lateral)
                if step == 0 and aside < reach + IN_THE_WAY_M and along > s:
                    place = min(place, along)
                if step == 0 and aside < reach + BESIDE_M and front < along < front + speed * 2.0 + 5.0:
                    beside = True
                if aside < reach + margin and front < along < s + HORIZON_M - 1.0:
                    first, last = step if first < 0 else first, step
                    near, far = min(near, along), max(far, along)
            if step == 0 and (place < np.inf or (beside and not vehicle)):
                break
        if place < np.inf:
            found[i, 0] = LEAD if vehicle else PERSON
            found[i, 1], found[i, 2] = place - front - radius, pace * np.cos(yaw - heading_at(knots, place, 1.0))
        elif beside and not vehicle:
            found[i, 0] = BESIDE
        elif pace > STANDS and first >= 0:
            enter = _arrival(speed, near - radius - front, pull)
            leave = _arrival(speed, far + radius - s + rear, pull)
            # Whoever is still on the path when the forecast ends may stay there.
            lingers = LINGERS_S if last == STEPS - 1 else 0.0
            if not (leave < STEP_S * first - SLACK_S or enter > STEP_S * last + SLACK_S + lingers):
                found[i, 0], found[i, 1] = CROSSING, near - radius - front
    return found
