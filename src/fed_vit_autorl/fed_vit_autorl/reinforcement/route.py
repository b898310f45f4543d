"""Route geometry: where the vehicle is along its route and what lies ahead."""

import math
from dataclasses import dataclass
from enum import IntEnum, StrEnum

import numpy as np

from fed_vit_autorl.refusal import Refused
from fed_vit_autorl.reinforcement import polyline

PATH_POINTS, PATH_SPACING_M = 20, 2.0
"""A planned path: so many waypoints, so far apart."""

MAX_POINTS = 20_000
MAX_GAP_M = 300.0
MIN_LENGTH_M = 2.0
MAX_SPEED_LIMIT = 60.0
DEFAULT_SPEED_LIMIT = 30.0 / 3.6
BEND_M = 3.0
_DEFAULT_LIMITS = np.full(MAX_POINTS, DEFAULT_SPEED_LIMIT)


class RouteReason(StrEnum):
    """Why a route was refused."""

    ROUTE_MALFORMED = "route_malformed"
    ROUTE_NOT_FINITE = "route_not_finite"
    ROUTE_TOO_SHORT = "route_too_short"
    ROUTE_TOO_LONG = "route_too_long"
    ROUTE_BROKEN = "route_broken"
    SPEED_LIMIT_INVALID = "speed_limit_invalid"


class RouteRefused(Refused):
    """A route that cannot be driven; `reason` says why."""


class RoadOption(IntEnum):
    """What the route does next (CARLA's numbering)."""

    LEFT = 1
    RIGHT = 2
    STRAIGHT = 3
    FOLLOW = 4


@dataclass(frozen=True)
class Projection:
    """A pose seen from the route: `s` m along it, `lateral` m left of it, `heading_error` rad turned left of it."""

    s: float
    lateral: float
    heading_error: float


@dataclass(frozen=True)
class Pose:
    """Planar pose in `map`: metres, radians."""

    x: float
    y: float
    yaw: float


class Route:
    """A polyline in `map` with its arc length and the speed limit [m/s] at each point (30 km/h where none is given).

    Raises `RouteRefused` for points that are not (N, ≥2), not finite, further than 300 m apart, more than 20,000, or
    shorter than 2 m altogether, and for speed limits that are not one per point in (0, 60]. Repeated points go.
    """

    def __init__(self, points: np.ndarray, speed_limits: np.ndarray | None = None):
        try:
            points = np.asarray(points, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise RouteRefused(RouteReason.ROUTE_MALFORMED, "points are not numbers") from error
        if points.ndim != 2 or points.shape[1] < 2:
            raise RouteRefused(RouteReason.ROUTE_MALFORMED, f"expected (N, 2) points, got {points.shape}")
        if len(points) > MAX_POINTS:
            raise RouteRefused(RouteReason.ROUTE_TOO_LONG, f"{len(points)} points, at most {MAX_POINTS}")
        limits = _DEFAULT_LIMITS[: len(points)] if speed_limits is None else np.asarray(speed_limits, np.float64)
        fault, gap = polyline.LIMIT_INVALID, 0.0
        if limits.shape == (len(points),):
            fault, gap, self.knots = polyline.measure(points, limits, MAX_SPEED_LIMIT, MAX_GAP_M, MIN_LENGTH_M)
        if fault == polyline.LIMIT_INVALID:
            detail = f"expected {len(points)} limits in (0, {MAX_SPEED_LIMIT}] m/s"
            raise RouteRefused(RouteReason.SPEED_LIMIT_INVALID, detail)
        if fault == polyline.NOT_FINITE:
            raise RouteRefused(RouteReason.ROUTE_NOT_FINITE, "a coordinate is NaN or infinite")
        if fault == polyline.BROKEN:
            raise RouteRefused(RouteReason.ROUTE_BROKEN, f"a gap of {gap:.1f} m, at most {MAX_GAP_M} m")
        if fault == polyline.TOO_SHORT:
            raise RouteRefused(RouteReason.ROUTE_TOO_SHORT, f"shorter than {MIN_LENGTH_M} m")
        self.points, self.s = self.knots[:, :2], self.knots[:, polyline.S]

    @property
    def length(self) -> float:
        """Arc length in metres."""
        return float(self.s[-1])

    def project(self, pose: Pose, near: float | None = None, window: float = 30.0) -> Projection:
        """The nearest point of the route; with `near`, only among s in [near - window, near + window].

        `near` keeps a route that crosses itself from being read on the wrong branch.
        """
        start, end = (-math.inf, math.inf) if near is None else (near - window, near + window)
        return Projection(*polyline.project(self.knots, pose.x, pose.y, pose.yaw, start, end))

    def project_points(self, points: np.ndarray, start: float, end: float) -> tuple[np.ndarray, np.ndarray]:
        """(N, 2) map points → (s, lateral), each (N,), against the part of the route between `start` and `end`."""
        points = np.asarray(points, dtype=np.float64)
        s, lateral = polyline.project_points(self.knots, points, start, end, chord_count(start, end))
        return s, lateral

    def at(self, s: np.ndarray) -> np.ndarray:
        """Points (…, 2) at arc lengths `s` (…); beyond either end the route goes on straight."""
        s = np.asarray(s, dtype=np.float64)
        return polyline.points_at(self.knots, s.reshape(-1)).reshape(*s.shape, 2)

    def heading(self, s: np.ndarray, span: float = 1.0) -> np.ndarray:
        """Direction in rad at arc lengths `s`, of the chord `span` metres before to `span` after."""
        s = np.asarray(s, dtype=np.float64)
        return polyline.headings_at(self.knots, s.reshape(-1), span).reshape(s.shape)[()]

    def curvature(self, s: np.ndarray) -> np.ndarray:
        """Signed curvature in 1/m (left positive) at `s`, of the circle through three points `BEND_M` metres apart."""
        s = np.asarray(s, dtype=np.float64)
        return polyline.curvatures_at(self.knots, s.reshape(-1), BEND_M).reshape(s.shape)[()]

    def speed_limit(self, s: np.ndarray) -> np.ndarray:
        """The limit in m/s in force at arc lengths `s` (…): that of the last point passed."""
        s = np.asarray(s, dtype=np.float64)
        return polyline.limits_at(self.knots, s.reshape(-1)).reshape(s.shape)[()]

    def local(self, pose: Pose, s: float, count: int, spacing: float) -> np.ndarray:
        """The next `count` points after arc length `s`, `spacing` metres apart, in the pose's own frame: (count, 2)."""
        return to_local(self.at(s + spacing * np.arange(1, count + 1)), pose)

    def option(self, s: float, horizon: float = 20.0) -> RoadOption:
        """What the route does within `horizon` metres: a turn is a change of heading of more than 30°."""
        ahead = s + np.arange(0.0, horizon + 1.0, 2.0)
        turn = np.unwrap(self.heading(ahead)) - float(self.heading(s))
        extreme = turn[np.argmax(np.abs(turn))]
        if abs(extreme) < np.radians(30.0):
            return RoadOption.FOLLOW
        return RoadOption.LEFT if extreme > 0 else RoadOption.RIGHT


def chord_count(start: float, end: float) -> int:
    """How many chords, about 1 m each, stand for the route from arc length `start` to `end` in a projection."""
    return max(math.ceil(end - start), 1)


def wrap(angle: float) -> float:
    """The angle in [-π, π)."""
    return float((angle + math.pi) % (2.0 * math.pi) - math.pi)


def to_local(points: np.ndarray, pose: Pose) -> np.ndarray:
    """Map points (…, 2) in the pose's frame: x forward, y left."""
    points = np.asarray(points, dtype=np.float64)
    return polyline.to_local(points.reshape(-1, points.shape[-1]), pose.x, pose.y, pose.yaw).reshape(
        *points.shape[:-1], 2
    )


def to_map(points: np.ndarray, pose: Pose) -> np.ndarray:
    """Points (…, 2) of the pose's frame in map coordinates."""
    points = np.asarray(points, dtype=np.float64)
    return polyline.to_map(points.reshape(-1, points.shape[-1]), pose.x, pose.y, pose.yaw).reshape(
        *points.shape[:-1], 2
    )
