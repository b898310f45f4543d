"""Route geometry: where the vehicle is along its route and what lies ahead, in plain numpy."""

import math
from dataclasses import dataclass
from enum import IntEnum, StrEnum

import numpy as np

from fed_vit_autorl.refusal import Refused

PATH_POINTS, PATH_SPACING_M = 20, 2.0
"""A planned path: so many waypoints, so far apart."""

MAX_POINTS = 20_000
MAX_GAP_M = 300.0
MIN_LENGTH_M = 2.0
MAX_SPEED_LIMIT = 60.0
DEFAULT_SPEED_LIMIT = 30.0 / 3.6


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
        points = points[:, :2]
        limits = np.full(len(points), DEFAULT_SPEED_LIMIT) if speed_limits is None else np.asarray(speed_limits, float)
        if limits.shape != (len(points),) or not ((limits > 0.0) & (limits <= MAX_SPEED_LIMIT)).all():
            detail = f"expected {len(points)} limits in (0, {MAX_SPEED_LIMIT}] m/s"
            raise RouteRefused(RouteReason.SPEED_LIMIT_INVALID, detail)
        if not np.isfinite(points).all():
            raise RouteRefused(RouteReason.ROUTE_NOT_FINITE, "a coordinate is NaN or infinite")
        if len(points) > 1:
            kept = np.concatenate(([True], _norm(np.diff(points, axis=0)) > 1e-3))
            points, limits = points[kept], limits[kept]
            steps = _norm(np.diff(points, axis=0))
            if len(steps) and steps.max() > MAX_GAP_M:
                raise RouteRefused(RouteReason.ROUTE_BROKEN, f"a gap of {steps.max():.1f} m, at most {MAX_GAP_M} m")
        if len(points) < 2 or steps.sum() < MIN_LENGTH_M:
            raise RouteRefused(RouteReason.ROUTE_TOO_SHORT, f"shorter than {MIN_LENGTH_M} m")
        self.points, self._limits = points, limits
        self.s = np.concatenate(([0.0], np.cumsum(steps)))
        self._knots, self._lengths = self.s[1:-1], np.diff(self.s)
        self._direction = np.diff(points, axis=0) / steps[:, None]

    @property
    def length(self) -> float:
        """Arc length in metres."""
        return float(self.s[-1])

    def project(self, pose: Pose, near: float | None = None, window: float = 30.0) -> Projection:
        """The nearest point of the route; with `near`, only among s in [near - window, near + window].

        `near` keeps a route that crosses itself from being read on the wrong branch.
        """
        first, last = 0, len(self._direction)
        if near is not None:
            first = max(int(np.searchsorted(self.s, near - window, side="right")) - 1, 0)
            last = min(int(np.searchsorted(self.s, near + window, side="left")), last)
            first = min(first, last - 1)
        (x, y), (dx, dy) = self.points[first:last].T, self._direction[first:last].T
        x, y = pose.x - x, pose.y - y
        along = np.minimum(np.maximum(x * dx + y * dy, 0.0), self._lengths[first:last])
        distance = _hypot(x - along * dx, y - along * dy)
        best = int(distance.argmin())
        lateral = math.copysign(distance[best], dx[best] * y[best] - dy[best] * x[best])
        s = float(self.s[first + best] + along[best])
        return Projection(s, lateral, wrap(pose.yaw - float(self.heading(s))))

    def project_points(self, points: np.ndarray, start: float, end: float) -> tuple[np.ndarray, np.ndarray]:
        """(N, 2) map points → (s, lateral), each (N,), against the part of the route between `start` and `end`."""
        count = max(int(np.ceil((end - start) / 1.0)), 1) + 1
        samples = np.linspace(start, end, count)
        line = self.at(samples)
        step = np.diff(line, axis=0)
        length = _norm(step)
        dx, dy = step.T / np.maximum(length, 1e-9)
        x, y = points.T[..., None] - line[:-1].T[:, None]
        along = np.minimum(np.maximum(x * dx + y * dy, 0.0), length)
        distance = _hypot(x - along * dx, y - along * dy)
        best = distance.argmin(axis=1)
        row = np.arange(len(points))
        side = dx[best] * y[row, best] - dy[best] * x[row, best]
        return samples[best] + along[row, best], np.copysign(distance[row, best], side)

    def at(self, s: np.ndarray) -> np.ndarray:
        """Points (…, 2) at arc lengths `s` (…); beyond either end the route goes on straight."""
        s = np.asarray(s, dtype=np.float64)
        index = self._knots.searchsorted(s, side="right")
        beyond = s - self.s.take(index)
        return self.points.take(index, axis=0) + beyond[..., None] * self._direction.take(index, axis=0)

    def heading(self, s: np.ndarray, span: float = 1.0) -> np.ndarray:
        """Direction in rad at arc lengths `s`, of the chord `span` metres before to `span` after."""
        after, before = self.at(np.add.outer((span, -span), s))
        chord = after - before
        return np.arctan2(chord[..., 1], chord[..., 0])

    def curvature(self, s: np.ndarray, span: float = 3.0) -> np.ndarray:
        """Signed curvature in 1/m (left positive) at `s`, of the circle through three points `span` metres apart."""
        before, here, after = self.at(np.add.outer((-span, 0.0, span), s))
        a, b = here - before, after - here
        cross = a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
        product = _norm(a) * _norm(b) * _norm(after - before)
        return 2.0 * cross / np.maximum(product, 1e-9)

    def speed_limit(self, s: np.ndarray) -> np.ndarray:
        """The limit in m/s in force at arc lengths `s` (…): that of the last point passed."""
        return self._limits[np.maximum(np.searchsorted(self.s, s, side="right") - 1, 0)]

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


def _norm(vectors: np.ndarray) -> np.ndarray:
    """Lengths (…) of planar vectors (…, 2): a third of what the general norm takes."""
    return _hypot(vectors[..., 0], vectors[..., 1])


def _hypot(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """√(x² + y²) of what is far from overflow."""
    return np.sqrt(x * x + y * y)


def wrap(angle: float) -> float:
    """The angle in [-π, π)."""
    return float((angle + np.pi) % (2.0 * np.pi) - np.pi)


def to_local(points: np.ndarray, pose: Pose) -> np.ndarray:
    """Map points (…, 2) in the pose's frame: x forward, y left."""
    offset = np.asarray(points, dtype=np.float64) - (pose.x, pose.y)
    cos, sin = np.cos(pose.yaw), np.sin(pose.yaw)
    return np.stack((offset[..., 0] * cos + offset[..., 1] * sin, offset[..., 1] * cos - offset[..., 0] * sin), axis=-1)


def to_map(points: np.ndarray, pose: Pose) -> np.ndarray:
    """Points (…, 2) of the pose's frame in map coordinates."""
    points = np.asarray(points, dtype=np.float64)
    cos, sin = np.cos(pose.yaw), np.sin(pose.yaw)
    x, y = points[..., 0], points[..., 1]
    return np.stack((pose.x + x * cos - y * sin, pose.y + x * sin + y * cos), axis=-1)
