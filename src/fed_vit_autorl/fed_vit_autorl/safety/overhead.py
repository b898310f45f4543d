"""What hangs over the ground, as the crown of a tree does: a beam passes beneath it. Nobody steps out there."""

import math

import numpy as np
from numpy.typing import NDArray

from fed_vit_autorl.compiled import compiled

from .lidar import Obstacles

DEPTH_M = 0.3  # what is no farther apart along a beam is the same thing

_SEEN = "Array(float32, 2, 'A', readonly=True)"


@compiled("boolean(float64, float64, float64, float64, float64)")
def _same_column(x, y, place_x, place_y, half_column):
    """Whether a return is in a place's column, both seen from the sensor's axis."""
    ahead = x * place_x + y * place_y
    return abs(y * place_x - x * place_y) <= half_column * ahead


@compiled(f"boolean[::1](float64[:, :], {_SEEN}, {_SEEN}, UniTuple(float64, 3), float64)")
def _hanging(places, standing, returns, mount, column):
    """See `hanging`; `mount` is where the LiDAR is in `base_link`."""
    hangs, half = np.zeros(len(places), np.bool_), math.tan(0.5 * column)
    for p in range(len(places)):
        place_x, place_y, lowest = places[p, 0] - mount[0], places[p, 1] - mount[1], np.inf
        distance = math.hypot(place_x, place_y)
        for i in range(len(standing)):
            x, y = standing[i, 0] - mount[0], standing[i, 1] - mount[1]
            if _same_column(x, y, place_x, place_y, half) and abs(math.hypot(x, y) - distance) <= DEPTH_M:
                lowest = min(lowest, standing[i, 2] - mount[2])
        for i in range(len(returns)):
            if _same_column(returns[i, 0], returns[i, 1], place_x, place_y, half):
                way = math.hypot(returns[i, 0], returns[i, 1])
                hangs[p] |= way > distance + DEPTH_M and returns[i, 2] * distance < lowest * way
    return hangs


def hanging(
    places: NDArray[np.float64], found: Obstacles, mount: NDArray[np.float64], column: float
) -> NDArray[np.bool_]:
    """Whether what was found at each place (P, 2) hangs over the ground; places and `mount` (3,) are in `base_link`.

    It does if some beam of the place's column, `column` [rad] wide, that is lower there than all that was hit comes
    back from farther away. Who stands on the ground is in the way of all of them.
    """
    return _hanging(places, found.points, found.returns, tuple(mount.tolist()), column)
