"""Routes over a `carla.Map`, as the embedded world plans them over its towns."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ..reinforcement.route import RoadOption
from .carla_frames import planar
from .routes import SPACING_M, TURN_RAD, PlannedRoute

SAME_STOP_M = 3.0


def plan(start: Any, length_m: float, lights: Iterable[Any], limit: float, rng: np.random.Generator) -> PlannedRoute:
    """A random route of `length_m` metres from the `carla.Waypoint` `start`.

    `lights` are the map's traffic lights, `limit` the speed limit [m/s] all along: CARLA tells it only of where a
    vehicle is.
    """
    waypoints = [start]
    while len(waypoints) * SPACING_M < length_m:
        ways = waypoints[-1].next(SPACING_M)
        if not ways:
            break
        waypoints.append(ways[int(rng.integers(len(ways)))])
    poses = np.array([planar(waypoint.transform) for waypoint in waypoints])
    inside = np.array([waypoint.is_junction for waypoint in waypoints])
    return PlannedRoute(
        points=poses[:, :2],
        options=_options(poses[:, 2], inside),
        speed_limits=np.full(len(poses), limit),
        lane_widths=np.array([waypoint.lane_width for waypoint in waypoints]),
        in_junction=inside,
        stops=_stops(poses, lights),
        edges=(),
        last_lane="",
    )


def _options(yaw: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """The turn that each junction's stretch makes as a whole; lane following between junctions."""
    options = np.full(len(yaw), int(RoadOption.FOLLOW))
    edges = np.flatnonzero(np.diff(np.concatenate([[0], inside.astype(int), [0]])))
    heading = np.unwrap(yaw)
    for begin, end in edges.reshape(-1, 2):
        turn = heading[end - 1] - heading[begin]
        option = RoadOption.STRAIGHT if abs(turn) < TURN_RAD else RoadOption.LEFT if turn > 0 else RoadOption.RIGHT
        options[begin:end] = int(option)
    return options


def _stops(poses: np.ndarray, lights: Iterable[Any]) -> tuple[tuple[float, int], ...]:
    """Arc lengths at which the route passes a light's stop line in its direction, with the light's id."""
    s = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(poses[:, :2], axis=0), axis=1))])
    found = []
    for light in lights:
        for x, y, yaw in (planar(waypoint.transform) for waypoint in light.get_stop_waypoints()):
            nearest = int(np.argmin(np.hypot(poses[:, 0] - x, poses[:, 1] - y)))
            near = np.hypot(poses[nearest, 0] - x, poses[nearest, 1] - y) < SAME_STOP_M
            if near and np.cos(poses[nearest, 2] - yaw) > 0.7:
                found.append((float(s[nearest]), int(light.id)))
                break
    return tuple(sorted(found))
