"""How fast the edge of all that is seen comes towards the corridor, whichever clusters it belongs to. In `map`.

A cluster that turns into the corridor shows one edge that moves and one that does not: it does not move as a box. But
the space that was seen free beside the corridor becomes less, scan by scan.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fed_vit_autorl.compiled import compiled

from .recent import OLDEST_S, Recent
from .tracker import RUN_M_S, STILL_M_S
from .view import TOLERANCE_M, behind

BESIDE_M = 1.0

_POINTS, _NUMBERS, _PLACE = "float64[:, :]", "float64[:]", "UniTuple(float64, 3)"


@compiled(f"float64[::1]({_POINTS}, {_NUMBERS}, {_NUMBERS}, {_NUMBERS}, {_NUMBERS}, {_POINTS}, {_NUMBERS})")
def _least(points, heading, side, gap, along, past, age):
    """Least speed (P,) [m/s] outwards of the past points (N, 2) that may have come to each edge; inf without one."""
    reach, least, cos, sin = BESIDE_M, np.full(len(points), np.inf), np.cos(heading), np.sin(heading)
    low_x, low_y, high_x, high_y = np.inf, np.inf, -np.inf, -np.inf
    for p in range(len(points)):
        reach = max(reach, BESIDE_M + (abs(along[p]) + RUN_M_S) * OLDEST_S)
        low_x, low_y = min(low_x, points[p, 0]), min(low_y, points[p, 1])
        high_x, high_y = max(high_x, points[p, 0]), max(high_y, points[p, 1])
    low_x, low_y, high_x, high_y = low_x - reach, low_y - reach, high_x + reach, high_y + reach
    for n in range(len(past)):
        if not (low_x < past[n, 0] < high_x and low_y < past[n, 1] < high_y):
            continue
        for p in range(len(points)):
            dx, dy = past[n, 0] - points[p, 0], past[n, 1] - points[p, 1]
            if abs(dx * cos[p] + dy * sin[p] + along[p] * age[n]) < BESIDE_M:
                out = side[p] * (dy * cos[p] - dx * sin[p])
                # What stood in the corridor itself says nothing of what was beside it.
                if out > -gap[p]:
                    least[p] = min(least[p], out / age[n])
    return least


@compiled(
    f"float64[::1]({_POINTS}, {_NUMBERS}, {_NUMBERS}, {_NUMBERS}, {_NUMBERS}, {_POINTS}, {_NUMBERS}, {_PLACE}, "
    f"{_NUMBERS}, {_PLACE}, float64, float64)"
)
def _closing(points, heading, side, gap, along, past, age, then, nearest, now, passed, column):
    """See `closing`; `then` is where the view of the `nearest` was had, `passed` s before it is `now`."""
    least = _least(points, heading, side, gap, along, past, age)
    for p in range(len(points)):
        x = points[p, 0] - along[p] * passed * math.cos(heading[p])
        y = points[p, 1] - along[p] * passed * math.sin(heading[p])
        hidden = behind(x, y, then[0], then[1], then[2], nearest) < -TOLERANCE_M
        spacing = column * math.hypot(points[p, 0] - now[0], points[p, 1] - now[1])
        if least[p] == np.inf or hidden or least[p] <= max(spacing / OLDEST_S, STILL_M_S):
            least[p] = 0.0
    return least


@dataclass(frozen=True, slots=True, eq=False)
class Edge:
    """Points (P, 2) [m] that come nearest to a corridor: its direction (P,) [rad] there, +1 for a point to the left of
    it and else -1 (P,), the lateral gap (P,) [m] and the speed (P,) [m/s] along it.
    """

    points: NDArray[np.float64]
    heading: NDArray[np.float64]
    side: NDArray[np.float64]
    gap: NDArray[np.float64]
    along: NDArray[np.float64]


def closing(recent: Recent, edge: Edge, column: float) -> NDArray[np.float64]:
    """Speed (P,) [m/s] at which each point, or what it belongs to, has come towards the corridor.

    It is the least that explains where points of 0.2 to 0.5 s ago were, those of what drives along moved on with it:
    their way outwards over their age. 0 for what was hidden then, where nothing was near, for what the spacing of the
    LiDAR's columns (`column` [rad]) explains, and for what counts as standing.
    """
    if not recent.old:
        return np.zeros(len(edge.points))
    before, now = recent.old[-1], recent.latest
    then, here = before.pose, now.pose
    return _closing(
        edge.points, edge.heading, edge.side, edge.gap, edge.along, recent.points, recent.age,
        (then.x, then.y, then.yaw), before.nearest, (here.x, here.y, here.yaw), now.stamp - before.stamp, column,
    )  # fmt: skip
