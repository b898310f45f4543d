"""What stands and is too low to be seen from so near: it was seen before the LiDAR's lowest beam passed over it."""

import numpy as np
from numpy.typing import NDArray

from fed_vit_autorl.compiled import compiled
from fed_vit_autorl.reinforcement.route import Pose, to_local, to_map

SAME_M, MARGIN_M = 0.3, 0.1
NEXT_M = 4.0  # driven until the next scan or the one after
MAX_POINTS = 256
_POINTS = "float64[:, ::1]"


@compiled("boolean(float64, float64, float64, UniTuple(float64, 3), float64, float64)")
def _passes_over(x, y, top, lidar, steepest, ahead):
    """Whether the lowest beam passes over something that high at (x, y), or will when it is `ahead` m nearer."""
    return steepest * (np.hypot(x - lidar[0], y - lidar[1]) - ahead) < lidar[2] - top + MARGIN_M


@compiled(f"Tuple(({_POINTS}, int64))({_POINTS}, {_POINTS}, UniTuple(float64, 3), float64)")
def _remembered(kept, low, lidar, steepest):
    """Points (N, 3): first those kept over which the lowest beam passes, and their number, then `low` ones.

    Of these those over which it may pass before the next scan, and that are not near any of the first.
    """
    found, hidden = np.empty((len(kept) + len(low), 3)), 0
    for x, y, top in kept:
        if _passes_over(x, y, top, lidar, steepest, 0.0):
            found[hidden, 0], found[hidden, 1], found[hidden, 2] = x, y, top
            hidden += 1
    count = hidden
    for x, y, top in low:
        new = _passes_over(x, y, top, lidar, steepest, NEXT_M)
        for i in range(hidden):
            new &= np.hypot(found[i, 0] - x, found[i, 1] - y) >= SAME_M
        if new:
            found[count, 0], found[count, 1], found[count, 2] = x, y, top
            count += 1
    return found[: min(count, MAX_POINTS)], min(hidden, MAX_POINTS)


class Beneath:
    """Remembers it until it would be seen again; whether it is gone by then, nobody can tell before."""

    def __init__(self) -> None:
        self._kept = np.zeros((0, 3))

    def carry(self, before: Pose, after: Pose) -> None:
        """The ego is at `after` and not at `before`: what was beside it still is."""
        self._kept[:, :2] = to_map(to_local(self._kept[:, :2], before), after)

    def update(
        self, low: NDArray[np.float64], lidar: tuple[float, float, float], steepest: float
    ) -> NDArray[np.float64]:
        """Places (M, 2) in `map` [m] of what was seen there and can't be now.

        Args:
            low: (N, 3) points of what is seen, stands and is lower than the LiDAR: the place in `map` and how high the
                whole of it is above `base_link` [m].
            lidar: its place in `map` and its height above `base_link` [m].
            steepest: how far its lowest beam goes down [m] per metre.
        """
        self._kept, hidden = _remembered(self._kept, low, lidar, steepest)
        return self._kept[:hidden, :2]
