"""What the ground of a town is made of: a raster of road, pavement and green, and its triangulation."""

from __future__ import annotations

from enum import IntEnum
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import Delaunay

from .town import Town

RESOLUTION_M = 0.1
MARGIN_M = 70.0
KERB_HEIGHT_M = 0.15
_SHIFT = 4  # fractional bits of OpenCV's sub-pixel coordinates


class Surface(IntEnum):
    """Classes of the raster. Only `ROAD` lies at z = 0, the others are a kerb higher."""

    GREEN = 0
    PAVEMENT = 1
    ROAD = 2


class Ground:
    """Raster of `Surface` over the town and `MARGIN_M` around it; `cells` is uint8 (rows along y, columns along x)."""

    def __init__(self, town: Town):
        x0, y0, x1, y1 = town.bounds
        self.origin = np.array([x0 - MARGIN_M, y0 - MARGIN_M])
        self.size = np.array([x1 - x0, y1 - y0]) + 2 * MARGIN_M
        columns, rows = np.ceil(self.size / RESOLUTION_M).astype(int)
        self.cells = np.zeros((rows, columns), np.uint8)
        for polygon in town.junctions:
            self._fill(polygon, Surface.ROAD)
        for polygon in town.walking_areas:
            self._fill(polygon, Surface.PAVEMENT)
        for lane in town.sidewalks.values():
            self._fill(ribbon(lane.line, lane.width + 0.1), Surface.PAVEMENT)
        for lanes in (town.lanes, town.inner, town.crossings):
            for lane in lanes.values():
                self._fill(ribbon(lane.line, lane.width + 0.1), Surface.ROAD)

    def at(self, points: NDArray) -> NDArray[np.uint8]:
        """`Surface` of points (..., 2) in `map`; green outside the raster."""
        index = np.floor((np.asarray(points, np.float64)[..., :2] - self.origin) / RESOLUTION_M).astype(int)
        rows, columns = self.cells.shape
        inside = (index >= 0).all(-1) & (index[..., 0] < columns) & (index[..., 1] < rows)
        safe = np.where(inside[..., None], index, 0)
        return np.where(inside, self.cells[safe[..., 1], safe[..., 0]], np.uint8(Surface.GREEN))

    def height(self, points: NDArray) -> NDArray[np.float64]:
        """z [m] of the ground at points (..., 2)."""
        return np.where(self.at(points) == Surface.ROAD, 0.0, KERB_HEIGHT_M)

    def _fill(self, polygon: NDArray, surface: Surface) -> None:
        pixels = np.round((polygon - self.origin) / RESOLUTION_M * (1 << _SHIFT)).astype(np.int32)
        cv2.fillPoly(self.cells, [pixels], int(surface), shift=_SHIFT)

    def triangles(self) -> tuple[NDArray[np.float64], dict[Surface, NDArray[np.int64]], NDArray[np.int64]]:
        """Vertices (N, 2), triangles (M, 3) per raised surface, and the kerb's edges (K, 2) with the road on the right.

        The outlines are sampled so densely that Delaunay's triangulation contains them; a triangle belongs to the
        surface under its centre.
        """
        outlines = [self._outline(self.cells == Surface.ROAD), self._outline(self.cells != Surface.GREEN)]
        corners = self.origin + np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * self.size
        points = np.unique(np.round(np.concatenate([corners, *outlines]), 3), axis=0)
        faces = Delaunay(points).simplices
        a, b, c = (points[faces[:, i]] for i in range(3))
        clockwise = (b - a)[:, 0] * (c - a)[:, 1] < (b - a)[:, 1] * (c - a)[:, 0]
        faces[clockwise] = faces[clockwise][:, ::-1]
        kind = self.at(points[faces].mean(axis=1))
        raised = faces[kind != Surface.ROAD]
        edges = np.concatenate([raised[:, [0, 1]], raised[:, [1, 2]], raised[:, [2, 0]]])
        key = np.sort(edges, axis=1)
        _, first, count = np.unique(key, axis=0, return_index=True, return_counts=True)
        kerb = edges[first[count == 1]]
        return points, {s: faces[kind == s] for s in (Surface.GREEN, Surface.PAVEMENT)}, kerb

    def _outline(self, mask: NDArray[np.bool_], step_m: float = 2.0) -> NDArray[np.float64]:
        contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        parts = []
        for contour in contours:
            if len(contour) < 20:
                continue
            line = cv2.approxPolyDP(contour, 1.0, True)[:, 0].astype(np.float64)
            parts.append(densify(self.origin + (np.vstack([line, line[:1]]) + 0.5) * RESOLUTION_M, step_m)[:-1])
        return np.concatenate(parts)


def densify(line: NDArray[np.float64], step_m: float) -> NDArray[np.float64]:
    """The polyline (N, 2) with points at most `step_m` apart, its own points kept."""
    parts = [line[:1]]
    for a, b in pairwise(line):
        count = max(1, int(np.ceil(np.linalg.norm(b - a) / step_m)))
        parts.append(a + (b - a) * (np.arange(1, count + 1) / count)[:, None])
    return np.concatenate(parts)


def offset(line: NDArray[np.float64], distance: float) -> NDArray[np.float64]:
    """The polyline (N, 2) shifted `distance` metres to the left, mitred at its corners."""
    direction = np.diff(line, axis=0)
    direction /= np.maximum(np.linalg.norm(direction, axis=1, keepdims=True), 1e-9)
    normal = np.stack([-direction[:, 1], direction[:, 0]], axis=1)
    before, after = np.vstack([normal[:1], normal]), np.vstack([normal, normal[-1:]])
    mitre = before + after
    scale = 2.0 / np.maximum((mitre**2).sum(axis=1, keepdims=True), 0.5)
    return line + distance * mitre * scale


def ribbon(line: NDArray[np.float64], width: float) -> NDArray[np.float64]:
    """The polygon (2N, 2) of a band `width` metres wide along the polyline (N, 2)."""
    return np.concatenate([offset(line, -width / 2), offset(line, width / 2)[::-1]])
