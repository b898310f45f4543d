"""Velocities of LiDAR clusters: a small tracker in the `map` frame, bounded in tracks and in memory."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from fed_vit_autorl.compiled import compiled

MAX_TRACKS = 128
HISTORY = 8
RECENT = 4
GATE_M, SMALL_GATE_M, SMALL_M = 2.5, 0.6, 0.3
FAR_M = 4.0 * GATE_M
FORGET_S = 0.35
PERSON_M, STILL_M_S, REMEMBER_S = 1.0, 0.4, 2.0
COLUMN_M = 0.1  # returns of one column of the LiDAR, with their noise, are no farther apart
SURE_M_S = 0.8  # the direction of a slower walk is half noise
HURRY_M_S = 2.2  # Euro NCAP's adult runs at 8 km/h
WALK_BRAKE, CLEAR_SCANS = 2.0, 6  # m/s², own; who walked in so many scans does not stop faster
RUN_M_S = 4.0  # what is faster is a part of a vehicle
DROVE_M_S = 2.0  # what is slower may be noise


_BOXES, _STAMPS, _PLANE, _COUNT = "f8[:, :, ::1]", "f8[:, ::1]", "f8[:, :]", "i8[::1]"


@compiled("f8(f8[:])")
def extent(box):
    """The longer side [m] of a box (4,)."""
    return max(box[2] - box[0], box[3] - box[1])


@compiled(f"f8[:, ::1](f8[:, ::1], f8, {_BOXES}, {_STAMPS}, {_PLANE}, {_COUNT})")
def _costs(boxes, stamp, tracks, stamps, velocity, walked):
    """(C, T) [m] how badly each box fits each track: the distance of the edges, at most `FAR_M`."""
    cost = np.empty((len(boxes), len(tracks)))
    for c in range(len(boxes)):
        wide = extent(boxes[c]) > PERSON_M
        for t in range(len(tracks)):
            age, near, total = stamp - stamps[t, 0], 0.0, 0.0
            for axis in range(2):
                way = velocity[t, axis] * age
                low = abs(boxes[c, axis] - (tracks[t, 0, axis] + way))
                high = abs(boxes[c, axis + 2] - (tracks[t, 0, axis + 2] + way))
                # The nearer edge of each axis, because the farther one comes and goes with the view.
                near += min(low, high)
                total += low + high
            # Who walks and stands before a vehicle is one cluster with it, but has not become one.
            cost[c, t] = FAR_M if wide and walked[t] > 0 else min(near + 0.1 * total, FAR_M)
    return cost


@compiled(f"void(f8[:, ::1], f8, f8[:, ::1], i8[:], i8[:], {_STAMPS}, i8[::1])")
def _assign(boxes, stamp, cost, rows, columns, stamps, track_of):
    """Writes the track of each box for which the assignment found one in the gate."""
    for i in range(len(rows)):
        c, t = rows[i], columns[i]
        exact = extent(boxes[c]) < SMALL_M or stamp - stamps[t, 0] > FORGET_S
        if cost[c, t] < (SMALL_GATE_M if exact else GATE_M):
            track_of[c] = t


@compiled("f8[::1](f8[:, ::1], f8[::1], i8)")
def _velocity(history, stamps, count):
    """(4,) m/s: least-squares slopes of the edges over the last `count` boxes (HISTORY, 4): x and y of those that move
    less, then of those that move more.
    """
    velocity, time, spread = np.zeros(4), stamps[:count] - stamps[0], 0.0
    if count < 3:
        return velocity
    time -= time.sum() / count
    for i in range(count):
        spread += time[i] * time[i]
    if spread <= 0.0:
        return velocity
    for axis in range(2):
        # The mean box needs no taking off, for the times' offsets sum up to 0.
        low, high = 0.0, 0.0
        for i in range(count):
            low += time[i] * (history[i, axis] - history[0, axis])
            high += time[i] * (history[i, axis + 2] - history[0, axis + 2])
        if low * high > 0.0:
            less, more = (low, high) if abs(low) < abs(high) else (high, low)
            velocity[axis], velocity[axis + 2] = less / spread, more / spread
    return velocity


@compiled(
    f"Tuple((f8[:, :, ::1], f8[:, ::1], i8[::1], f8[:, :, ::1], i8[::1], f8[::1]))"
    f"(f8[:, ::1], f8, i8[::1], {_BOXES}, {_STAMPS}, {_COUNT}, {_PLANE}, {_COUNT}, f8[::1])"
)
def _follow(boxes, stamp, track_of, old_boxes, old_stamps, old_count, old_velocity, old_walked, old_drove):
    """Boxes, stamps, number of scans and velocities (2, T, 4) of the tracks, for how many scans they had walked, and
    when they were last seen to drive.

    First come those of the boxes at hand, then those that are not seen now and not forgotten yet.
    """
    seen, free = len(boxes), np.ones(len(old_boxes), np.bool_)
    for c in range(seen):
        if track_of[c] >= 0:
            free[track_of[c]] = False
    for t in range(len(old_boxes)):
        free[t] &= old_stamps[t, 0] > stamp - (REMEMBER_S if old_walked[t] > 0 else FORGET_S)
    kept = np.flatnonzero(free)[: MAX_TRACKS - seen]
    size = seen + len(kept)
    history, stamps = np.zeros((size, HISTORY, 4)), np.full((size, HISTORY), -np.inf)
    count, velocities, walked = np.ones(size, np.int64), np.zeros((2, size, 4)), np.zeros(size, np.int64)
    drove = np.full(size, -np.inf)
    for c in range(seen):
        history[c, 0], stamps[c, 0], t = boxes[c], stamp, track_of[c]
        if t >= 0:
            history[c, 1:], stamps[c, 1:] = old_boxes[t, :-1], old_stamps[t, :-1]
            count[c], walked[c], drove[c] = min(old_count[t] + 1, HISTORY), old_walked[t], old_drove[t]
        for window in range(2):
            velocities[window, c] = _velocity(history[c], stamps[c], min(count[c], RECENT if window else HISTORY))
        if walked[c] >= CLEAR_SCANS:
            # What falls faster are the edges of something else that hides it or is one cluster with it.
            speed = np.hypot(old_velocity[t, 0], old_velocity[t, 1])
            least = max(speed - WALK_BRAKE * (stamp - old_stamps[t, 0]), 0.0)
            if np.hypot(velocities[0, c, 0], velocities[0, c, 1]) < least:
                for axis in range(4):
                    velocities[:, c, axis] = least / speed * old_velocity[t, axis % 2]
        speed = np.hypot(velocities[0, c, 0], velocities[0, c, 1])
        if count[c] == HISTORY and speed > DROVE_M_S and extent(boxes[c]) >= PERSON_M:
            drove[c] = stamp
    for i in range(len(kept)):
        row, t = seen + i, kept[i]
        history[row], stamps[row], count[row] = old_boxes[t], old_stamps[t], old_count[t]
        velocities[0, row, :2], walked[row], drove[row] = old_velocity[t], old_walked[t], old_drove[t]
    return history, stamps, count, velocities, walked, drove


@compiled(f"i8[::1]({_BOXES}, {_COUNT}, {_PLANE}, {_COUNT})")
def _walks(boxes, count, velocity, before):
    """For how many scans (T,) those of a person's size had moved that had done so when last seen, `before` this one.

    A single column of returns is what is left of a vehicle's side at a slant; it moves as the ego does. What was wider
    just now is a part of something else.
    """
    walks = np.zeros(len(boxes), np.int64)
    for t in range(len(boxes)):
        speed = np.hypot(velocity[t, 0], velocity[t, 1])
        if count[t] == HISTORY and STILL_M_S < speed < RUN_M_S:
            narrow, wide = True, False
            for i in range(HISTORY):
                narrow &= extent(boxes[t, i]) <= COLUMN_M
                wide |= i < RECENT and extent(boxes[t, i]) >= PERSON_M
            walks[t] = 0 if narrow or wide else before[t] + 1
    return walks


@compiled(f"Tuple((f8[:, ::1], f8[:, ::1], f8[::1]))(i8, f8, {_BOXES}, {_STAMPS}, {_PLANE}, {_COUNT})")
def _hidden(seen, stamp, boxes, stamps, velocity, walked):
    """Boxes (H, 4), velocities (H, 2) and hurry (H,) of the tracks from `seen` on that walked (see `Motion`)."""
    those = seen + np.flatnonzero(walked[seen:] > 0)
    speed = np.array([np.hypot(velocity[t, 0], velocity[t, 1]) for t in those])
    runs = np.flatnonzero((speed > SURE_M_S) & (speed < HURRY_M_S))
    those, hurry = np.append(those, those[runs]), np.append(np.ones(len(those)), HURRY_M_S / speed[runs])
    gone, walk = np.empty((len(those), 4)), np.empty((len(those), 2))
    for i in range(len(those)):
        t = those[i]
        walk[i] = hurry[i] * velocity[t]
        way = walk[i] * (stamp - stamps[t, 0])
        gone[i, :2], gone[i, 2:] = boxes[t, 0, :2] + way, boxes[t, 0, 2:] + way
    return gone, walk, hurry


@dataclass(frozen=True, slots=True, eq=False)
class Motion:
    """What is known of the boxes' motion: velocities (2, C, 4) in `map` [m/s] over 0.35 s and over 0.15 s, x and y of
    the edges that move less, and of those that move more, 0 for a box that was seen less than three times; `seen` (C,)
    scans, at most 8; `since` (C,) [s] it was last seen to drive, inf for what never was. `hidden` (H, 4) are the boxes
    of those who walked and are not seen any more, where the walk leads, and `walk` (H, 2) their velocities: at the
    speed seen, and, of whoever had a clear direction, once more at a run, for who has just set out is faster than it
    looked: `hurry` (H,) times as fast.
    """

    velocities: NDArray[np.float64]
    seen: NDArray[np.int64]
    since: NDArray[np.float64]
    hidden: NDArray[np.float64]
    walk: NDArray[np.float64]
    hurry: NDArray[np.float64]


class Tracker:
    """Follows boxes from scan to scan.

    A box's two edges per axis are followed apart, and the velocity of an axis is the smaller of the two when they agree
    in sign, else 0: a part that comes into view moves one edge only, and is not motion. Who walked and is hidden by a
    vehicle that passes, or is one cluster with it, goes on walking for 2 s.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        # Boxes (T, HISTORY, 4) and stamps (T, HISTORY) of each track, the latest first.
        self._boxes, self._stamps = np.zeros((0, HISTORY, 4)), np.zeros((0, HISTORY))
        self._count, self._velocity = np.zeros(0, np.int64), np.zeros((0, 2))
        self._walked, self._drove = np.zeros(0, np.int64), np.zeros(0)

    @property
    def size(self) -> int:
        """Number of tracks."""
        return len(self._count)

    def update(self, boxes: NDArray[np.float64], stamp: float) -> Motion:
        """Motion of the boxes (C, 4) x_min, y_min, x_max, y_max [m] in `map` that the scan of this stamp [s] shows."""
        boxes = np.ascontiguousarray(boxes[:MAX_TRACKS], np.float64)
        track_of = np.full(len(boxes), -1)
        if len(boxes) and self.size:
            cost = _costs(boxes, stamp, self._boxes, self._stamps, self._velocity, self._walked)
            rows, columns = linear_sum_assignment(cost)
            _assign(boxes, stamp, cost, rows, columns, self._stamps, track_of)
        before = self._boxes, self._stamps, self._count, self._velocity, self._walked, self._drove
        history, stamps, count, velocities, walked, self._drove = _follow(boxes, stamp, track_of, *before)
        self._boxes, self._stamps, self._count = history, stamps, count
        self._velocity = velocities[0, :, :2]
        self._walked = _walks(history, count, self._velocity, walked)
        hidden, walk, hurry = _hidden(len(boxes), stamp, history, stamps, self._velocity, self._walked)
        seen = len(boxes)
        return Motion(velocities[:, :seen], count[:seen], stamp - self._drove[:seen], hidden, walk, hurry)
