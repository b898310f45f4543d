"""What stands and is too low to be seen from so near: it was seen before the LiDAR's lowest beam passed over it."""

import numpy as np
from numpy.typing import NDArray

from fed_vit_autorl.compiled import compiled

SAME_M, MARGIN_M = 0.3, 0.1
NEXT_M = 4.0  # driven until the next scan or the one after
MAX_POINTS = 256
_POINTS = "float64[:, ::1]"


@compiled(f"Tuple(({_POINTS}, int64))({_POINTS}, {_POINTS}, UniTuple(float64, 3), float64)")
def _known(kept, low, lidar, steepest):
    """Points (N, 3): first those kept over which the lowest beam passes, and their number, then the `low` ones that are
    not near any of them.
    """
    known, count, hidden = np.empty((len(kept) + len(low), 3)), 0, 0
    for kind, points in enumerate((kept, low)):
        for x, y, top in points:
            distance, near = np.hypot(x - lidar[0], y - lidar[1]), False
            # Of what is seen now, only that over which it may pass before the next scan.
            if steepest * (distance - kind * NEXT_M) >= lidar[2] - top + MARGIN_M:
                continue
            for i in range(hidden):
                near |= np.hypot(known[i, 0] - x, known[i, 1] - y) < SAME_M
            if not near:
                known[count, 0], known[count, 1], known[count, 2] = x, y, top
                count += 1
        if kind == 0:
            hidden = count
    return known[: min(count, MAX_POINTS)], min(hidden, MAX_POINTS)


class Beneath:
    """Remembers it until it would be seen again; whether it is gone by then, nobody can tell before."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._kept = np.zeros((0, 3))

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
        self._kept, hidden = _known(self._kept, low, lidar, steepest)
        return self._kept[:hidden, :2]
