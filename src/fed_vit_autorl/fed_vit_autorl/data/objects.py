"""Road users in a LiDAR scan: clusters, what they can be, and the cuboid that probably made each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from .classes import CYCLIST, PEDESTRIAN, VEHICLE
from .lidar import Surface, clusters

ROAD_REACH_M = 5.0
"""Road users are never further from a road return than this."""
SIZES: dict[int, tuple[float, float, float]] = {
    VEHICLE: (4.5, 1.85, 1.55),
    PEDESTRIAN: (0.5, 0.55, 1.75),
    CYCLIST: (1.8, 0.6, 1.75),
}
"""Usual length, width, height [m] of each class: what the scan did not reach is filled in with them."""


@dataclass(frozen=True, eq=False)
class Found:
    """A road user: `corners` (8, 3) of its cuboid in `base_link`, class, number of returns, and whether to trust it."""

    corners: NDArray[np.float64]
    label: int
    returns: int
    sure: bool


@dataclass(frozen=True, eq=False)
class _Shape:
    """A cluster measured along `axis` (2,), the direction of its longer side, and across."""

    points: NDArray[np.float64]
    axis: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]

    @property
    def extent(self) -> NDArray[np.float64]:
        return self.high - self.low

    @property
    def distance(self) -> float:
        return float(np.linalg.norm(self.points[:, :2], axis=1).min())


def find_objects(points: NDArray[np.float64], height: NDArray[np.float64], kind: NDArray[np.intp]) -> list[Found]:
    """Road users among points (N, 3) in `base_link` with their heights and `Surface`."""
    standing = (kind == Surface.OBSTACLE) | (kind == Surface.OVERHEAD)
    road = points[kind == Surface.ROAD]
    if not standing.any() or len(road) == 0:
        return []
    near_road = cKDTree(road[:, :2])
    upright = np.column_stack([points[standing, :2], height[standing]])
    number = clusters(upright)
    found = []
    for index in range(number.max() + 1):
        cluster = upright[number == index]
        if near_road.query(cluster[:, :2].mean(axis=0))[0] < ROAD_REACH_M and (one := _recognise(_measure(cluster))):
            found.append(one)
    return found


def _measure(cluster: NDArray[np.float64]) -> _Shape:
    """The cluster along the axes that its points hug best (closeness of Zhang et al. 2017, L-shape fitting)."""
    angles = np.radians(np.arange(0, 90, 3.0)) if len(cluster) >= 4 else np.zeros(1)
    axes = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    along = cluster[:, :2] @ axes.T
    across = cluster[:, :2] @ np.stack([-axes[:, 1], axes[:, 0]])
    to_edge = [np.minimum(values - values.min(axis=0), values.max(axis=0) - values) for values in (along, across)]
    best = int((1 / np.maximum(np.minimum(*to_edge), 0.1)).sum(axis=0).argmax())
    low = np.array([along[:, best].min(), across[:, best].min()])
    high = np.array([along[:, best].max(), across[:, best].max()])
    axis = axes[best]
    if (high - low)[1] > (high - low)[0]:
        axis = np.array([-axis[1], axis[0]])
        low, high = np.array([low[1], -high[0]]), np.array([high[1], -low[0]])
    return _Shape(cluster, axis, low, high)


def _recognise(shape: _Shape) -> Found | None:
    """What the cluster is, or None for walls, trees and posts."""
    length, width = shape.extent
    top = float(shape.points[:, 2].max())
    if top > 3.5 or length > 12.0 or width > 3.2:
        return None
    if length < 1.15:
        label = PEDESTRIAN
        if top > 2.1 or width > 1.0:
            return None
    elif length < 1.4 and width < 0.6 and top > 1.5:
        label = CYCLIST
    else:
        label = VEHICLE
    ring_gap = np.radians(2.0) * shape.distance
    usual = SIZES[label]
    corners = _cuboid(shape, usual, top, ring_gap)
    sure = len(shape.points) >= 4
    return Found(corners, label, len(shape.points), sure)


def _cuboid(shape: _Shape, usual: tuple[float, float, float], top: float, ring_gap: float) -> NDArray[np.float64]:
    """The cuboid of usual size that has the measured sides; what is missing lies on the far side."""
    low, high = shape.low.copy(), shape.high.copy()
    size = np.array(usual[:2])
    if shape.extent[0] < 0.6 * usual[0] and usual[0] > 2 * usual[1]:
        # only its front or back was seen: the long side points away
        size = size[::-1]
    missing = np.maximum(size - shape.extent, 0.0)
    frame = np.stack([shape.axis, (-shape.axis[1], shape.axis[0])])
    # the sensor sits at 0: grow away from it, evenly where the side faces it squarely
    middle = (low + high) / 2
    lean = np.clip(middle / np.maximum(np.abs(middle), 2.0), -1, 1)
    low -= missing * (1 - lean) / 2
    high += missing * (1 + lean) / 2
    roof = float(np.clip(usual[2], top, top + ring_gap))
    flat = np.array([(x, y) for x in (low[0], high[0]) for y in (low[1], high[1])]) @ frame
    return np.array([(*corner, z) for corner in flat for z in (0.0, roof)])
