"""What of the surroundings is in view: the nearest obstacle per 2° of azimuth, seen from `base_link`."""

import numpy as np
from numpy.typing import NDArray

BINS = 180
TOLERANCE_M = 1.0


def view(points: NDArray) -> NDArray[np.float64]:
    """Distance (180,) [m] of the nearest of the points (N, ≥2) per bin; inf where there is none."""
    nearest = np.full(BINS, np.inf)
    np.minimum.at(nearest, _bins(points), np.hypot(points[:, 0], points[:, 1]).astype(np.float64))
    return nearest


def hidden(places: NDArray[np.float64], nearest: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Places (N, 2) behind the nearest obstacle, by more than 1 m."""
    return np.hypot(places[:, 0], places[:, 1]) > nearest[_bins(places)] + TOLERANCE_M


def empty(places: NDArray[np.float64], nearest: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Places (N, 2) before the nearest obstacle, by more than 1 m."""
    return np.hypot(places[:, 0], places[:, 1]) <= nearest[_bins(places)] - TOLERANCE_M


def _bins(points: NDArray) -> NDArray[np.int64]:
    azimuth = np.arctan2(points[:, 1], points[:, 0])
    bins = ((azimuth + np.pi) * (BINS / (2.0 * np.pi))).astype(np.int64)
    bins[bins == BINS] = 0  # straight back, from the right
    return bins
