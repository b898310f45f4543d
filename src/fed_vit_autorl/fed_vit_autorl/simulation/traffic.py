"""SUMO in this process: vehicles, cyclists, pedestrians and lights around the egos.

libsumo holds one simulation per process; a second `Traffic` in the same process is refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import libsumo
import numpy as np
from numpy.typing import NDArray

from fed_vit_autorl.refusal import Refused

from ..reinforcement.route import wrap
from .actors import EGO_KIND, KINDS, VEHICLE_KINDS
from .ground import Ground
from .routes import PlannedRoute
from .signals import signal_state
from .town import Town
from .vehicle import VehicleParameters

WARM_UP_STEPS = 100
RESPAWN_EVERY = 20
WALK_EDGES = 40
STRIDE_M = 0.7
PATIENCE_S = 5.0
REACTION_S, DECEL, GAP_M, HALF_WIDTH_M = 0.5, 4.5, 1.5, 0.9
FAR_M = 50.0  # beyond the way in which anybody here brakes
FOLLOWS_RAD = 1.0
"""A driver whose heading is nearer to an ego's comes from behind; the others give way, or have it, by SUMO's rules."""
WALKING_SPEED = 1.39
"""m/s, SUMO's default of a pedestrian."""


class TrafficReason(StrEnum):
    """Why traffic cannot run."""

    BUSY = "libsumo_busy"


class TrafficRefused(Refused):
    """A second simulation in one process; `reason` says so."""

    def __init__(self) -> None:
        super().__init__(TrafficReason.BUSY, "libsumo runs one world per process; close the other world first")


@dataclass(frozen=True)
class RoadUserState:
    """Where a road user is: centre `x`, `y` in `map` [m], `z` of the ground [m], `yaw` [rad], `speed` [m/s]."""

    x: float
    y: float
    z: float
    yaw: float
    speed: float


def kinds_of_traffic(vehicles: int, pedestrians: int, cyclists: int, rng: np.random.Generator) -> list[str]:
    """The kind of each road user: vehicles, a few of them bicycles, then pedestrians, then `cyclists` more."""
    share = np.array([KINDS[name].share for name in VEHICLE_KINDS])
    chosen = [str(name) for name in rng.choice(VEHICLE_KINDS, vehicles, p=share / share.sum())]
    return chosen + ["pedestrian"] * pedestrians + ["cyclist"] * cyclists


class Traffic:
    """Road users number 0 … n-1 of given `kinds`. One that leaves the town comes back elsewhere under the same number.

    Raises `TrafficRefused` where another one runs in this process.
    """

    _running = False

    def __init__(self, town: Town, ground: Ground, kinds: list[str], dt: float):
        if Traffic._running:
            raise TrafficRefused
        Traffic._running = True
        self._town = town
        self._ground = ground
        self.kinds = kinds
        self._dt = dt
        self._loaded = False
        self._names: list[str] = []
        self._streets = self._onward(town)

    def close(self) -> None:
        """Ends the simulation; another may start in this process."""
        if self._loaded:
            libsumo.close()
            self._loaded = False
        Traffic._running = False

    def reset(self, seed: int, egos: Mapping[str, PlannedRoute]) -> None:
        """Starts anew with every ego standing at the start of its route."""
        if self._loaded:
            libsumo.close()
        options = ["--seed", str(seed), "--step-length", str(self._dt), "--default.action-step-length", "0.2"]
        options += ["--collision.action", "none", "--time-to-teleport", "-1", "--pedestrian.model", "striping"]
        options += ["--no-warnings", "--no-step-log", "--ignore-route-errors", "--default.speeddev", "0.1"]
        libsumo.start(["sumo", "--net-file", str(self._town.net_file), *options])
        self._loaded = True
        self._rng = np.random.default_rng([seed, 1])
        self._steps = 0
        self._waiting: dict[str, float] = {}
        self._held: set[str] = set()
        self._types()
        for name, route in egos.items():
            self._add_ego(name, route)
        self._names, self._generation = [], [0] * len(self.kinds)
        standing = {name: (*route.points[0], route.start_yaw) for name, route in egos.items()}
        self.step(standing)
        self._names = [""] * len(self.kinds)
        for number in range(len(self.kinds)):
            self._spawn(number)
        for _ in range(WARM_UP_STEPS):
            self.step(standing)

    def step(self, egos: Mapping[str, tuple[float, float, float]]) -> None:
        """Advances by dt with each ego's `base_link` at (x, y [m], yaw [rad])."""
        for name, (x, y, yaw) in egos.items():
            # SUMO's vehicle position is its front bumper, its angle counts clockwise from north.
            ahead = EGO_KIND.length - VehicleParameters.rear_overhang
            front = (x + ahead * np.cos(yaw), y + ahead * np.sin(yaw))
            libsumo.vehicle.moveToXY(name, "", -1, *front, float(90.0 - np.degrees(yaw)), 2)
        self._let_people_wait(list(egos.values()))
        self._let_drivers_wait(egos)
        libsumo.simulationStep()
        self._steps += 1
        if self._steps % RESPAWN_EVERY == 0:
            present = set(libsumo.vehicle.getIDList()) | set(libsumo.person.getIDList())
            present |= set(libsumo.simulation.getPendingVehicles())
            for number, name in enumerate(self._names):
                if name not in present:
                    self._spawn(number)

    def reroute(self, name: str, route: PlannedRoute) -> None:
        """Tells SUMO the ego's new route, which begins on the street where it is."""
        libsumo.vehicle.setRoute(name, self._ego_edges(route))

    def states(self) -> list[RoadUserState | None]:
        """Every road user by number; None while it is not in the town."""
        driving, walking = set(libsumo.vehicle.getIDList()), set(libsumo.person.getIDList())
        found: list[RoadUserState | None] = []
        for name, kind in zip(self._names, self.kinds, strict=True):
            if name in driving:
                found.append(_vehicle_state(name, KINDS[kind].length))
            elif name in walking:
                x, y = libsumo.person.getPosition(name)
                yaw = _yaw(libsumo.person.getAngle(name))
                found.append(RoadUserState(x, y, 0.0, yaw, libsumo.person.getSpeed(name)))
            else:
                found.append(None)
        at = [i for i, state in enumerate(found) if state and self.kinds[i] == "pedestrian"]
        if at:
            heights = self._ground.height(np.array([(found[i].x, found[i].y) for i in at]))
            for i, z in zip(at, heights, strict=True):
                state = found[i]
                found[i] = RoadUserState(state.x, state.y, float(z), state.yaw, state.speed)
        return found

    def signals(self) -> list[str]:
        """State of each of the town's signals by id: "red", "yellow" or "green"."""
        programmes = {signal.programme for signal in self._town.signals}
        letters = {p: libsumo.trafficlight.getRedYellowGreenState(p) for p in sorted(programmes)}
        return [signal_state(letters[signal.programme], signal.links) for signal in self._town.signals]

    def name_of(self, number: int) -> str:
        """SUMO's id of a road user."""
        return self._names[number]

    def number_of(self, name: str) -> int:
        """The number of the road user that has, or had, this id of SUMO's."""
        return int(name.split("_")[1])

    def _let_people_wait(self, egos: list[tuple[float, float, float]]) -> None:
        """Nobody walks into an ego: SUMO's people see its vehicles only before they cross a street.

        Whoever has waited for long turns away and is seen no more, so that an ego that waits for them can go, too.
        """
        people = libsumo.person.getIDList()
        if not people:
            return
        at = np.array([libsumo.person.getPosition(name) for name in people])
        angle = np.radians([90.0 - libsumo.person.getAngle(name) for name in people])
        goal = at + STRIDE_M * np.stack((np.cos(angle), np.sin(angle)), axis=-1)
        waits = np.zeros(len(people), bool)
        for pose in egos:
            waits |= _beside(goal, pose) & ~_beside(at, pose, 0.0)
        waiting = {
            name: self._waiting.get(name, 0.0) + self._dt for name, wait in zip(people, waits, strict=True) if wait
        }
        for name in waiting.keys() - self._waiting.keys():
            libsumo.person.setSpeed(name, 0.0)
        for name in (self._waiting.keys() - waiting.keys()).intersection(people):
            libsumo.person.setSpeed(name, WALKING_SPEED)
        for name in [name for name, seconds in waiting.items() if seconds > PATIENCE_S]:
            libsumo.person.removeStages(name)
            del waiting[name]
        self._waiting = waiting

    def _let_drivers_wait(self, egos: Mapping[str, tuple[float, float, float]]) -> None:
        """Nobody drives into an ego from behind: on a junction SUMO does not see its vehicles from every lane."""
        driving = libsumo.vehicle.getIDList()
        held = {name for name in driving if name not in egos and any(_follows(name, pose) for pose in egos.values())}
        for name in held - self._held:
            libsumo.vehicle.setSpeed(name, 0.0)
        for name in (self._held - held).intersection(driving):
            libsumo.vehicle.setSpeed(name, -1.0)  # as SUMO's driver likes
        self._held = held

    def _types(self) -> None:
        for name in (*VEHICLE_KINDS, "ego"):
            kind = EGO_KIND if name == "ego" else KINDS[name]
            libsumo.vehicletype.copy("DEFAULT_VEHTYPE", name)
            libsumo.vehicletype.setVehicleClass(name, kind.sumo_class)
            libsumo.vehicletype.setLength(name, kind.length)
            libsumo.vehicletype.setWidth(name, kind.width)
            libsumo.vehicletype.setHeight(name, kind.height)
            libsumo.vehicletype.setMaxSpeed(name, kind.max_speed)
            libsumo.vehicletype.setMinGap(name, 2.0)
            libsumo.vehicletype.setAccel(name, 2.0 if kind.mass < 3000 else 1.2)
            libsumo.vehicletype.setDecel(name, DECEL)

    def _add_ego(self, name: str, route: PlannedRoute) -> None:
        libsumo.route.add(f"route_{name}", self._ego_edges(route))
        libsumo.vehicle.add(name, f"route_{name}", "ego", departPos="base", departSpeed="0")
        libsumo.vehicle.setSpeedMode(name, 0)
        libsumo.vehicle.setLaneChangeMode(name, 0)

    def _ego_edges(self, route: PlannedRoute) -> list[str]:
        """Its streets and some more, because SUMO removes what reaches its route's end."""
        return [*route.edges, *self._random_walk(route.edges[-1], 3)[1:]]

    def _spawn(self, number: int) -> None:
        self._generation[number] += 1
        kind = self.kinds[number]
        name = f"{kind}_{number}_{self._generation[number]}"
        self._names[number] = name
        if kind == "pedestrian":
            self._walk(name)
            return
        edges = self._random_walk(str(self._rng.choice(self._town.edges)), WALK_EDGES)
        libsumo.route.add(f"route_{name}", edges)
        libsumo.vehicle.add(
            name, f"route_{name}", kind, departLane="random", departPos="random_free", departSpeed="desired"
        )

    def _walk(self, name: str) -> None:
        start, goal = (str(edge) for edge in self._rng.choice(self._town.walkways, 2, replace=False))
        at = float(self._rng.uniform(2.0, 0.9 * self._length(start)))
        libsumo.person.add(name, start, at, typeID="DEFAULT_PEDTYPE")
        for _ in range(4):
            stages = libsumo.simulation.findIntermodalRoute(start, goal, departPos=at)
            if not stages:
                break
            libsumo.person.appendWalkingStage(name, stages[0].edges, 0.5 * self._length(goal))
            start, at = goal, 0.5 * self._length(goal)
            goal = str(self._rng.choice([edge for edge in self._town.walkways if edge != start]))
        if libsumo.person.getRemainingStages(name) < 2:
            libsumo.person.appendWaitingStage(name, 60.0)

    def _length(self, edge: str) -> float:
        return libsumo.lane.getLength(f"{edge}_0")

    def _random_walk(self, edge: str, count: int) -> list[str]:
        edges = [edge]
        while len(edges) < count and self._streets[edges[-1]]:
            edges.append(str(self._rng.choice(self._streets[edges[-1]])))
        return edges

    @staticmethod
    def _onward(town: Town) -> dict[str, list[str]]:
        onward: dict[str, set[str]] = {edge: set() for edge in town.edges}
        for lane, connections in town.connections.items():
            onward[town.lanes[lane].edge].update(town.lanes[c.target].edge for c in connections)
        return {edge: sorted(targets) for edge, targets in onward.items()}


def _beside(points: NDArray[np.float64], pose: tuple[float, float, float], margin: float = 0.4) -> NDArray[np.bool_]:
    """Which points (N, 2) lie within `margin` [m] of the outline of an ego whose `base_link` is at `pose`."""
    x, y, yaw = pose
    offset = points - (x, y)
    along = offset @ (math.cos(yaw), math.sin(yaw))
    across = offset @ (-math.sin(yaw), math.cos(yaw))
    rear, front = VehicleParameters.rear_overhang, EGO_KIND.length - VehicleParameters.rear_overhang
    return (along > -rear - margin) & (along < front + margin) & (np.abs(across) < 0.5 * EGO_KIND.width + margin)


def _follows(name: str, pose: tuple[float, float, float]) -> bool:
    """Whether a vehicle has to brake now, or to stand, for an ego that it comes up to from behind."""
    front = np.array(libsumo.vehicle.getPosition(name))
    if math.dist(front, pose[:2]) > FAR_M:
        return False
    yaw, speed = _yaw(libsumo.vehicle.getAngle(name)), libsumo.vehicle.getSpeed(name)
    ahead = np.arange(0.0, REACTION_S * speed + speed**2 / (2.0 * DECEL) + GAP_M, STRIDE_M)
    meets = _beside(front + ahead[:, None] * (math.cos(yaw), math.sin(yaw)), pose, HALF_WIDTH_M)
    return abs(wrap(yaw - pose[2])) < FOLLOWS_RAD and bool(meets.any()) and not _beside(front[None], pose, 0.0)[0]


def _yaw(angle_deg: float) -> float:
    """Yaw [rad] of SUMO's angle, which counts clockwise from north."""
    return wrap(math.radians(90.0 - angle_deg))


def _vehicle_state(name: str, length: float) -> RoadUserState:
    x, y = libsumo.vehicle.getPosition(name)
    yaw = _yaw(libsumo.vehicle.getAngle(name))
    back = 0.5 * length
    return RoadUserState(x - back * math.cos(yaw), y - back * math.sin(yaw), 0.0, yaw, libsumo.vehicle.getSpeed(name))


def centres(states: list[RoadUserState | None]) -> NDArray[np.float64]:
    """(n, 4) x, y, z, yaw of road users; NaN where there is none."""
    return np.array([(s.x, s.y, s.z, s.yaw) if s else (np.nan,) * 4 for s in states]).reshape(-1, 4)
