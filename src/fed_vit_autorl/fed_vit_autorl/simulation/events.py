"""Collisions, lane invasions and leaving the road, with what is needed to say whose fault a collision was."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from fed_vit_autorl.compiled import compiled

from .actors import EGO_KIND, KINDS
from .ground import RESOLUTION_M, Surface
from .scene import Scene
from .traffic import RoadUserState
from .vehicle import VehicleParameters, VehicleState

STATIC = "static"
CONTACT_MEMORY_S = 1.0
"""A contact that is lost for less than this is the same collision."""


class LaneMarking(StrEnum):
    """What a lane invasion crossed."""

    CENTRE = "centre"
    EDGE = "edge"


@dataclass(frozen=True)
class Collision:
    """A contact of the ego at `stamp` [s] with `other` (its name; "static" for what is built).

    `kind` is the other's kind, `impulse` (x, y, z) [N s] on the ego in `map`, `ego_speed`, `other_speed` [m/s] before
    it, `closing_speed` [m/s] along the line of contact, `bearing` [rad] of the contact seen from the ego's middle,
    `at_fault` by `ego_is_at_fault`.
    """

    stamp: float
    other: str
    kind: str
    impulse: tuple[float, float, float]
    ego_speed: float
    other_speed: float
    closing_speed: float
    bearing: float
    at_fault: bool


@dataclass(frozen=True)
class LaneInvasion:
    """The ego's outline crossed a `marking` of its lane at `stamp` [s]."""

    stamp: float
    marking: LaneMarking


@dataclass(frozen=True)
class RedLightRun:
    """The ego's front bumper crossed the stop line of `signal` while it was red, at `stamp` [s]."""

    stamp: float
    signal: int


Event = Collision | LaneInvasion | RedLightRun


def ego_is_at_fault(ego_speed: float, bearing: float, other_toward_ego: float, ego_toward_other: float) -> bool:
    """Whether a contact counts against the ego.

    It does not when the ego stood (below 0.1 m/s), when it was struck in its rear half (|bearing| > 100°), or when it
    hardly moved towards the other while the other drove into it (less than a fifth of the closing speed).
    """
    if ego_speed < 0.1 or abs(bearing) > np.radians(100.0):
        return False
    return ego_toward_other >= 0.2 * max(ego_toward_other + other_toward_ego, 1e-6)


@compiled("float64[:, ::1](float64, float64, float64, float64, float64)")
def corners(x: float, y: float, yaw: float, length: float, width: float) -> NDArray[np.float64]:
    """Corners (4, 2) of a rectangle around its centre: front left, rear left, rear right, front right."""
    c, s, a, b = math.cos(yaw), math.sin(yaw), 0.5 * length, 0.5 * width
    along, across = (a, -a, -a, a), (b, b, -b, -b)
    found = np.empty((4, 2))
    for i in range(4):
        found[i, 0], found[i, 1] = along[i] * c - across[i] * s + x, along[i] * s + across[i] * c + y
    return found


@compiled("boolean(float64[:, :], float64[:, :])")
def overlap(a: NDArray[np.float64], b: NDArray[np.float64]) -> bool:
    """Whether two convex polygons (N, 2) touch: no separating axis among their edges' normals."""
    for polygon in (a, b):
        for i in range(len(polygon)):
            normal_x, normal_y = polygon[i - 1, 1] - polygon[i, 1], polygon[i, 0] - polygon[i - 1, 0]
            low_a = low_b = np.inf
            high_a = high_b = -np.inf
            for k in range(len(a)):
                at = a[k, 0] * normal_x + a[k, 1] * normal_y
                low_a, high_a = min(low_a, at), max(high_a, at)
            for k in range(len(b)):
                at = b[k, 0] * normal_x + b[k, 1] * normal_y
                low_b, high_b = min(low_b, at), max(high_b, at)
            if high_a < low_b or high_b < low_a:
                return False
    return True


def ego_centre(state: VehicleState) -> tuple[float, float]:
    """The middle of the ego's outline: `base_link` is the rear axle."""
    ahead = 0.5 * EGO_KIND.length - VehicleParameters.rear_overhang
    return state.x + ahead * np.cos(state.yaw), state.y + ahead * np.sin(state.yaw)


def ego_corners(state: VehicleState) -> NDArray[np.float64]:
    """The ego's outline (4, 2)."""
    return corners(*ego_centre(state), state.yaw, EGO_KIND.length, EGO_KIND.width)


@dataclass
class Watch:
    """Notices one ego's events; remembers contacts so that one collision is one event."""

    scene: Scene
    contacts: dict[str, float] = field(default_factory=dict)
    outside: dict[LaneMarking, bool] = field(default_factory=dict)
    light: tuple[int, float] | None = None

    def collisions(
        self, stamp: float, ego: VehicleState, others: dict[str, tuple[str, RoadUserState]]
    ) -> list[Collision]:
        """New contacts with `others`: name → (kind, state)."""
        outline, centre = ego_corners(ego), np.array(ego_centre(ego))
        found = []
        for name, (kind, other) in others.items():
            shape = KINDS[kind]
            if np.hypot(other.x - centre[0], other.y - centre[1]) > 0.5 * (shape.length + EGO_KIND.length) + 1.0:
                continue
            box = corners(other.x, other.y, other.yaw, shape.length, shape.width)
            if overlap(outline, box) and self._is_new(name, stamp):
                found.append(_collision(stamp, ego, centre, name, kind, other))
        if self._hits_static(outline) and self._is_new(STATIC, stamp):
            found.append(_static_collision(stamp, ego, outline, centre, self.scene))
        return found

    def invasions(self, stamp: float, lateral: float, lane_width: float, in_junction: bool) -> list[LaneInvasion]:
        """New crossings of the lane's markings by an ego `lateral` metres left of its lane's centre."""
        half = 0.5 * (lane_width - EGO_KIND.width)
        found = []
        for marking, beyond in ((LaneMarking.CENTRE, lateral > half), (LaneMarking.EDGE, lateral < -half)):
            beyond = beyond and not in_junction
            if beyond and not self.outside.get(marking, False):
                found.append(LaneInvasion(stamp, marking))
            self.outside[marking] = beyond
        return found

    def red_light(self, stamp: float, light: tuple[int, float] | None, state: str) -> list[RedLightRun]:
        """Whether the front bumper crossed a line at red; `light`: the next signal's id and its line's distance [m]."""
        before, self.light = self.light, light
        crossed = before and light and before[0] == light[0] and before[1] > 0.0 >= light[1]
        return [RedLightRun(stamp, light[0])] if crossed and state == "red" else []

    def off_road(self, ego: VehicleState) -> bool:
        """Whether a corner of the ego is off the road."""
        return bool((self.scene.ground.at(ego_corners(ego)) != Surface.ROAD).any())

    def _is_new(self, name: str, stamp: float) -> bool:
        before = self.contacts.get(name)
        self.contacts[name] = stamp
        return before is None or stamp - before > CONTACT_MEMORY_S

    def _hits_static(self, outline: NDArray) -> bool:
        return bool(_blocked(self.scene, outline).any())


def _blocked(scene: Scene, outline: NDArray) -> NDArray[np.bool_]:
    along = np.linspace(0, 1, 12)[:, None, None]
    points = (outline * (1 - along) + np.roll(outline, -1, axis=0) * along).reshape(-1, 2)
    index = np.floor((points - scene.ground.origin) / RESOLUTION_M).astype(int)
    rows, columns = scene.layout.blocked.shape
    inside = (index >= 0).all(axis=1) & (index[:, 0] < columns) & (index[:, 1] < rows)
    return scene.layout.blocked[index[inside, 1], index[inside, 0]]


def _collision(
    stamp: float, ego: VehicleState, centre: NDArray, name: str, kind: str, other: RoadUserState
) -> Collision:
    towards = np.array([other.x, other.y]) - centre
    towards /= max(np.linalg.norm(towards), 1e-6)
    ego_velocity = ego.speed * np.array([np.cos(ego.yaw), np.sin(ego.yaw)])
    other_velocity = other.speed * np.array([np.cos(other.yaw), np.sin(other.yaw)])
    ego_towards, other_towards = float(ego_velocity @ towards), float(-other_velocity @ towards)
    closing = max(ego_towards + other_towards, 0.0)
    bearing = _bearing(towards, ego.yaw)
    # A plastic collision of two masses: impulse = m1 m2 / (m1 + m2) × closing speed.
    mass = KINDS[kind].mass * EGO_KIND.mass / (KINDS[kind].mass + EGO_KIND.mass)
    fault = ego_is_at_fault(ego.speed, bearing, other_towards, ego_towards)
    impulse = (float(-mass * closing * towards[0]), float(-mass * closing * towards[1]), 0.0)
    return Collision(stamp, name, kind, impulse, ego.speed, other.speed, closing, bearing, fault)


def _static_collision(stamp: float, ego: VehicleState, outline: NDArray, centre: NDArray, scene: Scene) -> Collision:
    struck = [corner for corner in outline if _blocked(scene, np.repeat(corner[None], 4, axis=0)).any()]
    towards = (np.mean(struck, axis=0) if struck else outline[0] + outline[3] - centre) - centre
    towards = towards / max(np.linalg.norm(towards), 1e-6)
    impulse = -EGO_KIND.mass * ego.speed * np.array([np.cos(ego.yaw), np.sin(ego.yaw)])
    bearing = _bearing(towards, ego.yaw)
    return Collision(
        stamp, STATIC, STATIC, (float(impulse[0]), float(impulse[1]), 0.0), ego.speed, 0.0, ego.speed, bearing, True
    )


def _bearing(towards: NDArray, yaw: float) -> float:
    return float((np.arctan2(towards[1], towards[0]) - yaw + np.pi) % (2 * np.pi) - np.pi)
