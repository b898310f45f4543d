"""How fast the edge of all that is seen comes towards the corridor, whichever clusters it belongs to. In `map`."""

import math
from collections import deque
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fed_vit_autorl.compiled import compiled
from fed_vit_autorl.reinforcement.route import Pose

from .assumptions import Assumptions
from .tracker import RUN_M_S, STILL_M_S
from .view import TOLERANCE_M, sight

YOUNGEST_S, OLDEST_S = 0.19, 0.52
BESIDE_M = 1.0
KEPT_M = 40.0


@compiled("float64[:, ::1](float64[:, :], float64, float64, float64)")
def _ahead(points, x, y, yaw):
    """Those of the points (N, 2) that lie before a pose and at less than `KEPT_M`."""
    cos, sin, count, kept = math.cos(yaw), math.sin(yaw), 0, np.empty((len(points), 2))
    for i in range(len(points)):
        dx, dy = points[i, 0] - x, points[i, 1] - y
        if dx * cos + dy * sin > 0.0 and dx * dx + dy * dy < KEPT_M**2:
            kept[count, 0], kept[count, 1] = points[i, 0], points[i, 1]
            count += 1
    return kept[:count]


_POINTS, _NUMBERS, _PLACE = "float64[:, :]", "float64[:]", "UniTuple(float64, 3)"


@compiled(f"float64[::1]({_POINTS}, {_POINTS}, {_POINTS}, {_NUMBERS}, {_NUMBERS}, {_NUMBERS}, {_POINTS}, {_NUMBERS})")
def _least(points, tangent, outwards, gap, along, beside, past, age):
    """Least speed (P,) [m/s] outwards of the past points (N, 2) that may have come to each edge; inf without one."""
    reach, least = BESIDE_M, np.full(len(points), np.inf)
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
            if abs(dx * tangent[p, 0] + dy * tangent[p, 1] + along[p] * age[n]) < beside[p]:
                out = dx * outwards[p, 0] + dy * outwards[p, 1]
                # What stood in the corridor itself says nothing of what was beside it.
                if out > -gap[p]:
                    least[p] = min(least[p], out / age[n])
    return least


@compiled(
    f"float64[::1]({_POINTS}, {_POINTS}, {_POINTS}, {_NUMBERS}, {_NUMBERS}, {_NUMBERS}, {_POINTS}, {_NUMBERS}, "
    f"{_PLACE}, {_NUMBERS}, {_PLACE}, float64, float64)"
)
def _closing(points, tangent, outwards, gap, along, beside, past, age, then, nearest, now, passed, column):
    """See `Frontier.closing`; `then` is where the view of the `nearest` was had, `passed` s before it is `now`."""
    least = _least(points, tangent, outwards, gap, along, beside, past, age)
    cos, sin = math.cos(then[2]), math.sin(then[2])
    for p in range(len(points)):
        dx = points[p, 0] - along[p] * passed * tangent[p, 0] - then[0]
        dy = points[p, 1] - along[p] * passed * tangent[p, 1] - then[1]
        distance, end = sight(dx * cos + dy * sin, dy * cos - dx * sin, nearest)
        spacing = column * math.hypot(points[p, 0] - now[0], points[p, 1] - now[1])
        if least[p] == np.inf or distance > end + TOLERANCE_M or least[p] <= max(spacing / OLDEST_S, STILL_M_S):
            least[p] = 0.0
    return least


@dataclass(frozen=True, slots=True, eq=False)
class Edge:
    """Points (P, 2) [m] that come nearest to a corridor: its direction there, that away from it (P, 2), the lateral
    gap (P,) [m], the speed (P,) [m/s] along it, and how far along it (P,) [m] one has come from at most.
    """

    points: NDArray[np.float64]
    tangent: NDArray[np.float64]
    outwards: NDArray[np.float64]
    gap: NDArray[np.float64]
    along: NDArray[np.float64]
    beside: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Past:
    """Obstacles (N, 2) of a scan, seen from `pose` at `stamp` [s], and where its view ends per bin (see `view`)."""

    points: NDArray[np.float64]
    pose: Pose
    stamp: float
    nearest: NDArray[np.float64]


class Frontier:
    """The points of the last half second's scans.

    A cluster that turns into the corridor shows one edge that moves and one that does not, and a person who steps out
    beside a parked car is one cluster with it in every other scan: neither moves as a box. But the space that was seen
    free beside the corridor becomes less, scan by scan.
    """

    def __init__(self, assumptions: Assumptions) -> None:
        self._a = assumptions
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._scans: deque[Past] = deque()
        self._points, self._age = np.zeros((0, 2)), np.zeros(0)
        self._youngest: Past | None = None

    @property
    def stamp(self) -> float:
        """Of the latest scan [s]."""
        return self._scans[-1].stamp

    def update(self, scan: Past) -> None:
        """Takes in the latest scan; those of more than half a second ago are forgotten."""
        while self._scans and scan.stamp - self._scans[0].stamp > OLDEST_S:
            self._scans.popleft()
        old = [past for past in self._scans if scan.stamp - past.stamp >= YOUNGEST_S]
        self._points = np.concatenate([np.zeros((0, 2)), *(past.points for past in old)])
        self._age = np.repeat([scan.stamp - past.stamp for past in old], [len(past.points) for past in old])
        self._youngest = old[-1] if old else None
        self._scans.append(replace(scan, points=_ahead(scan.points, scan.pose.x, scan.pose.y, scan.pose.yaw)))

    def closing(self, edge: Edge) -> NDArray[np.float64]:
        """Speed (P,) [m/s] at which each point, or what it belongs to, has come towards the corridor.

        It is the least that explains where points of 0.2 to 0.5 s ago were, those of what drives along moved on with
        it: their way outwards over their age. 0 for what was hidden then, where nothing was near, for what the spacing
        of the LiDAR's columns explains, and for what counts as standing.
        """
        before = self._youngest
        if before is None:
            return np.zeros(len(edge.points))
        now, then = self._scans[-1], before.pose
        return _closing(
            edge.points, edge.tangent, edge.outwards, edge.gap, edge.along, edge.beside, self._points, self._age,
            (then.x, then.y, then.yaw), before.nearest, (now.pose.x, now.pose.y, now.pose.yaw),
            now.stamp - before.stamp, self._a.lidar_column,
        )  # fmt: skip
