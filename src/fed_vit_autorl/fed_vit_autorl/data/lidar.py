"""What a sparse LiDAR scan says by itself: which returns are road, which are raised ground, which stand on it."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

ROAD_TOLERANCE_M = 0.08
"""Half a kerb (0.15 m): below it a return is road, above it pavement or grass."""
OBSTACLE_HEIGHT_M = 0.3
OVERHEAD_M = 4.5
MAX_SLOPE = 0.03
FAR = 1e4
"""Coordinates of rows that stand for no point, where a model takes a fixed number of them."""


class Surface(IntEnum):
    """What a return belongs to; OVERHEAD hangs above anything that drives."""

    BELOW = 0
    ROAD = 1
    RAISED = 2
    OBSTACLE = 3
    OVERHEAD = 4


def road_plane(points: NDArray[np.float64], reach: float = 25.0) -> NDArray[np.float64]:
    """(3,) a, b, c of the road z = a + b x + c y near the vehicle, from points (N, 3) in `base_link`.

    Starts from `base_link`'s own ground and fits again and again the returns that are nearer to the plane than a kerb
    is high. Too few of them: the plane z = 0.
    """
    plane = np.zeros(3)
    near = points[(np.hypot(points[:, 0], points[:, 1]) < reach) & (np.abs(points[:, 2]) < 1.0)]
    for tolerance in (0.25, 0.12, ROAD_TOLERANCE_M):
        chosen = near[np.abs(height_above(plane, near)) < tolerance]
        if len(chosen) < 30:
            return np.zeros(3)
        # the upper half of the band holds the pavement: weigh it down
        weight = np.where(height_above(plane, chosen) > 0.5 * tolerance, 0.2, 1.0)
        system = np.column_stack([np.ones(len(chosen)), chosen[:, :2]]) * weight[:, None]
        plane = np.linalg.lstsq(system, chosen[:, 2] * weight, rcond=None)[0]
        plane[1:] = np.clip(plane[1:], -MAX_SLOPE, MAX_SLOPE)
    return plane


def height_above(plane: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Heights (N,) [m] of points above a plane of `road_plane`."""
    return points[:, 2] - plane[0] - points[:, :2] @ plane[1:]


def surfaces(height: NDArray[np.float64]) -> NDArray[np.intp]:
    """`Surface` of returns by their height above the road."""
    return np.digitize(height, (-2 * ROAD_TOLERANCE_M, ROAD_TOLERANCE_M, OBSTACLE_HEIGHT_M, OVERHEAD_M))


class GroundMap:
    """Which surface the ground returns speak for, at any place: the most frequent of the nearest few.

    Roads go on in the direction of travel: a return speaks for ground `ALONG` times further ahead than sideways.
    """

    ALONG = 4.0
    REACH_M = 2.0
    VOTES = 3

    def __init__(self, points: NDArray[np.float64], kind: NDArray[np.intp]):
        flat = (kind == Surface.ROAD) | (kind == Surface.RAISED)
        self._road = np.append(kind[flat] == Surface.ROAD, False)
        self._tree = cKDTree(self._scaled(points[flat]))
        self._road_tree = cKDTree(points[kind == Surface.ROAD, :2])

    def at(self, places: NDArray[np.float64]) -> NDArray[np.intp]:
        """`Surface` ROAD or RAISED at places (..., 2+) in `base_link`; BELOW where no return is near enough to tell."""
        distance, index = self._tree.query(self._scaled(places), self.VOTES, eps=0.1, distance_upper_bound=self.REACH_M)
        found = np.isfinite(distance).sum(axis=-1)
        road = 2 * self._road[index].sum(axis=-1) > found
        return np.where(found == 0, Surface.BELOW, np.where(road, Surface.ROAD, Surface.RAISED))

    def has_road_near(self, points: NDArray[np.float64], reach: float = 2.5) -> bool:
        """True if a road return lies within `reach` [m] of one of the points (N, 2+)."""
        distance, _ = self._road_tree.query(points[:, :2], distance_upper_bound=reach)
        return bool(np.isfinite(distance).any())

    def _scaled(self, places: NDArray[np.float64]) -> NDArray[np.float64]:
        return places[..., :2] * (1 / self.ALONG, 1.0)


def clusters(points: NDArray[np.float64], azimuth_step: float = np.radians(1.0)) -> NDArray[np.int64]:
    """Cluster numbers (N,) of points (N, 2+) seen from the origin: neighbours closer than the gap that the scan leaves
    at their distance belong together.
    """
    if len(points) == 0:
        return np.zeros(0, np.int64)
    flat = points[:, :2]
    reach = 0.3 + 1.2 * azimuth_step * np.hypot(flat[:, 0], flat[:, 1])
    pairs = cKDTree(flat).query_pairs(float(reach.max()), output_type="ndarray")
    distance = np.linalg.norm(flat[pairs[:, 0]] - flat[pairs[:, 1]], axis=1)
    linked = pairs[distance < np.minimum(reach[pairs[:, 0]], reach[pairs[:, 1]])]
    ones = np.ones(len(linked), np.int8)
    graph = coo_array((ones, (linked[:, 0], linked[:, 1])), shape=(len(flat), len(flat)))
    return connected_components(graph, directed=False)[1].astype(np.int64)


def padded(points: NDArray[np.floating], count: int) -> NDArray[np.float32]:
    """Points (N, 4) x, y, z, intensity as a model takes them: (count, 4), every few of too many, rows at `FAR` for too
    few.
    """
    rows = np.full((count, 4), FAR, np.float32)
    chosen = points[np.linspace(0, len(points) - 1, count).astype(int)] if len(points) > count else points
    rows[: len(chosen)] = chosen
    return rows
