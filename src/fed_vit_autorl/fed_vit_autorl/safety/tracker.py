"""Velocities of LiDAR clusters: a small tracker in the `map` frame, bounded in tracks and in memory."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

MAX_TRACKS = 128
HISTORY = 8
RECENT = 4
WINDOWS = np.array([[HISTORY], [RECENT]])
GATE_M, SMALL_GATE_M, SMALL_M = 2.5, 0.6, 0.3
FAR_M = 4.0 * GATE_M
FORGET_S = 0.35
PERSON_M, STILL_M_S, REMEMBER_S = 1.0, 0.4, 1.5
COLUMN_M = 0.1  # returns of one column of the LiDAR, with their noise, are no farther apart
SURE_M_S = 0.8  # the direction of a slower walk is half noise
HURRY_M_S = 2.2  # Euro NCAP's adult runs at 8 km/h
RUN_M_S = 4.0  # what is faster is a part of a vehicle


@dataclass(frozen=True, slots=True, eq=False)
class Motion:
    """What is known of the boxes' motion: velocities (2, C, 2) in `map` [m/s] over 0.35 s and over 0.15 s, 0 for a box
    that was seen less than three times; `seen` (C,) scans, at most 8. `hidden` (H, 4) are the boxes of those who
    walked and are not seen any more, where the walk leads, and `walk` (H, 2) their velocities: at the speed seen, and,
    of whoever had a clear direction, once more at a run, for who has just set out is faster than it looked: `hurry`
    (H,) times as fast.
    """

    velocities: NDArray[np.float64]
    seen: NDArray[np.int64]
    hidden: NDArray[np.float64]
    walk: NDArray[np.float64]
    hurry: NDArray[np.float64]


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
        # The last track is nobody's: what is new goes on from it. Tracks are the last axis, so that few numpy calls do.
        self._boxes = np.zeros((HISTORY, 4, 1))
        self._stamps = np.full((HISTORY, 1), -np.inf)
        self._count = np.zeros(1, np.int64)
        self._velocity = np.zeros((2, 1))
        self._walked = np.zeros(1, bool)

    @property
    def size(self) -> int:
        """Number of tracks."""
        return len(self._count) - 1

    def update(self, boxes: NDArray[np.float64], stamp: float) -> Motion:
        """Motion of the boxes (C, 4) x_min, y_min, x_max, y_max [m] in `map` that the scan of this stamp [s] shows."""
        boxes = np.ascontiguousarray(boxes[:MAX_TRACKS].T)
        seen = boxes.shape[1]
        track_of = self._associate(boxes, stamp)
        history = np.concatenate((boxes[None], self._boxes[:-1].take(track_of, axis=2)))
        stamps = np.concatenate((np.full((1, seen), stamp), self._stamps[:-1].take(track_of, axis=1)))
        count = np.minimum(self._count.take(track_of) + 1, HISTORY)
        velocities = _velocities(history - boxes, stamps - stamp, count)
        unseen = self._stamps[0] > stamp - np.where(self._walked, REMEMBER_S, FORGET_S)
        unseen[track_of] = False
        kept = np.concatenate((np.flatnonzero(unseen)[: MAX_TRACKS - seen], [-1]))
        self._boxes = np.concatenate((history, self._boxes.take(kept, axis=2)), axis=2)
        self._stamps = np.concatenate((stamps, self._stamps.take(kept, axis=1)), axis=1)
        self._count = np.concatenate((count, self._count.take(kept)))
        self._velocity = np.concatenate((velocities[0], self._velocity.take(kept, axis=1)), axis=1)
        self._walked = self._walks()
        hidden = seen + np.flatnonzero(self._walked[seen:])
        speed = np.hypot(*self._velocity.take(hidden, axis=1))
        runs = np.flatnonzero((speed > SURE_M_S) & (speed < HURRY_M_S))
        hurry = np.concatenate((np.ones(len(hidden)), HURRY_M_S / speed.take(runs)))
        hidden = np.concatenate((hidden, hidden.take(runs)))
        walk = hurry * self._velocity.take(hidden, axis=1)
        way = walk * (stamp - self._stamps[0].take(hidden))
        gone = self._boxes[0].take(hidden, axis=1) + np.concatenate((way, way))
        return Motion(velocities.transpose(0, 2, 1), count, gone.T, walk.T, hurry)

    def _associate(self, boxes: NDArray[np.float64], stamp: float) -> NDArray[np.int64]:
        """Track (C,) of each of the boxes (4, C), -1 for a new one: least total distance of the edges, in the gate."""
        track_of = np.full(boxes.shape[1], -1)
        if not len(track_of) or not self.size:
            return track_of
        age = stamp - self._stamps[0, :-1]
        way = self._velocity[:, :-1] * age
        expected = self._boxes[0, :, :-1] + np.concatenate((way, way))
        # Edge by edge (4, C, T): sums over the first axis are those of whole matrices.
        difference = np.abs(boxes[:, :, None] - expected[:, None, :])
        # The nearer edge of each axis, because the farther one comes and goes with the view.
        cost = np.minimum(difference[:2], difference[2:]).sum(axis=0) + 0.1 * difference.sum(axis=0)
        # Who walks and stands before a vehicle is one cluster with it, but has not become one.
        extent = _extent(boxes)
        cost += (extent > PERSON_M)[:, None] * (FAR_M * self._walked[:-1])
        rows, columns = linear_sum_assignment(np.minimum(cost, FAR_M))
        exact = (extent[rows] < SMALL_M) | (age[columns] > FORGET_S)
        good = cost[rows, columns] < np.where(exact, SMALL_GATE_M, GATE_M)
        track_of[rows[good]] = columns[good]
        return track_of

    def _walks(self) -> NDArray[np.bool_]:
        """Tracks (T,) of a person's size that had moved for long when they were last seen.

        A single column of returns is what is left of a vehicle's side at a slant; it moves as the ego does.
        """
        person = (_extent(self._boxes[0]) < PERSON_M) & (self._count == HISTORY)
        person &= (self._boxes[:, 2:] - self._boxes[:, :2]).max(axis=(0, 1)) > COLUMN_M
        speed = np.hypot(*self._velocity)
        return person & (speed > STILL_M_S) & (speed < RUN_M_S)


def _extent(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """The longer side [m] of boxes (4, C)."""
    return np.maximum(*(boxes[2:] - boxes[:2]))


def _velocities(
    history: NDArray[np.float64], time: NDArray[np.float64], count: NDArray[np.int64]
) -> NDArray[np.float64]:
    """(2, 2, C) m/s, by window and axis: least-squares slopes of the edges over the last boxes, of the smaller edge.

    Args:
        history: (HISTORY, 4, C) boxes seen from the last one [m], what is beyond `count` finite.
        time: (HISTORY, C) stamps seen from the last one [s].
        count: (C,) boxes that are there.
    """
    n = np.minimum(count, WINDOWS)
    used = np.arange(HISTORY)[:, None] < n[:, None]
    time = np.where(used, time, 0.0)
    dt = np.where(used, time - (time.sum(axis=1) / n)[:, None], 0.0)
    spread = (dt * dt).sum(axis=1)
    known = (count >= 3) & (spread > 0.0)
    # The mean box needs no taking off, for the times' offsets sum up to 0.
    slope = (dt[:, :, None] * history).sum(axis=1) / np.where(known, spread, 1.0)[:, None]
    low, high = slope[:, :2], slope[:, 2:]
    smaller = np.where(np.abs(low) < np.abs(high), low, high)
    return np.where(known[:, None] & (low * high > 0.0), smaller, 0.0)
