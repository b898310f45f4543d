"""The ground that the ego is going to cover, and what stands in it or beside it. All in `map`."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fed_vit_autorl.compiled import compiled
from fed_vit_autorl.reinforcement.polyline import KNOTS, heading_at, point_at
from fed_vit_autorl.reinforcement.route import Pose, Route

from .assumptions import Assumptions
from .limits import steering_rate

SPACING_M = 1.0
SHORTEST_M = 0.1
MAX_OFFSET_M = 4.0
MAX_HEADING_RAD = 1.0
ABREAST_CLEARANCE_M = 0.05
X, Y, HEADING, WAY = range(4)


@dataclass(frozen=True, slots=True, eq=False)
class Corridor:
    """Poses of `base_link` to come, (K, 4): x, y [m], heading [rad], and the way driven until each [m]."""

    poses: NDArray[np.float64]

    @property
    def x(self) -> NDArray[np.float64]:
        """(K,) [m]."""
        return self.poses[:, X]

    @property
    def y(self) -> NDArray[np.float64]:
        """(K,) [m]."""
        return self.poses[:, Y]

    @property
    def heading(self) -> NDArray[np.float64]:
        """(K,) [rad]."""
        return self.poses[:, HEADING]

    @property
    def way(self) -> NDArray[np.float64]:
        """(K,) [m]."""
        return self.poses[:, WAY]

    @property
    def end(self) -> Pose:
        """The last pose."""
        return Pose(*self.poses[-1, :WAY].tolist())


@dataclass(frozen=True, slots=True, eq=False)
class Contacts:
    """What the corridor means for each of N points, a table (5, N) of what its properties name."""

    table: NDArray[np.float64]

    @property
    def way(self) -> NDArray[np.float64]:
        """(N,) way [m] until the ego's body, widened by the clearance, reaches the point; inf if it never does."""
        return self.table[0]

    @property
    def gap(self) -> NDArray[np.float64]:
        """(N,) least lateral distance [m] from the body as it passes; inf where it does not pass."""
        return self.table[1]

    @property
    def way_abreast(self) -> NDArray[np.float64]:
        """(N,) way [m] until the ego's front is abreast of the point where `gap` is least."""
        return self.table[2]

    @property
    def heading(self) -> NDArray[np.float64]:
        """(N,) direction [rad] of the corridor there."""
        return self.table[3]

    @property
    def side(self) -> NDArray[np.float64]:
        """(N,) +1 where the point lies to the left of the corridor there, else -1."""
        return self.table[4]


@compiled("float64[:, ::1](float64)")
def _ways(length):
    """Poses (K, 4) that are nothing but their ways [m], from 0 to `length`, evenly and at most `SPACING_M` apart."""
    count = max(math.ceil(length / SPACING_M), 1)
    poses = np.zeros((count + 1, 4))
    for i in range(count):
        poses[i, WAY] = i * (length / count)
    poses[count, WAY] = length
    return poses


@compiled("float64[:, ::1](float64, float64, float64, float64, float64)")
def _arc(x, y, yaw, curvature, length):
    poses = _ways(length)
    for pose in poses:
        turn = 0.5 * curvature * pose[WAY]
        chord = pose[WAY] * (math.sin(turn) / turn if turn else 1.0)
        pose[X], pose[Y] = x + chord * math.cos(yaw + turn), y + chord * math.sin(yaw + turn)
        pose[HEADING] = yaw + 2.0 * turn
    return poses


@compiled("float64[:, ::1](float64, float64, float64, float64, float64, float64)")
def _clothoid(x, y, yaw, first, last, length):
    """Poses while the curvature grows linearly from `first` to `last`; a chord has the heading midway."""
    poses = _ways(length)
    for i in range(len(poses)):
        way = poses[i, WAY]
        poses[i, HEADING] = yaw + first * way + 0.5 * (last - first) * way**2 / length
        poses[i, X], poses[i, Y] = x, y
        if i > 0:
            middle, step = 0.5 * (poses[i - 1, HEADING] + poses[i, HEADING]), way - poses[i - 1, WAY]
            poses[i, X] = poses[i - 1, X] + step * math.cos(middle)
            poses[i, Y] = poses[i - 1, Y] + step * math.sin(middle)
    return poses


@compiled(f"float64[:, ::1]({KNOTS}, float64, float64, float64, float64, float64)")
def _back(knots, s, lateral, heading_error, rest, scale):
    """Poses on the way back to a polyline from beside its arc length `s`, over `rest` metres (see `plan`)."""
    count = math.ceil(rest / SPACING_M)
    poses = np.empty((count, 4))
    slope = math.tan(heading_error) + lateral / scale
    for i in range(count):
        way = SPACING_M * (i + 1)
        decay = math.exp(-way / scale)
        offset = (lateral + slope * way) * decay
        base_x, base_y = point_at(knots, s + way)
        direction = heading_at(knots, s + way, 1.0)
        poses[i, X], poses[i, Y] = base_x - offset * math.sin(direction), base_y + offset * math.cos(direction)
        poses[i, HEADING], poses[i, WAY] = direction + math.atan(slope * decay - offset / scale), way
    return poses


@compiled("float64[:, ::1](float64[:, :], float64[:, :])")
def _joined(first, then):
    poses = np.empty((len(first) + len(then), 4))
    poses[: len(first)] = first
    poses[len(first) :] = then
    poses[len(first) :, WAY] += first[-1, WAY]
    return poses


@compiled("float64[:, ::1](float64[:, ::1], float64[:, :], float64, float64, float64, float64)")
def _contacts(poses, points, front, rear, half_width, clearance):
    """(5, N): the table of `Contacts`."""
    count, (start_x, start_y) = len(poses), poses[0, :HEADING]
    frames = np.empty((count, 4))
    for k in range(count):
        cos, sin = math.cos(poses[k, HEADING]), math.sin(poses[k, HEADING])
        x, y = poses[k, X] - start_x, poses[k, Y] - start_y
        frames[k, 0], frames[k, 1], frames[k, 2], frames[k, 3] = cos, sin, x * cos + y * sin, x * sin - y * cos
    found = np.empty((5, len(points)))
    middle, half_length = 0.5 * (front - rear), 0.5 * (front + rear)
    for i in range(len(points)):
        x, y = points[i, 0] - start_x, points[i, 1] - start_y
        margin, touched, first, nearest, least = 0.0, False, 0, 0, np.inf
        for k in range(count):
            along = x * frames[k, 0] + y * frames[k, 1] - frames[k, 2]
            if k == 0:
                margin = clearance if along > front else ABREAST_CLEARANCE_M
            if abs(along - middle) <= half_length:
                gap = abs(y * frames[k, 0] - x * frames[k, 1] + frames[k, 3]) - half_width
                if gap < least:
                    nearest, least = k, gap
                if gap < margin and not touched:
                    touched, first = True, k
        # The pose before did not touch yet: the front has to come exactly as far as the point is ahead of it.
        ahead = x * frames[first, 0] + y * frames[first, 1] - frames[first, 2] - front
        found[0, i] = max(poses[first, WAY] + ahead, 0.0) if touched else np.inf
        found[1, i] = least
        # A point that the body passes in several poses is abreast of the front in the first of them.
        ahead = x * frames[nearest, 0] + y * frames[nearest, 1] - frames[nearest, 2] - front
        found[2, i] = max(poses[nearest, WAY] + ahead, 0.0)
        found[3, i] = poses[nearest, HEADING]
        found[4, i] = 1.0 if y * frames[nearest, 0] - x * frames[nearest, 1] + frames[nearest, 3] >= 0.0 else -1.0
    return found


def arc(pose: Pose, curvature: float, length: float) -> Corridor:
    """Poses along a circle of `curvature` [1/m] (0: straight on) over `length` [m]."""
    return Corridor(_arc(pose.x, pose.y, pose.yaw, curvature, length))


def slew(pose: Pose, speed: float, steering: float, target: float, a: Assumptions) -> Corridor:
    """Poses while the wheels turn from `steering` to `target` [rad] at the steering rate, driven at `speed` [m/s]."""
    length = max(speed * abs(target - steering) / steering_rate(speed, a), SHORTEST_M)
    curvature = math.tan(steering) / a.wheelbase, math.tan(target) / a.wheelbase
    return Corridor(_clothoid(pose.x, pose.y, pose.yaw, *curvature, length))


def plan(
    pose: Pose, speed: float, steering: float, target: float, reach: float, reference: Route | None, near: float | None,
    a: Assumptions,
) -> Corridor:  # fmt: skip
    """The way until standstill: `steering` for the response time, then back to the reference while braking.

    First the wheels turn to `target`, which follows the reference; from there the way is
    e(s) = (e₀ + (e₀′ + e₀ / λ) s) e^(-s / λ), critically damped, with the offset and the slope at hand.
    Without a reference, or too far from it, the arc is all there is.

    Args:
        pose: of `base_link` in `map`.
        speed: [m/s].
        steering: road-wheel angle that is going to be applied [rad].
        target: road-wheel angle that follows the reference [rad].
        reach: length of the corridor [m].
        reference: route or planned path in `map`.
        near: arc length on the reference at which the ego was last seen [m].
        a: assumptions.
    """
    curvature = math.tan(steering) / a.wheelbase
    start = arc(pose, curvature, min(max(speed * a.response_time, SPACING_M), reach))
    if reference is not None:
        start = join(start, slew(start.end, speed, steering, target, a))
    rest = reach - float(start.poses[-1, WAY])
    seen = reference.project(start.end, near) if reference is not None and rest > SPACING_M else None
    if seen is None or abs(seen.lateral) > MAX_OFFSET_M or abs(seen.heading_error) > MAX_HEADING_RAD:
        return arc(pose, curvature, reach)
    scale = min(max(0.6 * speed, 3.0), 12.0)
    return join(start, Corridor(_back(reference.knots, seen.s, seen.lateral, seen.heading_error, rest, scale)))


def join(first: Corridor, then: Corridor) -> Corridor:
    """Two corridors one after the other."""
    return Corridor(_joined(first.poses, then.poses))


def contacts(corridor: Corridor, points: NDArray[np.float64], a: Assumptions) -> Contacts:
    """Where the swept body meets or passes each point (N, 2) [m].

    The clearance holds for what is ahead. What stands beside the body already only counts if the body itself sweeps it,
    so that a parked car alongside does not hold the ego for ever.
    """
    return Contacts(_contacts(corridor.poses, points, a.front, a.rear, a.half_width, a.lateral_clearance))
