"""How fast the edge of all that is seen comes towards the corridor, whichever clusters it belongs to. In `map`."""

from collections import deque
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fed_vit_autorl.reinforcement.route import Pose, to_local

from .assumptions import Assumptions
from .tracker import RUN_M_S, STILL_M_S
from .view import hidden

YOUNGEST_S, OLDEST_S = 0.19, 0.52
BESIDE_M = 1.0
KEPT_M = 40.0


@dataclass(frozen=True, slots=True, eq=False)
class Edge:
    """Points (P, 2) [m] that come nearest to a corridor: its direction there, that away from it (P, 2), the lateral
    gap (P,) [m] and the speed (P,) [m/s] along it.
    """

    points: NDArray[np.float64]
    tangent: NDArray[np.float64]
    outwards: NDArray[np.float64]
    gap: NDArray[np.float64]
    along: NDArray[np.float64]


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
        self._points, self._age = np.zeros((2, 0)), np.zeros(0)
        self._youngest: Past | None = None

    def update(self, scan: Past) -> None:
        """Takes in the latest scan; those of more than half a second ago are forgotten."""
        while self._scans and scan.stamp - self._scans[0].stamp > OLDEST_S:
            self._scans.popleft()
        old = [past for past in self._scans if scan.stamp - past.stamp >= YOUNGEST_S]
        self._points = np.concatenate([np.zeros((2, 0)), *(past.points.T for past in old)], axis=1)
        self._age = np.repeat([scan.stamp - past.stamp for past in old], [len(past.points) for past in old])
        self._youngest = old[-1] if old else None
        x, y = to_local(scan.points, scan.pose).T
        near = np.flatnonzero((x > 0.0) & (x * x + y * y < KEPT_M**2))
        self._scans.append(replace(scan, points=scan.points.T.take(near, axis=1).T))  # contiguous coordinates

    def closing(self, edge: Edge) -> NDArray[np.float64]:
        """Speed (P,) [m/s] at which each point, or what it belongs to, has come towards the corridor.

        It is the least that explains where points of 0.2 to 0.5 s ago were, those of what drives along moved on with
        it: their way outwards over their age. 0 for what was hidden then, where nothing was near, for what the spacing
        of the LiDAR's columns explains, and for what counts as standing.
        """
        before = self._youngest
        if before is None:
            return np.zeros(len(edge.points))
        now, (past, age) = self._scans[-1], self._around(edge)
        offset = edge.tangent @ past - (edge.tangent * edge.points).sum(axis=1)[:, None]
        beside = np.abs(offset + edge.along[:, None] * age) < BESIDE_M
        out = edge.outwards @ past - (edge.outwards * edge.points).sum(axis=1)[:, None]
        # What stood in the corridor itself says nothing of what was beside it.
        beside &= out > -edge.gap[:, None]
        least = np.where(beside, out * (1.0 / age), np.inf).min(axis=1, initial=np.inf)
        was = edge.points - (edge.along * (now.stamp - before.stamp))[:, None] * edge.tangent
        known = np.isfinite(least) & ~hidden(to_local(was, before.pose), before.nearest)
        spacing = self._a.lidar_column * np.hypot(edge.points[:, 0] - now.pose.x, edge.points[:, 1] - now.pose.y)
        return np.where(known & (least > np.maximum(spacing / OLDEST_S, STILL_M_S)), least, 0.0)

    def _around(self, edge: Edge) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Past points (2, N) from where somebody may have come to one of the edge's, and their ages (N,) [s]."""
        reach = BESIDE_M + (np.abs(edge.along).max() + RUN_M_S) * OLDEST_S
        low, high = edge.points.min(axis=0) - reach, edge.points.max(axis=0) + reach
        x, y = self._points
        near = np.flatnonzero((x > low[0]) & (x < high[0]) & (y > low[1]) & (y < high[1]))
        return self._points.take(near, axis=1), self._age.take(near)
