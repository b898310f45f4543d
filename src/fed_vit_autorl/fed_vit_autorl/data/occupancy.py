"""What a LiDAR scan says of the ground ahead, cell by cell: taken, free, or unknown."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .classes import UNLABELLED

CELLS = (32, 32)
"""Rows ahead, columns from left to right."""
REACH_M = (48.0, 24.0)
"""What they cover in `base_link`: so far ahead, and to either side."""
OBSTACLE_M = (0.3, 3.0)
"""Returns between these heights take a cell."""
SECTORS = 360


def occupancy_grid(points: NDArray[np.floating]) -> NDArray[np.uint8]:
    """(32, 32) of 1 taken, 0 free, 255 unknown, from points (N, 3) in `base_link`.

    A cell is taken where something stands. It is free where its sector of a degree holds nothing nearer that stands,
    and a return that lies beyond it; a cell that nothing was returned from beyond is unknown.
    """
    grid = np.full(CELLS, UNLABELLED, np.uint8)
    if not len(points):
        return grid
    distance, sector = np.hypot(points[:, 0], points[:, 1]), _sector(points[:, 0], points[:, 1])
    stands = (points[:, 2] > OBSTACLE_M[0]) & (points[:, 2] < OBSTACLE_M[1])
    nearest, farthest = np.full(SECTORS, np.inf), np.zeros(SECTORS)
    np.minimum.at(nearest, sector[stands], distance[stands])
    np.maximum.at(farthest, sector, distance)
    x = (np.arange(CELLS[0]) + 0.5)[:, None] * (REACH_M[0] / CELLS[0])
    y = REACH_M[1] - (np.arange(CELLS[1]) + 0.5)[None] * (2 * REACH_M[1] / CELLS[1])
    cell_distance, cell_sector = np.hypot(x, y), _sector(*np.broadcast_arrays(x, y))
    grid[cell_distance < np.minimum(nearest, farthest)[cell_sector]] = 0
    row = np.floor(points[stands, 0] * (CELLS[0] / REACH_M[0])).astype(int)
    column = np.floor((REACH_M[1] - points[stands, 1]) * (CELLS[1] / (2 * REACH_M[1]))).astype(int)
    inside = (row >= 0) & (row < CELLS[0]) & (column >= 0) & (column < CELLS[1])
    grid[row[inside], column[inside]] = 1
    return grid


def _sector(x: NDArray, y: NDArray) -> NDArray[np.int64]:
    return np.floor((np.arctan2(y, x) + np.pi) * (SECTORS / (2 * np.pi))).astype(int) % SECTORS
