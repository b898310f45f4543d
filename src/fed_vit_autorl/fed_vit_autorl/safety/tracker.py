"""Velocities of LiDAR clusters: a small tracker in the `map` frame, bounded in tracks and in memory."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

MAX_TRACKS = 128
HISTORY = 8
RECENT = 4
GATE_M, SMALL_GATE_M, SMALL_M = 2.5, 0.6, 0.3
FAR_M = 4.0 * GATE_M
FORGET_S = 0.35
PERSON_M, STILL_M_S, REMEMBER_S = 1.0, 0.4, 1.5
RUN_M_S = 4.0  # Euro NCAP's adult runs at 2.2 m/s; what is faster is a part of a vehicle


@dataclass(frozen=True, slots=True, eq=False)
class Motion:
    """What is known of the boxes' motion: velocities (C, 2) in `map` [m/s] over 0.35 s and over 0.15 s, NaN for a box
    that was seen less than three times; `seen` (C,) scans, at most 8. `hidden` (H, 4) are the boxes of those who walked
    and are not seen any more, where the walk leads, and `walk` (H, 2) their velocities.
    """

    velocity: NDArray[np.float64]
    recent: NDArray[np.float64]
    seen: NDArray[np.int64]
    hidden: NDArray[np.float64]
    walk: NDArray[np.float64]


class Tracker:
    """Follows boxes from scan to scan.

    A box's two edges per axis are followed apart, and the velocity of an axis is the smaller of the two when they agree
    in sign, else 0: a part that comes into view moves one edge only, and is not motion. Who walked and is hidden by a
    vehicle that passes, or is one cluster with it, goes on walking for 1.5 s.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._boxes = np.zeros((0, HISTORY, 4))
        self._stamps = np.zeros((0, HISTORY))
        self._count = np.zeros(0, np.int64)
        self._velocity = np.zeros((0, 2))

    @property
    def size(self) -> int:
        """Number of tracks."""
        return len(self._count)

    def update(self, boxes: NDArray[np.float64], stamp: float) -> Motion:
        """Motion of the boxes (C, 4) x_min, y_min, x_max, y_max [m] in `map` that the scan of this stamp [s] shows."""
        boxes = boxes[:MAX_TRACKS]
        track_of = self._associate(boxes, stamp)
        fresh = track_of < 0
        history = np.full((len(boxes), HISTORY, 4), np.nan)
        stamps = np.full((len(boxes), HISTORY), np.nan)
        count = np.zeros(len(boxes), np.int64)
        old = track_of[~fresh]
        history[~fresh, 1:], stamps[~fresh, 1:] = self._boxes[old, :-1], self._stamps[old, :-1]
        count[~fresh] = self._count[old]
        history[:, 0], stamps[:, 0] = boxes, stamp
        count = np.minimum(count + 1, HISTORY)
        velocity, recent = _velocities(history, stamps, count, HISTORY), _velocities(history, stamps, count, RECENT)
        unseen = self._stamps[:, 0] > stamp - np.where(self._walked(), REMEMBER_S, FORGET_S)
        unseen[old] = False
        unseen = np.flatnonzero(unseen)[: MAX_TRACKS - len(boxes)]
        self._boxes = np.concatenate((history, self._boxes[unseen]))
        self._stamps = np.concatenate((stamps, self._stamps[unseen]))
        self._count = np.concatenate((count, self._count[unseen]))
        self._velocity = np.concatenate((np.where(np.isnan(velocity), 0.0, velocity), self._velocity[unseen]))
        hidden = len(boxes) + np.flatnonzero(self._walked()[len(boxes) :])
        walk = self._velocity[hidden]
        way = walk * (stamp - self._stamps[hidden, 0])[:, None]
        return Motion(velocity, recent, count, self._boxes[hidden, 0] + np.concatenate((way, way), axis=1), walk)

    def _associate(self, boxes: NDArray[np.float64], stamp: float) -> NDArray[np.int64]:
        """Track (C,) of each box, -1 for a new one: least total distance of the edges, within the gate."""
        track_of = np.full(len(boxes), -1)
        if not len(boxes) or not self.size:
            return track_of
        age = stamp - self._stamps[:, 0]
        way = self._velocity * age[:, None]
        expected = self._boxes[:, 0] + np.concatenate((way, way), axis=1)
        # Edge by edge (4, C, T): sums over the first axis are those of whole matrices.
        difference = np.abs(boxes.T[:, :, None] - expected.T[:, None, :])
        # The nearer edge of each axis, because the farther one comes and goes with the view.
        cost = np.minimum(difference[:2], difference[2:]).sum(axis=0) + 0.1 * difference.sum(axis=0)
        # Who walks and stands before a vehicle is one cluster with it, but has not become one.
        cost += FAR_M * ((_extent(boxes) > PERSON_M)[:, None] & self._walked())
        rows, columns = linear_sum_assignment(np.minimum(cost, FAR_M))
        exact = (_extent(boxes)[rows] < SMALL_M) | (age[columns] > FORGET_S)
        good = cost[rows, columns] < np.where(exact, SMALL_GATE_M, GATE_M)
        track_of[rows[good]] = columns[good]
        return track_of

    def _walked(self) -> NDArray[np.bool_]:
        """Tracks (T,) of a person's size that had moved for long when they were last seen."""
        person = (_extent(self._boxes[:, 0]) < PERSON_M) & (self._count == HISTORY)
        speed = np.hypot(*self._velocity.T)
        return person & (speed > STILL_M_S) & (speed < RUN_M_S)


def _extent(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """The longer side [m] of boxes (C, 4)."""
    return (boxes[:, 2:] - boxes[:, :2]).max(axis=1)


def _velocities(history: NDArray, stamps: NDArray, count: NDArray, window: int) -> NDArray[np.float64]:
    """(C, 2) m/s: least-squares slopes of the edges over the last `window` boxes, the smaller edge of each axis."""
    used = np.arange(window) < count[:, None]
    time = np.where(used, stamps[:, :window], 0.0)
    edge = np.where(used[..., None], history[:, :window], 0.0)
    n = np.minimum(count, window)
    time_mean = time.sum(axis=1) / n
    edge_mean = edge.sum(axis=1) / n[:, None]
    dt = np.where(used, time - time_mean[:, None], 0.0)
    spread = (dt**2).sum(axis=1)
    known = (count >= 3) & (spread > 0.0)
    slope = np.einsum("ct,cte->ce", dt, edge - edge_mean[:, None]) / np.where(known, spread, 1.0)[:, None]
    low, high = slope[:, :2], slope[:, 2:]
    smaller = np.where(np.abs(low) < np.abs(high), low, high)
    velocity = np.where(low * high > 0.0, smaller, 0.0)
    return np.where(known[:, None], velocity, np.nan)
