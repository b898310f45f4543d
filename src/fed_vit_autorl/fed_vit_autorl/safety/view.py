"""What of the surroundings is in view: the nearest obstacle per 2° of azimuth, seen from `base_link`."""

import numpy as np
from numpy.typing import NDArray

from fed_vit_autorl.compiled import compiled

BINS = 180
TOLERANCE_M = 1.0
PER_RADIAN = BINS / (2.0 * np.pi)
_PI_32, _PER_RADIAN_32 = np.float32(np.pi), np.float32(PER_RADIAN)  # obstacles are float32, and so are their bins


_SEEN = "Array(float32, 2, 'A', readonly=True)"


@compiled(f"Tuple((int64[::1], float64[::1]))({_SEEN})")
def bearings(points: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Bin (N,) and distance (N,) [m] of points (N, ≥2)."""
    bins, distance = np.empty(len(points), np.int64), np.empty(len(points))
    for i in range(len(points)):
        x, y = points[i, 0], points[i, 1]
        bins[i] = int((np.arctan2(y, x) + _PI_32) * _PER_RADIAN_32) % BINS  # straight back, from the right: 0
        distance[i] = np.hypot(x, y)
    return bins, distance


@compiled("float64[::1](int64[:], float64[:])")
def view(bins: NDArray[np.int64], distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance (180,) [m] of the nearest point per bin, of points with these `bearings`; inf where there is none."""
    nearest = np.full(BINS, np.inf)
    for i in range(len(bins)):
        nearest[bins[i]] = min(nearest[bins[i]], distance[i])
    return nearest


VIEW = "Array(float64, 1, 'A', readonly=True)"


@compiled(f"UniTuple(float64, 2)(float64, float64, {VIEW})")
def sight(x: float, y: float, nearest: NDArray[np.float64]) -> tuple[float, float]:
    """Distance [m] of a place, and that at which the view ends in its direction."""
    return np.hypot(x, y), nearest[int((np.arctan2(y, x) + np.pi) * PER_RADIAN) % BINS]


@compiled(f"float64(float64, float64, float64, float64, float64, {VIEW})")
def behind(x: float, y: float, pose_x: float, pose_y: float, yaw: float, nearest: NDArray[np.float64]) -> float:
    """How far [m] behind a place the view from a pose ends; negative for a place that is hidden. In `map`."""
    cos, sin, dx, dy = np.cos(yaw), np.sin(yaw), x - pose_x, y - pose_y
    distance, end = sight(dx * cos + dy * sin, dy * cos - dx * sin, nearest)
    return end - distance
