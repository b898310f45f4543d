"""A light world of boxes for campaigns of thousands of drives: one ego, dense traffic, LiDAR by ray casting.

Everything but the ego is kinematic and lives in the route's own coordinates: s along it, d to its left. The traffic
follows (IDM), brakes hard, cuts in, comes the other way, crosses at lights and jaywalks. Used like `World`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fed_vit_autorl.compiled import compiled

from ..data.classes import PEDESTRIAN, VEHICLE
from ..data.sample import EgoState
from ..reinforcement.expert import RoadUser, StopLine
from ..reinforcement.route import Pose, RoadOption
from .boxtraffic import EVERYBODY, HOUSE_M, LANE_M, Behaviour, Traffic, make_traffic
from .events import Collision, corners, ego_centre, ego_corners, ego_is_at_fault, overlap
from .lidar import LidarSpec
from .observation import LightAhead
from .raybox import BoxLidar
from .routes import PlannedRoute
from .vehicle import FULL_BRAKE, Control, VehicleParameters, VehicleState, step

EGO = "vehicle_0"
DT = 0.05
SPEED_LIMIT = 11.11
TOLERATED = 1.1
SEEN_M = 90.0
STOP_LINE_M = 9.0
GREEN_S, YELLOW_S, CYCLE_S = 10.0, 3.0, 24.0
GRIPS = (1.0, 1.0, 0.7, 0.65)
REACTION_S, BRAKE = 0.5, 7.0
FRONT_M = 3.7
GOAL_M = 5.0
LANE_EDGE_M = 1.4
CHEST_M = 1.2
NAMES = tuple(behaviour.name.lower() for behaviour in Behaviour)
ON_FOOT = (Behaviour.WALKS, Behaviour.JAYWALKS)


@dataclass(frozen=True)
class BoxTruth:
    """What no sensor tells: `users` by name, the next `stop_line`, and the gap [m] to the nearest in the ego's lane."""

    users: dict[str, RoadUser]
    stop_line: StopLine | None
    lead_gap: float


@dataclass(frozen=True, eq=False)
class BoxView:
    """The part of `observation.Observation` that a shield and an expert need, under the same names."""

    stamp: float
    points: NDArray[np.float32]
    base_from_lidar: NDArray[np.float64]
    ego: EgoState
    route: PlannedRoute
    light: LightAhead | None
    events: tuple[Collision, ...]
    truth: BoxTruth
    completion: float


@dataclass(frozen=True)
class Threat:
    """Who comes into the ego's lane: when it was exposed [s] and whether the ego could have stopped for it then."""

    since: float
    avoidable: bool


HIDDEN, EXPECTED = Threat(math.inf, False), Threat(0.0, True)


class BoxWorld:
    """`reset(seed)`, then `step(controls)` every 0.05 s; the same seed and controls give the same run."""

    dt = DT

    def __init__(self, behaviours: frozenset[Behaviour] = EVERYBODY) -> None:
        """`behaviours`: what the road users of this world do."""
        self.vehicle, self._behaviours = VehicleParameters(), behaviours
        self._lidar = BoxLidar(LidarSpec())

    def reset(self, seed: int) -> dict[str, BoxView]:
        """A new road with new traffic."""
        self._rng = np.random.default_rng([seed, 11])
        self._planned, straight, self._crossing = _road(self._rng)
        self.route = self._planned.line
        self._traffic: Traffic = make_traffic(self._rng, straight, self._crossing, self._behaviours)
        self._grip = float(self._rng.choice(GRIPS))
        self._phase = float(self._rng.uniform(0.0, CYCLE_S))
        start = self.route.at(np.array(0.0))
        speed = float(self._rng.uniform(0.0, 8.0))
        self._state = VehicleState(float(start[0]), float(start[1]), float(self.route.heading(0.0)), speed)
        self._frame, self._s, self._d = 0, 0.0, 0.0
        self._threats: dict[int, Threat] = {}
        if self._crossing is not None:
            x, y = self.route.at(np.array(self._crossing - STOP_LINE_M))
            self._light_place = float(x), float(y)
        self._place()
        return self._observe(())

    def step(self, controls: Mapping[str, Control]) -> dict[str, BoxView]:
        """Applies the ego's control for 0.05 s; without one it brakes fully."""
        self._state = step(self._state, controls.get(EGO, FULL_BRAKE), DT, self.vehicle, self._grip)
        self._frame += 1
        here = self.route.project(Pose(self._state.x, self._state.y, self._state.yaw), self._s)
        self._s, self._d = here.s, here.lateral
        ego = (self._s + FRONT_M, here.lateral, self._state.speed)
        self._traffic.step(DT, self.stamp, ego, cross_green=self._light_state() == "red")
        self._place()
        self._watch_threats()
        return self._observe(tuple(self._collisions()))

    @property
    def stamp(self) -> float:
        """Simulated time [s]."""
        return round(self._frame * DT, 9)

    def _place(self) -> None:
        """Everyone's pose in `map`."""
        t = self._traffic
        heading = self.route.heading(t.s)
        base = self.route.at(t.s)
        self._x, self._y = base[:, 0] - t.d * np.sin(heading), base[:, 1] + t.d * np.cos(heading)
        self._yaw = heading + t.heading

    def _light_state(self) -> str:
        if self._crossing is None:
            return "green"
        phase = (self.stamp + self._phase) % CYCLE_S
        return "green" if phase < GREEN_S else "yellow" if phase < GREEN_S + YELLOW_S else "red"

    def _observe(self, events: tuple[Collision, ...]) -> dict[str, BoxView]:
        s, t = self._state, self._traffic
        seen, boxes, lead_gap = _seen(
            t.s, t.d, t.heading, t.length, t.width, t.height, t.present, self._x, self._y, self._yaw, (s.x, s.y),
            self._s,
        )  # fmt: skip
        users = {}
        for i, box, kind, speed in zip(
            seen.tolist(), boxes.tolist(), t.behaviour[seen].tolist(), t.speed[seen].tolist(), strict=True
        ):
            x, y, yaw, length, width, height = box
            if height < HOUSE_M:
                of = PEDESTRIAN if kind in ON_FOOT else VEHICLE
                users[f"{NAMES[kind]}_{i}"] = RoadUser(x, y, yaw, speed, length, width, of)
        light = self._light()
        stop = None if light is None else StopLine(light.distance, light.state == "red", light.state == "yellow")
        view = BoxView(
            stamp=self.stamp,
            points=self._lidar.scan((s.x, s.y, s.yaw), boxes, self._rng),
            base_from_lidar=self._lidar.spec.base_from_lidar,
            ego=EgoState(self.stamp, (s.x, s.y, 0.0), s.yaw, s.speed, s.yaw_rate, s.acceleration),
            route=self._planned,
            light=light,
            events=events,
            truth=BoxTruth(users, stop, lead_gap),
            completion=min(self._s / (self.route.length - GOAL_M), 1.0),
        )
        return {EGO: view}

    def _light(self) -> LightAhead | None:
        if self._crossing is None:
            return None
        distance = self._crossing - STOP_LINE_M - self._s - FRONT_M
        return LightAhead(0, self._light_state(), distance, *self._light_place) if -5.0 < distance < 80.0 else None

    def _watch_threats(self) -> None:
        """Remembers of everyone who comes into the ego's lane whether the ego could have stopped for it.

        What counts is the exposure time, at which it is seen first (RSS, arXiv:1708.06374). Who is hidden again before
        anybody could react was not exposed yet, nor is who is run over by another one and comes out of its body.
        """
        t, state, before = self._traffic, self._state, self._threats
        needed = REACTION_S * state.speed + state.speed**2 / (2.0 * min(BRAKE, 8.5 * self._grip))
        found, gap = _threats(t.s, t.d, t.heading, t.length, t.width, t.acting, t.present, self._s)
        ahead = self._lidar.spec.x
        eye = state.x + ahead * math.cos(state.yaw), state.y + ahead * math.sin(state.yaw)
        boxes = self._x, self._y, self._yaw, t.length, t.width
        self._threats = {}
        for i, room in zip(found.tolist(), gap.tolist(), strict=True):
            threat, seen = before.get(i, HIDDEN), _exposed(i, eye, *boxes, t.height, t.present)
            if _within(i, *boxes, t.present):
                threat = HIDDEN
            elif seen and threat is HIDDEN:
                threat = Threat(self.stamp, room > needed)
            elif not seen and self.stamp - threat.since < REACTION_S:
                threat = HIDDEN
            self._threats[i] = threat

    def _collisions(self) -> list[Collision]:
        """Contacts with the ego; who is hit leaves the road, so that it counts once."""
        t, centre = self._traffic, np.array(ego_centre(self._state))
        hit = _contacts(ego_corners(self._state), centre, self._x, self._y, self._yaw, t.length, t.width, t.present)
        return [self._collision(i, centre) for i in hit.tolist()]

    def _collision(self, i: int, centre: NDArray[np.float64]) -> Collision:
        t, s = self._traffic, self._state
        towards = np.array([self._x[i], self._y[i]]) - centre
        towards /= max(float(np.hypot(*towards)), 1e-6)
        ego_towards = s.speed * float(np.array([np.cos(s.yaw), np.sin(s.yaw)]) @ towards)
        other_towards = -t.speed[i] * float(np.array([np.cos(self._yaw[i]), np.sin(self._yaw[i])]) @ towards)
        bearing = float((np.arctan2(towards[1], towards[0]) - s.yaw + np.pi) % (2.0 * np.pi) - np.pi)
        fault = ego_is_at_fault(s.speed, bearing, other_towards, ego_towards)
        # Whoever came into the lane of an ego that kept it and the limit, too near for it to stop, is at fault.
        kept = abs(self._d) <= 0.5 * LANE_M - 0.5 and s.speed <= TOLERATED * SPEED_LIMIT
        fault = fault and (not kept or self._threats.get(i, EXPECTED).avoidable)
        closing = max(ego_towards + other_towards, 0.0)
        kind = Behaviour(t.behaviour[i]).name.lower()
        return Collision(
            self.stamp, f"{kind}_{i}", kind, (0.0, 0.0, 0.0), s.speed, float(t.speed[i]), closing, bearing, fault
        )


@compiled(
    "Tuple((int64[::1], float64[:, ::1], float64))(float64[:], float64[:], float64[:], float64[:], float64[:],"
    " float64[:], boolean[:], float64[:], float64[:], float64[:], UniTuple(float64, 2), float64)"
)
def _seen(
    s: NDArray,
    d: NDArray,
    heading: NDArray,
    length: NDArray,
    width: NDArray,
    height: NDArray,
    present: NDArray,
    x: NDArray,
    y: NDArray,
    yaw: NDArray,
    ego: tuple[float, float],
    ego_s: float,
) -> tuple[NDArray[np.int64], NDArray[np.float64], float]:
    """Who is in sight of the `ego` (x, y), their boxes (N, 6) for the LiDAR, and the gap [m] to the lead."""
    near, lead_gap = np.zeros(len(s), np.bool_), np.inf
    for i in range(len(s)):
        near[i] = present[i] and math.hypot(x[i] - ego[0], y[i] - ego[1]) < SEEN_M
        along, across = length[i], width[i]
        if abs(math.sin(heading[i])) > 0.7:
            along, across = across, along
        if present[i] and abs(d[i]) < 0.5 * (1.85 + across) and s[i] > ego_s:
            lead_gap = min(lead_gap, s[i] - 0.5 * along - ego_s - FRONT_M)
    index = np.flatnonzero(near)
    boxes = np.empty((len(index), 6))
    for row in range(len(index)):
        i = index[row]
        boxes[row, 0], boxes[row, 1], boxes[row, 2] = x[i], y[i], yaw[i]
        boxes[row, 3], boxes[row, 4], boxes[row, 5] = length[i], width[i], height[i]
    return index, boxes, lead_gap


@compiled(
    "Tuple((int64[::1], float64[::1]))(float64[:], float64[:], float64[:], float64[:], float64[:], boolean[:],"
    " boolean[:], float64)"
)
def _threats(
    s: NDArray,
    d: NDArray,
    heading: NDArray,
    length: NDArray,
    width: NDArray,
    acting: NDArray,
    present: NDArray,
    ego_s: float,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Who is in the ego's lane or comes into it, and the gap [m] from the ego's front to its rear."""
    found, gaps, count = np.empty(len(s), np.int64), np.empty(len(s)), 0
    for i in range(len(s)):
        cos, sin = math.cos(heading[i]), math.sin(heading[i])
        inner = abs(d[i]) - 0.5 * abs(width[i] * cos) - 0.5 * abs(length[i] * sin)
        if present[i] and (inner < LANE_EDGE_M or (acting[i] and abs(d[i]) < 6.0)):
            rear = s[i] - 0.5 * abs(length[i] * cos) - 0.5 * abs(width[i] * sin)
            found[count], gaps[count] = i, rear - ego_s - FRONT_M
            count += 1
    return found[:count], gaps[:count]


@compiled("boolean(int64, float64[:], float64[:], float64[:], float64[:], float64[:], boolean[:])")
def _within(who: int, x: NDArray, y: NDArray, yaw: NDArray, length: NDArray, width: NDArray, present: NDArray) -> bool:
    """Whether somebody's middle is in another one's body."""
    for i in range(len(x)):
        cos, sin, dx, dy = math.cos(yaw[i]), math.sin(yaw[i]), x[who] - x[i], y[who] - y[i]
        along, across = abs(dx * cos + dy * sin), abs(dy * cos - dx * sin)
        if i != who and present[i] and along < 0.5 * length[i] and across < 0.5 * width[i]:
            return True
    return False


@compiled(
    "boolean(int64, UniTuple(float64, 2), float64[:], float64[:], float64[:], float64[:], float64[:], float64[:],"
    " boolean[:])"
)
def _exposed(
    who: int,
    eye: tuple[float, float],
    x: NDArray,
    y: NDArray,
    yaw: NDArray,
    length: NDArray,
    width: NDArray,
    height: NDArray,
    present: NDArray,
) -> bool:
    """Whether the middle or a corner of somebody is in the eye's sight, past everybody of a person's chest's height."""
    cos, sin = 0.5 * math.cos(yaw[who]), 0.5 * math.sin(yaw[who])
    for side, end in ((0.0, 0.0), (1.0, 1.0), (1.0, -1.0), (-1.0, 1.0), (-1.0, -1.0)):
        along, across = end * length[who], side * width[who]
        dx, dy = x[who] + along * cos - across * sin - eye[0], y[who] + along * sin + across * cos - eye[1]
        seen = True
        for i in range(len(x)):
            if i == who or not present[i] or height[i] < CHEST_M:
                continue
            c, s = math.cos(yaw[i]), math.sin(yaw[i])
            # The line of sight in the other one's frame, cut to what lies within its length and its width.
            u, v = (eye[0] - x[i]) * c + (eye[1] - y[i]) * s, (eye[1] - y[i]) * c - (eye[0] - x[i]) * s
            du, dv = dx * c + dy * s, dy * c - dx * s
            u1, u2 = (-0.5 * length[i] - u) / du, (0.5 * length[i] - u) / du
            v1, v2 = (-0.5 * width[i] - v) / dv, (0.5 * width[i] - v) / dv
            seen &= max(min(u1, u2), min(v1, v2), 0.0) >= min(max(u1, u2), max(v1, v2), 1.0)
        if seen:
            return True
    return False


@compiled(
    "int64[::1](float64[:, :], float64[:], float64[:], float64[:], float64[:], float64[:], float64[:], boolean[:])"
)
def _contacts(
    outline: NDArray,
    centre: NDArray,
    x: NDArray,
    y: NDArray,
    yaw: NDArray,
    length: NDArray,
    width: NDArray,
    present: NDArray,
) -> NDArray[np.int64]:
    """Whose rectangle touches the ego's `outline` (4, 2) around its `centre`; they are not `present` any more."""
    hit = np.zeros(len(x), np.bool_)
    for i in range(len(x)):
        reach = 3.0 + 0.5 * math.hypot(length[i], width[i])
        if present[i] and math.hypot(x[i] - centre[0], y[i] - centre[1]) < reach:
            hit[i] = overlap(outline, corners(x[i], y[i], yaw[i], length[i], width[i]))
            present[i] = not hit[i]
    return np.flatnonzero(hit)


def _road(rng: np.random.Generator) -> tuple[PlannedRoute, NDArray[np.float64], float | None]:
    """A route of about 190 m, the arc lengths at which it is straight, and where a street crosses it, if one does."""
    heading, points, straight = 0.0, [np.zeros(2)], []
    for number in range(5):
        if number % 2 == 0:
            length, curvature = float(rng.uniform(45.0, 70.0)), 0.0
        else:
            radius = float(rng.uniform(9.0, 60.0))
            curvature = float(rng.choice((-1.0, 1.0))) / radius
            length = radius * float(rng.uniform(0.2, 0.5 * np.pi))
        for _ in range(int(length)):
            heading += curvature
            straight += [len(points)] if curvature == 0.0 else []
            points.append(points[-1] + np.array([np.cos(heading), np.sin(heading)]))
    along = np.array(straight, np.float64)
    neighbours = (np.abs(along[:, None] - along[None, :]) < 20.0).sum(axis=1)
    middle = along[(along > 40.0) & (neighbours >= 39)]
    crossing = float(rng.choice(middle)) if len(middle) and rng.random() < 0.6 else None
    count = len(points)
    plan = PlannedRoute(
        points=np.array(points),
        options=np.full(count, int(RoadOption.FOLLOW)),
        speed_limits=np.full(count, SPEED_LIMIT),
        lane_widths=np.full(count, LANE_M),
        in_junction=np.zeros(count, bool),
        stops=() if crossing is None else ((crossing - STOP_LINE_M, 0),),
        edges=(),
        last_lane="",
    )
    return plan, along, crossing
