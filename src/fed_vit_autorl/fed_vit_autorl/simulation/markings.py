"""Paint on the road: centre lines, lane dividers, edge lines, stop lines and zebra crossings."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .ground import densify, offset
from .meshes import Mesh, band, merge, quad
from .town import Lane, Town, polyline_length

LINE_M = 0.15
PAINT_Z = 0.02
DASH_M, GAP_M = 3.0, 4.5


def crossings_and_lines(town: Town) -> Mesh:
    """All markings of the town as one mesh just above the road."""
    parts: list[Mesh] = []
    streets: dict[str, list[Lane]] = {}
    for lane in town.lanes.values():
        streets.setdefault(lane.edge, []).append(lane)
    for lanes in streets.values():
        lanes.sort(key=lambda lane: lane.id)  # SUMO numbers lanes from the right
        left, right = lanes[-1], lanes[0]
        parts.append(_line(offset(left.line, left.width / 2 - 0.06)))
        parts.append(_line(offset(right.line, -right.width / 2 + 0.25)))
        for lane in lanes[:-1]:
            parts += [_line(piece) for piece in _dashes(offset(lane.line, lane.width / 2))]
        for lane in lanes:
            end, direction = _end(lane.line)
            parts.append(quad(end - 0.3 * direction, direction, 0.45, lane.width - 0.3, PAINT_Z))
    for crossing in town.crossings.values():
        parts += _zebra(crossing)
    return merge(parts)


def _end(line: NDArray) -> tuple[NDArray, NDArray]:
    direction = line[-1] - line[-2]
    return line[-1], direction / np.linalg.norm(direction)


def _line(line: NDArray) -> Mesh:
    return band(offset(line, LINE_M / 2), offset(line, -LINE_M / 2), PAINT_Z)


def _dashes(line: NDArray) -> list[NDArray]:
    fine = densify(line, 0.5)
    s = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(fine, axis=0), axis=1))])
    starts = np.arange(1.0, s[-1] - DASH_M, DASH_M + GAP_M)
    at = [np.linspace(start, start + DASH_M, 4) for start in starts]
    return [np.column_stack([np.interp(u, s, fine[:, 0]), np.interp(u, s, fine[:, 1])]) for u in at]


def _zebra(crossing: Lane) -> list[Mesh]:
    line = crossing.line
    length = polyline_length(line)
    direction = (line[-1] - line[0]) / max(np.linalg.norm(line[-1] - line[0]), 1e-9)
    across = np.array([-direction[1], direction[0]])
    bars = np.arange(0.5, length - 0.3, 1.0)
    return [quad(line[0] + at * direction, across, crossing.width - 0.6, 0.5, PAINT_Z) for at in bars]
