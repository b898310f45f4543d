"""Obstacles from a raw LiDAR scan: no learned part, no map. Points in `base_link` unless named otherwise."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fed_vit_autorl.compiled import compiled

from .assumptions import Assumptions
from .view import bearings

SECTORS = 72
EDGE_RAD = 1e-5  # many times what float32 azimuths are rounded by
MAX_POINTS = 1 << 18
MAX_CLUSTERS = 128
CELL_M = 0.4
SMEAR_M = 0.6
SMEAR_STEPS = (-1.0, -0.5, 0.5, 1.0)  # below a cell: a cluster holds a point
SUPPORT_CELL_M = 0.2
SUPPORT_RANGE_M = 12.0
GRID_BACK_M, GRID_AHEAD_M, GRID_SIDE_M = 15.0, 70.0, 25.0
THIN_M = 0.15
THIN_CELLS = 4096
FIT_POINTS = 60
FIT_SAMPLE = 800
FIT_RANGE_M = 25.0
FIT_ROUNDS = 2
MAX_SLOPE = 0.1
MAX_OFFSET_M = 0.25
_COLUMNS = int((GRID_BACK_M + GRID_AHEAD_M) / CELL_M) + 1
_ROWS = int(2 * GRID_SIDE_M / CELL_M) + 1
_LINE = _ROWS + 2  # the grid has a border of cells that stay empty
_CELLS = (_COLUMNS + 2) * _LINE
_SUPPORT_LINE = int(2 * SUPPORT_RANGE_M / SUPPORT_CELL_M) + 3  # with a border as well
# Keeps the plane level in directions that the points say nothing of.
RIDGE = (1.0, 1.0, 1e-3)
_EDGES = np.linspace(-np.pi, np.pi, SECTORS + 1)
_EDGE_X, _EDGE_Y = np.cos(_EDGES), np.sin(_EDGES)
# Points are float32, and so is what is compared with them or added to them.
_ONE, _SMEAR, _STEPS = np.float32(1.0), np.float32(SMEAR_M), np.array(SMEAR_STEPS, np.float32)
_BACK, _SIDE, _PER_CELL = np.float32(GRID_BACK_M), np.float32(GRID_SIDE_M), np.float32(1.0 / CELL_M)
_REACH, _PER_SUPPORT_CELL = np.float32(SUPPORT_RANGE_M), np.float32(1.0 / SUPPORT_CELL_M)
_PI, _SECTORS_PER_RADIAN = np.float32(np.pi), np.float32(SECTORS / (2.0 * np.pi))
_NEAR_PLANE, _NEAR_PLANE_PER_M = np.float32(0.12), np.float32(0.03)
_POINTS = "Array(float32, 2, 'A', readonly=True)"
_NUMBERS = "Array(float32, 1, 'A', readonly=True)"
_INDICES = "Array(int64, 1, 'A', readonly=True)"
_PLANAR = "Array(float64, 2, 'A', readonly=True)"


@dataclass(frozen=True, slots=True, eq=False)
class Obstacles:
    """What stands on the road.

    Attributes:
        points: float32 (N, 3) [m].
        labels: int (N,) cluster of each point from 1; 0 for points outside the clustering grid.
        order: int (N,) the points cluster by cluster, those outside the grid first.
        start: int (C,) where each of the at most `MAX_CLUSTERS` clusters begins in that order.
        solidity: (C,) returns of each over those that the least obstacle gives at the same distance.
        bins: int (N,) of azimuth in which each point lies, and
        distance: (N,) [m] how far it is (see `view.bearings`).
        sector_returns: int (72,) returns per 5° sector, ground included, counter-clockwise from straight back.
        returns: float32 (M, 3) [m] all that was hit, the ground as well, seen from the LiDAR along base_link's axes.
        steepest: how far the LiDAR's lowest beam goes down [m] per metre.
    """

    points: NDArray[np.float32]
    labels: NDArray[np.int64]
    order: NDArray[np.int64]
    start: NDArray[np.int64]
    solidity: NDArray[np.float64]
    bins: NDArray[np.int64]
    distance: NDArray[np.float64]
    sector_returns: NDArray[np.int64]
    returns: NDArray[np.float32]
    steepest: float


def extract(points: NDArray[np.float32], base_from_lidar: NDArray[np.float64], assumptions: Assumptions) -> Obstacles:
    """Obstacles of a scan (N, ≥3) given in the `lidar` frame; rows that are not finite are left out."""
    rotation, mount = base_from_lidar[:3, :3].astype(np.float32), base_from_lidar[:3, 3].astype(np.float32)
    points = points[:MAX_POINTS, :3].astype(np.float32, copy=False)
    columns = rotation @ points.T + mount[:, None]  # contiguous coordinates: half the time
    limits = -assumptions.rear, assumptions.front, assumptions.half_width, assumptions.lidar_range**2
    local, distance = _kept(columns, np.array(limits, np.float32))
    height = local[:, 2] - ground_height(local, distance)
    floor = assumptions.kerb_height + assumptions.ground_slope * distance
    standing = _only(local, (height > floor) & (height < assumptions.clear_height))
    standing = _only(standing, supported(standing - mount, assumptions))
    labels, clusters = cluster(standing)
    order, start, size, square = _grouped(standing, labels, clusters, *base_from_lidar[:2, 3])
    # Rain gives few returns close by, where anything solid gives many.
    solidity = size / np.maximum(assumptions.least_returns(square), 1.0)
    seen = local - mount
    return Obstacles(
        standing, labels, order, start, solidity, *bearings(standing), sector_returns(seen), seen, steepest(seen)
    )


@compiled(f"Tuple((float32[:, :], float32[:]))({_POINTS}, {_NUMBERS})")
def _kept(columns, limits):
    """Points (N, 3) of coordinates (3, M) that are in range and not on the own body, and their distance (N,)."""
    rear, front, half_width, range_square = limits
    kept, distance, count = np.empty(columns.shape, np.float32), np.empty(columns.shape[1], np.float32), 0
    for i in range(columns.shape[1]):
        x, y = columns[0, i], columns[1, i]
        square = x * x + y * y
        on_body = rear < x < front and abs(y) < half_width
        if square < range_square and not on_body:  # NaN compares False
            kept[0, count], kept[1, count], kept[2, count] = x, y, columns[2, i]
            distance[count] = np.sqrt(square)
            count += 1
    return kept[:, :count].T, distance[:count]


def _only(points: NDArray[np.float32], chosen: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The chosen ones of the points (N, 3); their coordinates stay contiguous."""
    return points.T.take(np.flatnonzero(chosen), axis=1).T


def ground_height(points: NDArray[np.float32], distance: NDArray[np.float32]) -> NDArray[np.float32]:
    """Height (N,) of the ground plane below each point: least squares on what lies near the plane, slope at most 10 %.

    Starts from the level plane through the wheels; too few points leave it so.
    """
    chosen = np.flatnonzero(distance < FIT_RANGE_M)
    *slope, offset = _plane(points, distance, chosen[:: max(len(chosen) // FIT_SAMPLE, 1)])
    return points[:, :2] @ np.array(slope, np.float32) + np.float32(offset)


@compiled(f"UniTuple(float64, 3)({_POINTS}, {_NUMBERS}, {_INDICES})")
def _plane(points, distance, chosen):
    """(slope in x, slope in y, height at the origin) of the ground plane through the chosen points."""
    slope_x, slope_y, offset = 0.0, 0.0, 0.0
    for _ in range(FIT_ROUNDS):
        count, (xx, yy, one) = 0, RIDGE
        xy, x1, y1, xz, yz, z1 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        for i in chosen:
            x, y, z = float(points[i, 0]), float(points[i, 1]), float(points[i, 2])
            if abs(z - (x * slope_x + y * slope_y + offset)) < _NEAR_PLANE + _NEAR_PLANE_PER_M * distance[i]:
                count += 1
                xx, xy, x1, xz = xx + x * x, xy + x * y, x1 + x, xz + x * z
                yy, y1, yz = yy + y * y, y1 + y, yz + y * z
                one, z1 = one + 1.0, z1 + z
        if count < FIT_POINTS:
            break
        # The normal equations, by elimination: the matrix is positive definite, so that no pivot is 0.
        by_y, by_1 = xy / xx, x1 / xx
        yy, y1, yz, one, z1 = yy - by_y * xy, y1 - by_y * x1, yz - by_y * xz, one - by_1 * x1, z1 - by_1 * xz
        by_1 = y1 / yy
        offset = (z1 - by_1 * yz) / (one - by_1 * y1)
        slope_y = (yz - y1 * offset) / yy
        slope_x = (xz - xy * slope_y - x1 * offset) / xx
        slope_x = min(max(slope_x, -MAX_SLOPE), MAX_SLOPE)
        slope_y = min(max(slope_y, -MAX_SLOPE), MAX_SLOPE)
        offset = min(max(offset, -MAX_OFFSET_M), MAX_OFFSET_M)
    return slope_x, slope_y, offset


def supported(points: NDArray[np.float32], a: Assumptions) -> NDArray[np.bool_]:
    """Points (N, 3), seen from the sensor's axis, that are no lone drop: those with enough returns around them.

    Enough is `spray_share` of what the least obstacle gives at that distance; around is 0.2 m, up to 0.4 m, to each
    side. The density that is asked for falls with the distance, as in dynamic radius outlier removal (Charron et al.,
    CRV 2018, "De-noising of lidar point clouds corrupted by snowfall").
    """
    square = points[:, 0] ** 2 + points[:, 1] ** 2
    return _enough_around(points, square, a.spray_share * a.least_returns(square))


@compiled(f"boolean[:]({_POINTS}, {_NUMBERS}, {_NUMBERS})")
def _enough_around(points, square, needed):
    """Whether there are as many points (N, 3) in the 3 x 3 cells around each one as it needs (N,), if more than one."""
    count = np.zeros(_SUPPORT_LINE**2, np.int32)
    cells = np.zeros(len(points), np.int64)
    for i in range(len(points)):
        if needed[i] > 1.0 and square[i] < _REACH * _REACH:
            column = int((points[i, 0] + _REACH) * _PER_SUPPORT_CELL)
            row = int((points[i, 1] + _REACH) * _PER_SUPPORT_CELL)
            cells[i] = (column + 1) * _SUPPORT_LINE + row + 1
            count[cells[i]] += 1
    enough = np.ones(len(points), np.bool_)
    for i in range(len(points)):
        cell = cells[i]
        if cell > 0:
            around = 0
            for middle in (cell - _SUPPORT_LINE, cell, cell + _SUPPORT_LINE):
                around += count[middle - 1] + count[middle] + count[middle + 1]
            enough[i] = around >= needed[i]
    return enough


def cluster(points: NDArray[np.float32]) -> tuple[NDArray[np.int64], int]:
    """Cluster (N,) of each point, from 1, by connected cells of 0.4 m (0: outside the grid), and their number.

    Points are smeared along their ray: a surface seen at a slant is hit far apart, in that direction only.
    """
    labels, first = _connected(points)
    number, count = np.argsort(np.argsort(first)), len(first) - 1  # in the order of their first cells
    labels = number.take(labels)
    return _nearest(points, labels, count) if count > MAX_CLUSTERS else (labels, count)


@compiled("int64(float32, float32)")
def _cell(x, y):
    """Cell, counted column by column, of a planar point; what is outside falls into cell 0, of the border."""
    column, row = (x + _BACK) * _PER_CELL, (y + _SIDE) * _PER_CELL
    inside = 0 <= column < _COLUMNS and 0 <= row < _ROWS
    return (int(column) + 1) * _LINE + int(row) + 1 if inside else 0


@compiled(f"UniTuple(int64[:], 2)({_POINTS})")
def _connected(points):
    """A name (N,) for each point, the same where cells are connected, 0 outside; by name the first of its cells."""
    names, cells = np.zeros(_CELLS, np.int32), np.zeros(len(points), np.int64)
    for i in range(len(points)):
        x, y = points[i, 0], points[i, 1]
        cells[i] = _cell(x, y)
        if cells[i] > 0:
            names[cells[i]] = -1
            smear = _SMEAR / max(np.hypot(x, y), _SMEAR)
            for step in _STEPS:
                stretch = _ONE + step * smear
                names[_cell(x * stretch, y * stretch)] = -1
    names[0] = 0
    labels, first, count = np.zeros(len(points), np.int64), np.zeros(len(points) + 1, np.int64), 0
    open_cells = np.empty(_CELLS, np.int64)
    for i in range(len(points)):
        if names[cells[i]] < 0:
            count += 1
            names[cells[i]], first[count], open_cells[0], left = count, cells[i], cells[i], 1
            while left > 0:
                left -= 1
                cell = open_cells[left]
                first[count] = min(first[count], cell)
                for middle in (cell - _LINE, cell, cell + _LINE):
                    for beside in (middle - 1, middle, middle + 1):
                        if names[beside] < 0:
                            names[beside], open_cells[left] = count, beside
                            left += 1
        labels[i] = names[cells[i]]
    return labels, first[: count + 1]


def _nearest(points: NDArray[np.float32], labels: NDArray[np.int64], count: int) -> tuple[NDArray[np.int64], int]:
    """Keeps the `MAX_CLUSTERS` clusters that come nearest."""
    nearest = np.full(count + 1, np.inf)
    np.minimum.at(nearest, labels, np.hypot(points[:, 0], points[:, 1]))
    nearest[0] = np.inf
    kept = np.argsort(nearest, kind="stable")[:MAX_CLUSTERS]
    rename = np.zeros(count + 1, np.int64)
    rename[kept] = np.arange(1, MAX_CLUSTERS + 1)
    return rename[labels], MAX_CLUSTERS


@compiled(f"Tuple((int64[:], int64[:], int64[:], float64[:]))({_POINTS}, {_INDICES}, int64, float64, float64)")
def _grouped(points, labels, clusters, x, y):
    """Order (N,) and starts (C,) as in `Obstacles`, and of each cluster how many points it has (C,) and the least
    squared distance (C,) [m²] from (x, y).
    """
    size, square = np.zeros(clusters + 1, np.int64), np.full(clusters + 1, np.inf)
    for i in range(len(points)):
        label, dx, dy = labels[i], float(points[i, 0]) - x, float(points[i, 1]) - y
        size[label] += 1
        square[label] = min(square[label], dx * dx + dy * dy)
    end = np.cumsum(size)
    start, order = end - size, np.zeros(len(points), np.int64)
    filled = start.copy()
    for i in range(len(points)):
        label = labels[i]
        order[filled[label]] = i
        filled[label] += 1
    return order, start[1:], size[1:], square[1:]


def steepest(points: NDArray[np.float32]) -> float:
    """How far one beam in a hundred of those that gave the points (N, 3), seen from the sensor, goes down per metre."""
    if not len(points):
        return 0.0
    slopes = -points[:, 2] / np.hypot(points[:, 0], points[:, 1])
    last = len(slopes) - 1 - len(slopes) // 100
    return max(float(np.partition(slopes, last)[last]), 0.0)


@compiled(f"int64[:]({_POINTS})")
def sector_returns(points: NDArray[np.float32]) -> NDArray[np.int64]:
    """Returns (72,) per 5° sector of azimuth of points (N, ≥2) seen from the sensor's axis."""
    returns, sector = np.zeros(SECTORS, np.int64), 0
    right_x, right_y, left_x, left_y = 0.0, 0.0, 0.0, 0.0  # the edges of the sector of the point before
    for i in range(len(points)):
        x, y = float(points[i, 0]), float(points[i, 1])
        # What is clearly within that sector, as most of a sweep is, needs no arc tangent.
        if min(right_x * y - right_y * x, left_y * x - left_x * y) <= EDGE_RAD * (abs(x) + abs(y)):
            azimuth = np.arctan2(points[i, 1], points[i, 0])
            sector = int((azimuth + _PI) * _SECTORS_PER_RADIAN) % SECTORS  # straight back, from the right: 0
            right_x, right_y = float(_EDGE_X[sector]), float(_EDGE_Y[sector])
            left_x, left_y = float(_EDGE_X[sector + 1]), float(_EDGE_Y[sector + 1])
        returns[sector] += 1
    return returns


@compiled(f"int64[:]({_PLANAR})")
def thin(points: NDArray[np.float64]) -> NDArray[np.int64]:
    """Indices, ascending, of the first of the points (N, 2) in each 0.15 m cell."""
    # A hash table of chains: each slot holds the last point that came into it, each point the one before. No two points
    # are 600 m apart: two cells differ in their number, and few of them can share a slot.
    slots = 2 * len(points) + 1
    last, before = np.full(slots, -1, np.int64), np.zeros(len(points), np.int64)
    cells, kept, count = np.zeros(len(points), np.int64), np.zeros(len(points), np.int64), 0
    for i in range(len(points)):
        column = np.floor(points[i, 0] / THIN_M) - np.floor(points[0, 0] / THIN_M)
        row = np.floor(points[i, 1] / THIN_M) - np.floor(points[0, 1] / THIN_M)
        cells[i] = int(column) * THIN_CELLS + int(row)
        slot = cells[i] % slots
        same = last[slot]
        while same >= 0 and cells[same] != cells[i]:
            same = before[same]
        if same < 0:
            last[slot], before[i] = i, last[slot]
            kept[count] = i
            count += 1
    return kept[:count]


@compiled(f"float64[:, ::1]({_PLANAR}, {_INDICES}, {_INDICES})")
def boxes(points: NDArray[np.float64], order: NDArray[np.int64], start: NDArray[np.int64]) -> NDArray[np.float64]:
    """Axis-aligned boxes (C, 4) x_min, y_min, x_max, y_max of planar points (N, 2), clustered as in `Obstacles`."""
    found = np.empty((len(start), 4))
    for c in range(len(start)):
        end = start[c + 1] if c + 1 < len(start) else len(order)
        for axis in range(2):
            low, high = np.inf, -np.inf
            for i in range(start[c], end):
                value = points[order[i], axis]
                low, high = min(low, value), max(high, value)
            found[c, axis], found[c, axis + 2] = low, high
    return found
