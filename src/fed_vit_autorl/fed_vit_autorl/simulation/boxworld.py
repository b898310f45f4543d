"""A light world of boxes for campaigns of thousands of drives: one ego, dense traffic, LiDAR by ray casting in numpy.

Everything but the ego is kinematic and lives in the route's own coordinates: s along it, d to its left. The traffic
follows (IDM), brakes hard, cuts in, comes the other way, crosses at lights and jaywalks. Used like `World`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..data.classes import PEDESTRIAN, VEHICLE
from ..data.sample import EgoState
from ..reinforcement.expert import RoadUser, StopLine
from ..reinforcement.route import Pose, RoadOption
from .boxtraffic import EVERYBODY, LANE_M, Behaviour, Traffic, make_traffic
from .events import Collision, corners, ego_centre, ego_corners, ego_is_at_fault, overlap
from .lidar import LidarSpec
from .observation import LightAhead
from .raybox import BoxLidar
from .routes import PlannedRoute
from .vehicle import FULL_BRAKE, Control, VehicleParameters, VehicleState, step

EGO = "vehicle_0"
DT = 0.05
SPEED_LIMIT = 11.11
SEEN_M = 90.0
STOP_LINE_M = 9.0
GREEN_S, YELLOW_S, CYCLE_S = 10.0, 3.0, 24.0
GRIPS = (1.0, 1.0, 0.7, 0.65)
REACTION_S, BRAKE = 0.5, 7.0
FRONT_M = 3.7
GOAL_M = 5.0
LANE_EDGE_M = 1.4


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
        self._threats: dict[int, bool] = {}
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
        self._place()
        s, t = self._state, self._traffic
        near = t.present & (np.hypot(self._x - s.x, self._y - s.y) < SEEN_M)
        boxes = np.stack((self._x, self._y, self._yaw, t.length, t.width, t.height), axis=-1)[near]
        users = {
            f"{Behaviour(t.behaviour[i]).name.lower()}_{i}": RoadUser(
                self._x[i], self._y[i], self._yaw[i], t.speed[i], t.length[i], t.width[i],
                PEDESTRIAN if t.behaviour[i] in (Behaviour.WALKS, Behaviour.JAYWALKS) else VEHICLE,
            )
            for i in np.flatnonzero(near & (t.height < 5.0))
        }  # fmt: skip
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
            truth=BoxTruth(users, stop, self._lead_gap()),
            completion=min(self._s / (self.route.length - GOAL_M), 1.0),
        )
        return {EGO: view}

    def _light(self) -> LightAhead | None:
        if self._crossing is None:
            return None
        line = self._crossing - STOP_LINE_M
        distance = line - self._s - FRONT_M
        x, y = self.route.at(np.array(line))
        return LightAhead(0, self._light_state(), distance, float(x), float(y)) if -5.0 < distance < 80.0 else None

    def _lead_gap(self) -> float:
        t = self._traffic
        reach = 0.5 * (1.85 + np.where(np.abs(np.sin(t.heading)) > 0.7, t.length, t.width))
        half = 0.5 * np.where(np.abs(np.sin(t.heading)) > 0.7, t.width, t.length)
        ahead = t.present & (np.abs(t.d) < reach) & (t.s > self._s)
        return float(np.min(t.s - half - self._s - FRONT_M, where=ahead, initial=np.inf))

    def _watch_threats(self) -> None:
        """Remembers of everyone who comes into the ego's lane whether the ego could have stopped for it."""
        t, speed = self._traffic, self._state.speed
        reach = 0.5 * np.abs(t.width * np.cos(t.heading)) + 0.5 * np.abs(t.length * np.sin(t.heading))
        threat = t.present & ((np.abs(t.d) - reach < LANE_EDGE_M) | (t.acting & (np.abs(t.d) < 6.0)))
        needed = REACTION_S * speed + speed**2 / (2.0 * min(BRAKE, 8.5 * self._grip))
        rear = t.s - 0.5 * np.abs(t.length * np.cos(t.heading)) - 0.5 * np.abs(t.width * np.sin(t.heading))
        for i in np.flatnonzero(threat):
            self._threats.setdefault(int(i), bool(rear[i] - self._s - FRONT_M > needed))
        for i in [i for i in self._threats if not threat[i]]:
            del self._threats[i]

    def _collisions(self) -> list[Collision]:
        """Contacts with the ego; who is hit leaves the road, so that it counts once."""
        t, found = self._traffic, []
        outline, centre = ego_corners(self._state), np.array(ego_centre(self._state))
        distance = np.hypot(self._x - centre[0], self._y - centre[1])
        for i in np.flatnonzero(t.present & (distance < 3.0 + 0.5 * np.hypot(t.length, t.width))):
            box = corners(self._x[i], self._y[i], self._yaw[i], t.length[i], t.width[i])
            if overlap(outline, box):
                t.present[i] = False
                found.append(self._collision(int(i), centre))
        return found

    def _collision(self, i: int, centre: NDArray[np.float64]) -> Collision:
        t, s = self._traffic, self._state
        towards = np.array([self._x[i], self._y[i]]) - centre
        towards /= max(float(np.hypot(*towards)), 1e-6)
        ego_towards = s.speed * float(np.array([np.cos(s.yaw), np.sin(s.yaw)]) @ towards)
        other_towards = -t.speed[i] * float(np.array([np.cos(self._yaw[i]), np.sin(self._yaw[i])]) @ towards)
        bearing = float((np.arctan2(towards[1], towards[0]) - s.yaw + np.pi) % (2.0 * np.pi) - np.pi)
        fault = ego_is_at_fault(s.speed, bearing, other_towards, ego_towards)
        # Whoever came into the lane of an ego that kept it, too near for it to stop, is at fault.
        fault = fault and (self._threats.get(i, True) or abs(self._d) > 0.5 * LANE_M - 0.5)
        closing = max(ego_towards + other_towards, 0.0)
        kind = Behaviour(t.behaviour[i]).name.lower()
        return Collision(
            self.stamp, f"{kind}_{i}", kind, (0.0, 0.0, 0.0), s.speed, float(t.speed[i]), closing, bearing, fault
        )


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
