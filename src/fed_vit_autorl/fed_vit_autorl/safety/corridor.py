"""The ground that the ego is going to cover, and what stands in it or beside it. All in `map`."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fed_vit_autorl.reinforcement.route import Pose, Route

from .assumptions import Assumptions
from .limits import steering_rate

SPACING_M = 1.0
SHORTEST_M = 0.1
MAX_OFFSET_M = 4.0
MAX_HEADING_RAD = 1.0
ABREAST_CLEARANCE_M = 0.05


@dataclass(frozen=True, slots=True, eq=False)
class Corridor:
    """Poses (K,) of `base_link` to come: x, y [m], heading [rad], and the way driven until each [m]."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    heading: NDArray[np.float64]
    way: NDArray[np.float64]

    @property
    def end(self) -> Pose:
        """The last pose."""
        return Pose(float(self.x[-1]), float(self.y[-1]), float(self.heading[-1]))


@dataclass(frozen=True, slots=True, eq=False)
class Contacts:
    """What the corridor means for each of N points.

    Attributes:
        way: (N,) way [m] until the ego's body, widened by the clearance, reaches the point; inf if it never does.
        gap: (N,) least lateral distance [m] from the body as it passes; inf where it does not pass.
        way_abreast: (N,) way [m] until the ego's front is abreast of the point where `gap` is least.
        heading: (N,) direction [rad] of the corridor there.
        side: (N,) +1 where the point lies to the left of the corridor there, else -1.
    """

    way: NDArray[np.float64]
    gap: NDArray[np.float64]
    way_abreast: NDArray[np.float64]
    heading: NDArray[np.float64]
    side: NDArray[np.float64]


def arc(pose: Pose, curvature: float, length: float) -> Corridor:
    """Poses along a circle of `curvature` [1/m] (0: straight on) over `length` [m]."""
    way = _ways(length)
    turn = 0.5 * curvature * way
    chord = way * np.sinc(turn / np.pi)
    x, y = pose.x + chord * np.cos(pose.yaw + turn), pose.y + chord * np.sin(pose.yaw + turn)
    return Corridor(x, y, pose.yaw + 2.0 * turn, way)


def _ways(length: float) -> NDArray[np.float64]:
    """Ways [m] from 0 to `length`, evenly and at most `SPACING_M` apart."""
    count = max(math.ceil(length / SPACING_M), 1)
    ways = np.arange(count + 1) * (length / count)
    ways[-1] = length
    return ways


def slew(pose: Pose, speed: float, steering: float, target: float, a: Assumptions) -> Corridor:
    """Poses while the wheels turn from `steering` to `target` [rad] at the steering rate, driven at `speed` [m/s]."""
    length = max(speed * abs(target - steering) / steering_rate(speed, a), SHORTEST_M)
    way = _ways(length)
    # Curvature grows linearly (a clothoid); the chords' directions are the headings midway.
    curvature = math.tan(steering) / a.wheelbase, math.tan(target) / a.wheelbase
    heading = pose.yaw + curvature[0] * way + 0.5 * (curvature[1] - curvature[0]) * way**2 / length
    middle = 0.5 * (heading[:-1] + heading[1:])
    step = way[1:] - way[:-1]
    points = np.zeros((2, len(way)))
    np.cumsum((step * np.cos(middle), step * np.sin(middle)), axis=1, out=points[:, 1:])
    return Corridor(pose.x + points[0], pose.y + points[1], heading, way)


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
    rest = reach - float(start.way[-1])
    seen = reference.project(start.end, near) if reference is not None and rest > SPACING_M else None
    if seen is None or abs(seen.lateral) > MAX_OFFSET_M or abs(seen.heading_error) > MAX_HEADING_RAD:
        return arc(pose, curvature, reach)
    way = np.arange(SPACING_M, rest + SPACING_M, SPACING_M)
    scale = min(max(0.6 * speed, 3.0), 12.0)
    slope = math.tan(seen.heading_error) + seen.lateral / scale
    decay = np.exp(-way / scale)
    offset = (seen.lateral + slope * way) * decay
    turn = np.arctan(slope * decay - offset / scale)
    base, direction = reference.at(seen.s + way), reference.heading(seen.s + way)
    x, y = base[:, 0] - offset * np.sin(direction), base[:, 1] + offset * np.cos(direction)
    return join(start, Corridor(x, y, direction + turn, way))


def join(first: Corridor, then: Corridor) -> Corridor:
    """Two corridors one after the other."""
    pairs = ((first.x, then.x), (first.y, then.y), (first.heading, then.heading))
    return Corridor(*(np.concatenate(pair) for pair in pairs), np.concatenate((first.way, first.way[-1] + then.way)))


def contacts(corridor: Corridor, points: NDArray[np.float64], a: Assumptions) -> Contacts:
    """Where the swept body meets or passes each point (N, 2) [m].

    The clearance holds for what is ahead. What stands beside the body already only counts if the body itself sweeps it,
    so that a parked car alongside does not hold the ego for ever.
    """
    cos, sin = np.cos(corridor.heading), np.sin(corridor.heading)
    # Everything relative to the corridor's beginning, so that two matrix products turn all points into all poses.
    x, y = corridor.x - corridor.x[0], corridor.y - corridor.y[0]
    relative = np.ones((len(points), 3))
    np.subtract(points, (corridor.x[0], corridor.y[0]), out=relative[:, :2])
    along = relative @ np.stack((cos, sin, -(x * cos + y * sin)))
    across = relative @ np.stack((-sin, cos, x * sin - y * cos))
    margin = np.where(along[:, 0] > a.front, a.lateral_clearance, ABREAST_CLEARANCE_M)
    gap = np.where(np.abs(along - 0.5 * (a.front - a.rear)) <= 0.5 * (a.front + a.rear), np.abs(across), np.inf)
    gap -= a.half_width
    touching = gap < margin[:, None]
    first, nearest = touching.argmax(axis=1), gap.argmin(axis=1)
    row = len(cos) * np.arange(len(points))
    at_first, at_nearest = row + first, row + nearest
    # The pose before did not touch yet: the front has to come exactly as far as the point is ahead of it.
    way = corridor.way.take(first) + along.take(at_first) - a.front
    # A point that the body passes in several poses is abreast of the front in the first of them.
    abreast = corridor.way.take(nearest) + along.take(at_nearest) - a.front
    return Contacts(
        way=np.where(touching.take(at_first), np.maximum(way, 0.0), np.inf),
        gap=gap.take(at_nearest),
        way_abreast=np.maximum(abreast, 0.0),
        heading=corridor.heading.take(nearest),
        side=np.where(across.take(at_nearest) >= 0.0, 1.0, -1.0),
    )
