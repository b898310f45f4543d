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
