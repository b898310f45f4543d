"""Road users in a LiDAR scan: clusters, what they can be, and the cuboid that probably made each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from .classes import CYCLIST, PEDESTRIAN, VEHICLE
from .lidar import GroundMap, Surface

TALL_M = 2.2
"""Higher than any pedestrian."""
CROWN_M = 2.0
KERB_M = 0.15
SURE_RETURNS = 4
SURE_M = 28.0
PIECE_GAP_M = 1.8
LONGEST_M = 12.0
WIDEST_M = 3.2
RING_GAP = np.radians(1.75)
"""Angle [rad] between two rings of the scan."""
SIZES: dict[int, tuple[float, float, float]] = {
    VEHICLE: (4.5, 1.85, 1.55),
    PEDESTRIAN: (0.5, 0.55, 1.75),
    CYCLIST: (1.8, 0.6, 1.75),
}
"""Usual length, width, height [m] of each class: what the scan did not reach is filled in with them."""


@dataclass(frozen=True, eq=False)
class Found:
    """A road user: `corners` (8, 3) of its cuboid in `base_link`, class, and whether to trust that it is one."""

    corners: NDArray[np.float64]
    label: int
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


def find_objects(standing: NDArray[np.float64], number: NDArray[np.int64], ground: GroundMap) -> list[Found]:
    """Road users among clusters `number` (N,) of `standing` (N, 3): x, y in `base_link`, height above the road [m]."""
    tall = cKDTree(standing[standing[:, 2] > TALL_M, :2])
    vehicles, found = [], []
    for points in _split(standing, number):
        shape, middle = _measure(points), points[:, :2].mean(axis=0)
        surface = Surface(ground.at(middle))
        label = _recognise(shape, surface, ground.has_road_near(points))
        if label == VEHICLE:
            vehicles.append(shape)
        elif label is not None:
            raised = surface == Surface.RAISED
            # beside a road what stands under something tall may be a trunk; a cyclist looks like two walkers
            doubtful = label == CYCLIST or (raised and bool(tall.query_ball_point(middle, CROWN_M, return_length=True)))
            found.append(Found(_cuboid(shape, label, KERB_M * raised), label, _is_sure(shape) and not doubtful))
    for shape in _joined(vehicles):
        on_road = ground.at(shape.points[:, :2].mean(axis=0)) == Surface.ROAD
        found.append(Found(_cuboid(shape, VEHICLE, 0.0), VEHICLE, bool(on_road) and _is_sure(shape)))
    return found


def _split(points: NDArray[np.float64], number: NDArray[np.int64]) -> list[NDArray[np.float64]]:
    order = np.argsort(number, kind="stable")
    return np.split(points[order], np.flatnonzero(np.diff(number[order])) + 1) if len(points) else []


def _is_sure(shape: _Shape) -> bool:
    return len(shape.points) >= (SURE_RETURNS if shape.distance < SURE_M else 2 * SURE_RETURNS)


def _joined(shapes: list[_Shape]) -> list[_Shape]:
    """Vehicles seen in pieces, with a post before them or a window between, made one."""
    whole: list[_Shape] = []
    for shape in sorted(shapes, key=lambda one: -len(one.points)):
        for index, other in enumerate(whole):
            both = _measure(np.concatenate([other.points, shape.points]))
            near = cKDTree(other.points[:, :2]).query(shape.points[:, :2])[0].min() < PIECE_GAP_M
            if near and both.extent[0] < LONGEST_M and both.extent[1] < WIDEST_M:
                whole[index] = both
                break
        else:
            whole.append(shape)
    return whole


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


def _recognise(shape: _Shape, surface: Surface, near_road: bool) -> int | None:
    """The class of the cluster, or None for walls, trees and posts. `near_road`: a road return lies beside it."""
    length, width = shape.extent + np.radians(1.0) * shape.distance
    top = float(shape.points[:, 2].max())
    if length < 1.3 and width < 1.1:
        if top > 2.1 or length < 0.35:
            return None
        return CYCLIST if surface == Surface.ROAD and length > 0.9 else PEDESTRIAN
    beside_road = surface == Surface.RAISED and not near_road
    if beside_road or top > 3.5 or length > LONGEST_M or width > WIDEST_M:
        return None
    return VEHICLE


def _cuboid(shape: _Shape, label: int, base: float) -> NDArray[np.float64]:
    """The cuboid of usual size that has the measured sides; what is missing lies on the far side."""
    usual = SIZES[label]
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
    top = float(shape.points[:, 2].max())
    roof = float(np.clip(base + usual[2], top, top + RING_GAP * shape.distance))
    flat = np.array([(x, y) for x in (low[0], high[0]) for y in (low[1], high[1])]) @ frame
    return np.array([(*corner, z) for corner in flat for z in (base, roof)])
