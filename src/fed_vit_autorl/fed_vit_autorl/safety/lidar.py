"""Obstacles from a raw LiDAR scan: no learned part, no map. Points in `base_link` unless named otherwise."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .assumptions import Assumptions

SECTORS = 72
MAX_POINTS = 1 << 18
MAX_CLUSTERS = 128
CELL_M = 0.4
SMEAR_M = 0.6
SMEAR_STEPS = np.array([-1.0, -0.5, 0.0, 0.5, 1.0], np.float32)[:, None]  # below a cell: a cluster holds a point
SUPPORT_CELL_M = 0.2
SUPPORT_RANGE_M = 12.0
GRID_BACK_M, GRID_AHEAD_M, GRID_SIDE_M = 15.0, 70.0, 25.0
THIN_M = 0.15
FIT_POINTS = 60
FIT_SAMPLE = 800
FIT_RANGE_M = 25.0
FIT_ROUNDS = 2
MAX_SLOPE = 0.1
MAX_OFFSET_M = 0.25
_COLUMNS = int((GRID_BACK_M + GRID_AHEAD_M) / CELL_M) + 1
_ROWS = int(2 * GRID_SIDE_M / CELL_M) + 1
# Keeps the plane level in directions that the points say nothing of.
RIDGE = np.diag((1.0, 1.0, 1e-3))
_CONNECTED = np.ones((3, 3), bool)
_INSIDE = np.pad(np.ones((_COLUMNS, _ROWS), bool), 1)
_SUPPORT_CELLS = int(2 * SUPPORT_RANGE_M / SUPPORT_CELL_M) + 3  # with a border that stays empty
_AROUND = np.add.outer((-_SUPPORT_CELLS, 0, _SUPPORT_CELLS), (-1, 0, 1)).reshape(9, 1)


@dataclass(frozen=True, slots=True, eq=False)
class Obstacles:
    """What stands on the road.

    Attributes:
        points: float32 (N, 3) [m].
        labels: int (N,) cluster of each point from 1; 0 for points outside the clustering grid.
        order: int (N,) the points cluster by cluster, those outside the grid first.
        start: int (C,) where each of the at most `MAX_CLUSTERS` clusters begins in that order.
        solidity: (C,) returns of each over those that the least obstacle gives at the same distance.
        sector_returns: int (72,) returns per 5° sector, ground included, counter-clockwise from straight back.
    """

    points: NDArray[np.float32]
    labels: NDArray[np.int64]
    order: NDArray[np.int64]
    start: NDArray[np.int64]
    solidity: NDArray[np.float64]
    sector_returns: NDArray[np.int64]


def extract(points: NDArray[np.float32], base_from_lidar: NDArray[np.float64], assumptions: Assumptions) -> Obstacles:
    """Obstacles of a scan (N, ≥3) given in the `lidar` frame; rows that are not finite are left out."""
    rotation, mount = base_from_lidar[:3, :3].astype(np.float32), base_from_lidar[:3, 3].astype(np.float32)
    columns = rotation @ points[:MAX_POINTS, :3].T + mount[:, None]  # contiguous coordinates: half the time
    x, y, _ = columns
    square = x * x + y * y
    on_body = (x > -assumptions.rear) & (x < assumptions.front) & (np.abs(y) < assumptions.half_width)
    keep = np.flatnonzero((square < assumptions.lidar_range**2) & ~on_body)  # NaN compares False
    local, distance = columns.take(keep, axis=1).T, np.sqrt(square[keep])
    height = local[:, 2] - ground_height(local, distance)
    floor = assumptions.kerb_height + assumptions.ground_slope * distance
    standing = _only(local, (height > floor) & (height < assumptions.clear_height))
    standing = _only(standing, supported(standing - mount, assumptions))
    labels, clusters = cluster(standing)
    order = np.argsort(labels.astype(np.int16), kind="stable")  # a radix sort
    size = np.bincount(labels, minlength=clusters + 1)
    solidity = _solidity(standing, labels, size[1:], base_from_lidar, assumptions)
    return Obstacles(standing, labels, order, size.cumsum()[:-1], solidity, sector_returns(local - mount))


def _only(points: NDArray[np.float32], chosen: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The chosen ones of the points (N, 3); their coordinates stay contiguous."""
    return points.T.take(np.flatnonzero(chosen), axis=1).T


def ground_height(points: NDArray[np.float32], distance: NDArray[np.float32]) -> NDArray[np.float32]:
    """Height (N,) of the ground plane below each point: least squares on what lies near the plane, slope at most 10 %.

    Starts from the level plane through the wheels; too few points leave it so.
    """
    chosen = np.flatnonzero(distance < FIT_RANGE_M)
    chosen = chosen[:: max(len(chosen) // FIT_SAMPLE, 1)]
    matrix, tolerance = points[chosen].astype(np.float64), 0.12 + 0.03 * distance[chosen]
    z = matrix[:, 2].copy()
    matrix[:, 2] = 1.0
    plane = np.zeros(3)
    for _ in range(FIT_ROUNDS):
        on_ground = np.abs(z - matrix @ plane) < tolerance
        if np.count_nonzero(on_ground) < FIT_POINTS:
            break
        a = matrix[on_ground]
        plane = np.linalg.solve(a.T @ a + RIDGE, a.T @ z[on_ground])
        plane[:2] = np.clip(plane[:2], -MAX_SLOPE, MAX_SLOPE)
        plane[2] = np.clip(plane[2], -MAX_OFFSET_M, MAX_OFFSET_M)
    return (points[:, :2] @ plane[:2].astype(np.float32)) + np.float32(plane[2])


def supported(points: NDArray[np.float32], a: Assumptions) -> NDArray[np.bool_]:
    """Points (N, 3), seen from the sensor's axis, that are no lone drop: those with enough returns around them.

    Enough is `spray_share` of what the least obstacle gives at that distance; around is 0.2 m, up to 0.4 m, to each
    side. The density that is asked for falls with the distance, as in dynamic radius outlier removal (Charron et al.,
    CRV 2018, "De-noising of lidar point clouds corrupted by snowfall").
    """
    square = points[:, 0] ** 2 + points[:, 1] ** 2
    needed = a.spray_share * a.least_returns(square)
    near = np.flatnonzero((needed > 1.0) & (square < SUPPORT_RANGE_M**2))
    planar = points.T[:2].take(near, axis=1)
    column, row = ((planar + SUPPORT_RANGE_M) * (1.0 / SUPPORT_CELL_M)).astype(np.int64) + 1
    cell = column * _SUPPORT_CELLS + row
    count = np.bincount(cell, minlength=_SUPPORT_CELLS**2)
    enough = np.ones(len(points), bool)
    enough[near] = count.take(cell + _AROUND).sum(axis=0) >= needed.take(near)
    return enough


def cluster(points: NDArray[np.float32]) -> tuple[NDArray[np.int64], int]:
    """Cluster (N,) of each point, from 1, by connected cells of 0.4 m (0: outside the grid), and their number.

    Points are smeared along their ray: a surface seen at a slant is hit far apart, in that direction only.
    """
    cell = _cells(*points.T[:2])
    x, y = points.T[:2].take(np.flatnonzero(_INSIDE.take(cell)), axis=1)
    stretch = 1.0 + SMEAR_STEPS * (np.float32(SMEAR_M) / np.maximum(np.hypot(x, y), np.float32(SMEAR_M)))
    grid = np.zeros(_INSIDE.shape, bool)
    grid.ravel()[_cells(x * stretch, y * stretch)] = True
    names, count = ndimage.label(grid & _INSIDE, structure=_CONNECTED)
    labels = names.take(cell).astype(np.int64)
    if count > MAX_CLUSTERS:
        labels, count = _nearest(points, labels, count)
    return labels, count


def _cells(x: NDArray[np.float32], y: NDArray[np.float32]) -> NDArray[np.int64]:
    """Cells, counted column by column, of planar points; the grid has a border, and what is outside falls into it."""
    column, row = np.floor((x + GRID_BACK_M) * (1.0 / CELL_M)), np.floor((y + GRID_SIDE_M) * (1.0 / CELL_M))
    column, row = np.minimum(np.maximum(column, -1), _COLUMNS), np.minimum(np.maximum(row, -1), _ROWS)
    return ((column + 1) * (_ROWS + 2) + (row + 1)).astype(np.int64)


def _nearest(points: NDArray[np.float32], labels: NDArray[np.int64], count: int) -> tuple[NDArray[np.int64], int]:
    """Keeps the `MAX_CLUSTERS` clusters that come nearest."""
    nearest = np.full(count + 1, np.inf)
    np.minimum.at(nearest, labels, np.hypot(points[:, 0], points[:, 1]))
    nearest[0] = np.inf
    kept = np.argsort(nearest, kind="stable")[:MAX_CLUSTERS]
    rename = np.zeros(count + 1, np.int64)
    rename[kept] = np.arange(1, MAX_CLUSTERS + 1)
    return rename[labels], MAX_CLUSTERS


def _solidity(
    points: NDArray[np.float32],
    labels: NDArray[np.int64],
    size: NDArray[np.int64],
    base_from_lidar: NDArray[np.float64],
    a: Assumptions,
) -> NDArray[np.float64]:
    """Rain gives few returns close by, where anything solid gives many."""
    x, y = points.T[:2] - base_from_lidar[:2, 3:]
    square = np.full(len(size) + 1, np.inf)
    np.minimum.at(square, labels, x * x + y * y)
    return size / np.maximum(a.least_returns(square[1:]), 1.0)


def sector_returns(points: NDArray[np.float32]) -> NDArray[np.int64]:
    """Returns (72,) per 5° sector of azimuth of points (N, ≥2) seen from the sensor's axis."""
    azimuth = np.arctan2(points[:, 1], points[:, 0])
    sector = ((azimuth + np.float32(np.pi)) * np.float32(SECTORS / (2 * np.pi))).astype(np.int64) % SECTORS
    return np.bincount(sector, minlength=SECTORS)


def thin(points: NDArray[np.float64]) -> NDArray[np.int64]:
    """Indices, ascending, of one of the points (N, 2) per 0.15 m cell."""
    column, row = np.floor(points.T / THIN_M)
    # Column, row and index as one number that a float holds: sorted, each cell begins with its first point. No two
    # points are 600 m apart.
    named = (column - column[:1]) * 2.0**32 + (row - row[:1]) * 2.0**20 + np.arange(len(points))
    named = np.sort(named.astype(np.int64))
    return np.sort(named[begins(named >> 20)] & 0xFFFFF)


def begins(groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """Indices at which a new value begins in sorted numbers (N,)."""
    new = np.ones(len(groups), bool)
    np.not_equal(groups[1:], groups[:-1], out=new[1:])
    return np.flatnonzero(new)


def boxes(points: NDArray[np.float64], order: NDArray[np.int64], start: NDArray[np.int64]) -> NDArray[np.float64]:
    """Axis-aligned boxes (C, 4) x_min, y_min, x_max, y_max of planar points (N, 2), clustered as in `Obstacles`."""
    if not len(start):
        return np.zeros((0, 4))
    grouped = points.T.take(order, axis=1)
    return np.concatenate((np.minimum.reduceat(grouped, start, axis=1), np.maximum.reduceat(grouped, start, axis=1))).T
