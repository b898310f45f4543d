"""The LiDAR's last half second, in `map`: what was seen where, and how far the view went."""

import math
from collections import deque
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fed_vit_autorl.compiled import compiled
from fed_vit_autorl.reinforcement.route import Pose

YOUNGEST_S, OLDEST_S = 0.19, 0.52
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


@dataclass(frozen=True, slots=True, eq=False)
class Past:
    """Obstacles (N, 2) of a scan, seen from `pose` at `stamp` [s], and where its view ends per bin (see `view`)."""

    points: NDArray[np.float64]
    pose: Pose
    stamp: float
    nearest: NDArray[np.float64]


class Recent:
    """The scan at hand and those of 0.2 to 0.5 s ago; of each, what lay ahead of the ego."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._scans: deque[Past] = deque()
        self.old: list[Past] = []
        self.points, self.age = np.zeros((0, 2)), np.zeros(0)  # of the old ones, each with its age [s]

    @property
    def latest(self) -> Past:
        """The scan at hand; there has to be one."""
        return self._scans[-1]

    def update(self, scan: Past) -> None:
        """Takes in the latest scan; those of more than half a second ago are forgotten."""
        while self._scans and scan.stamp - self._scans[0].stamp > OLDEST_S:
            self._scans.popleft()
        old = self.old = [past for past in self._scans if scan.stamp - past.stamp >= YOUNGEST_S]
        self.points = np.concatenate([np.zeros((0, 2)), *(past.points for past in old)])
        self.age = np.repeat([scan.stamp - past.stamp for past in old], [len(past.points) for past in old])
        self._scans.append(replace(scan, points=_ahead(scan.points, scan.pose.x, scan.pose.y, scan.pose.yaw)))
