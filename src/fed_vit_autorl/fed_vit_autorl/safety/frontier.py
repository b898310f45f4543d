"""How fast the edge of all that is seen comes towards the corridor, whichever clusters it belongs to. In `map`."""

from collections import deque
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fed_vit_autorl.reinforcement.route import Pose, to_local

from .assumptions import Assumptions
from .tracker import STILL_M_S
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
        self._points, self._age = np.zeros((0, 2)), np.zeros(0)
        self._youngest: Past | None = None

    def update(self, scan: Past) -> None:
        """Takes in the latest scan; those of more than half a second ago are forgotten."""
        while self._scans and scan.stamp - self._scans[0].stamp > OLDEST_S:
            self._scans.popleft()
        old = [past for past in self._scans if scan.stamp - past.stamp >= YOUNGEST_S]
        self._points = np.concatenate([np.zeros((0, 2)), *(past.points for past in old)])
        self._age = np.repeat([scan.stamp - past.stamp for past in old], [len(past.points) for past in old])
        self._youngest = old[-1] if old else None
        close = np.hypot(scan.points[:, 0] - scan.pose.x, scan.points[:, 1] - scan.pose.y) < KEPT_M
        self._scans.append(replace(scan, points=scan.points[close]))

    def closing(self, edge: Edge) -> NDArray[np.float64]:
        """Speed (P,) [m/s] at which each point, or what it belongs to, has come towards the corridor.

        It is the least that explains where points of 0.2 to 0.5 s ago were, those of what drives along moved on with
        it: their way outwards over their age. 0 for what was hidden then, where nothing was near, for what the spacing
        of the LiDAR's columns explains, and for what counts as standing.
        """
        before = self._youngest
        if before is None or not len(self._points):
            return np.zeros(len(edge.points))
        now = self._scans[-1]
        offset = self._points[None] - edge.points[:, None]
        ahead = np.einsum("pni,pi->pn", offset, edge.tangent) + edge.along[:, None] * self._age
        out = np.einsum("pni,pi->pn", offset, edge.outwards)
        # What stood in the corridor itself says nothing of what was beside it.
        beside = (np.abs(ahead) < BESIDE_M) & (out > -edge.gap[:, None])
        least = np.where(beside, out / self._age, np.inf).min(axis=1)
        was = edge.points - (edge.along * (now.stamp - before.stamp))[:, None] * edge.tangent
        known = np.isfinite(least) & ~hidden(to_local(was, before.pose), before.nearest)
        spacing = self._a.lidar_column * np.hypot(edge.points[:, 0] - now.pose.x, edge.points[:, 1] - now.pose.y)
        return np.where(known & (least > np.maximum(spacing / OLDEST_S, STILL_M_S)), least, 0.0)
