"""Time to collision of oriented rectangles at constant velocity."""

from __future__ import annotations

from math import inf

import numpy as np
from numpy.typing import NDArray


def time_to_collision(ego: NDArray, others: NDArray, horizon: float = 5.0, step: float = 0.05) -> float:
    """Seconds until the ego's rectangle meets another's, all at constant velocity; infinite beyond `horizon` [s].

    `ego` (7,) and `others` (N, 7): x, y of the centre [m], yaw [rad], vx, vy in `map` [m/s], length, width [m].
    """
    if len(others) == 0:
        return inf
    times = np.arange(0.0, horizon + step / 2, step)
    apart = others[None, :, :2] - ego[:2] + times[:, None, None] * (others[None, :, 3:5] - ego[3:5])
    meeting = _overlap(apart, ego[2], ego[5:7], others[:, 2], others[:, 5:7]).any(axis=1)
    return float(times[meeting.argmax()]) if meeting.any() else inf


def clearance(ego: NDArray, others: NDArray) -> float:
    """Metres between the ego's rectangle and the nearest other's (inputs as above), 0 where they touch.

    Measured between the corners of one and the rectangle of the other, exact for rectangles that do not cross.
    """
    if len(others) == 0:
        return inf
    if _overlap(others[None, :, :2] - ego[:2], ego[2], ego[5:7], others[:, 2], others[:, 5:7]).any():
        return 0.0
    here, there = _corners(ego[None]), _corners(others)
    to_ego = _distance_to(there.reshape(-1, 2), ego[:2], ego[2], ego[5:7]).min()
    to_others = min(_distance_to(here[0], o[:2], o[2], o[5:7]).min() for o in others)
    return float(min(to_ego, to_others))


def _overlap(apart: NDArray, yaw: float, size: NDArray, yaws: NDArray, sizes: NDArray) -> NDArray[np.bool_]:
    """Separating-axis test of one rectangle against N, whose centres are `apart` (T, N, 2) from it: (T, N)."""
    separated = np.zeros(apart.shape[:2], bool)
    for angle in (np.full_like(yaws, yaw), np.full_like(yaws, yaw) + np.pi / 2, yaws, yaws + np.pi / 2):
        reach = _reach(size[None], yaw - angle) + _reach(sizes, yaws - angle)
        separated |= np.abs(apart[..., 0] * np.cos(angle) + apart[..., 1] * np.sin(angle)) > reach
    return ~separated


def _reach(size: NDArray, angle: NDArray) -> NDArray:
    return (size[:, 0] * np.abs(np.cos(angle)) + size[:, 1] * np.abs(np.sin(angle))) / 2


def _corners(boxes: NDArray) -> NDArray:
    signs = np.array([[1, 1], [1, -1], [-1, -1], [-1, 1]]) / 2
    local = signs[None] * boxes[:, None, 5:7]
    c, s = np.cos(boxes[:, 2])[:, None], np.sin(boxes[:, 2])[:, None]
    turned = np.stack([c * local[..., 0] - s * local[..., 1], s * local[..., 0] + c * local[..., 1]], axis=-1)
    return boxes[:, None, :2] + turned


def _distance_to(points: NDArray, centre: NDArray, yaw: float, size: NDArray) -> NDArray:
    offset = points - centre
    c, s = np.cos(yaw), np.sin(yaw)
    local = np.abs(np.stack([offset @ (c, s), offset @ (-s, c)], axis=-1))
    return np.linalg.norm(np.maximum(local - size / 2, 0), axis=-1)
