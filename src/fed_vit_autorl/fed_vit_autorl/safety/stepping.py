"""Who steps out before or beside what stands, and is one cluster with it: a place that was free is taken. In `map`."""

import math

import numpy as np
from numpy.typing import NDArray

from fed_vit_autorl.compiled import compiled

from .recent import OLDEST_S, Recent
from .tracker import PERSON_M, RUN_M_S, STILL_M_S
from .view import behind

FREE_M = 0.3  # so far behind a place the view has to end for it to be free
SAME_M, SPACING = 0.15, 0.6  # or so much of the distance of two columns: one of the last scans has hit nearer
SIDE_M = 0.6  # along the corridor, that somebody comes from who steps out
BEFORE_S = 0.4  # what was in a place so long ago and is there now has stayed
LONG_M, DRIVE_M_S = 4.0, 14.0  # of what drives past, at 50 km/h
AROUND_M = 1.0 + DRIVE_M_S * OLDEST_S

_POINTS, _NUMBERS = "float64[:, :]", "float64[:]"


@compiled(f"int64[::1]({_POINTS}, float64, float64, float64)")
def _around(points, x, y, reach):
    """Indices of the points (N, 2) in the square around a place."""
    found, count = np.empty(len(points), np.int64), 0
    for i in range(len(points)):
        if abs(points[i, 0] - x) < reach and abs(points[i, 1] - y) < reach:
            found[count] = i
            count += 1
    return found[:count]


@compiled(f"boolean(float64[:], float64, {_POINTS}, int64[:])")
def _taken(place, reach, points, those):
    """Whether one of those points is less than `reach` from a place."""
    square = np.inf
    for i in those:
        square = min(square, (points[i, 0] - place[0]) ** 2 + (points[i, 1] - place[1]) ** 2)
    return square < reach**2


@compiled(f"boolean(float64, float64, float64, {_POINTS}, {_POINTS}, {_POINTS})")
def _fresh(x, y, reach, past, poses, views):
    """Whether a place was seen free and nothing was there; what lies behind something nearer now, isn't looked at."""
    last = len(poses) - 1
    if behind(x, y, poses[last, 0], poses[last, 1], poses[last, 2], views[last]) <= -FREE_M:
        return False
    for scan in range(last):
        if behind(x, y, poses[scan, 0], poses[scan, 1], poses[scan, 2], views[scan]) > FREE_M:
            return len(_around(past, x, y, reach)) == 0
    return False


@compiled(
    f"float64({_NUMBERS}, float64, float64, float64, boolean, {_POINTS}, {_NUMBERS}, {_POINTS}, {_NUMBERS}, {_NUMBERS})"
)
def _least(point, heading, side, reach, long, past, age, present, pose, view):
    """Least speed [m/s] inwards with which a past point that has gone may have come to a fresh one; inf without one.

    What has been in its place all the time, though it may be hidden now, has not come from there.
    """
    those = _around(past, point[0], point[1], AROUND_M)
    here = _around(present, point[0], point[1], AROUND_M)
    old, least, cos, sin = those[age[those] > BEFORE_S], np.inf, math.cos(heading), math.sin(heading)
    for n in those:
        dx, dy = past[n, 0] - point[0], past[n, 1] - point[1]
        along, out = dx * cos + dy * sin, side * (dy * cos - dx * sin)
        far = abs(along) > SIDE_M
        if far and (not long or abs(along) > SIDE_M + DRIVE_M_S * age[n]):
            continue
        if not 0.0 < out + (SAME_M if far else 0.0) < least * age[n]:
            continue
        hidden = behind(past[n, 0], past[n, 1], pose[0], pose[1], pose[2], view) < -FREE_M
        stays = hidden or _taken(past[n], reach, present, here)
        if not (stays and _taken(past[n], reach, past, old)):
            least = out / age[n]
    return least


@compiled(
    f"float64[::1]({_POINTS}, {_NUMBERS}, {_NUMBERS}, {_POINTS}, {_NUMBERS}, {_POINTS}, {_POINTS}, {_POINTS}, float64)"
)
def _stepped(points, heading, side, past, age, present, poses, views, column):
    """See `stepped`."""
    speed, reach, last = np.zeros(len(points)), np.zeros(len(points)), len(poses) - 1
    fresh = np.zeros(len(points), np.bool_)
    for p in range(len(points)):
        x, y = points[p, 0], points[p, 1]
        reach[p] = max(SAME_M, SPACING * column * math.hypot(x - poses[last, 0], y - poses[last, 1]))
        fresh[p] = _fresh(x, y, reach[p], past, poses, views)
    those = np.flatnonzero(fresh)
    for p in those:
        long = False
        for q in those:
            long |= PERSON_M < math.hypot(points[q, 0] - points[p, 0], points[q, 1] - points[p, 1]) < LONG_M
        least = _least(points[p], heading[p], side[p], reach[p], long, past, age, present, poses[last], views[last])
        if STILL_M_S < least < RUN_M_S:
            speed[p] = least
    return speed


def stepped(
    recent: Recent, points: NDArray[np.float64], heading: NDArray[np.float64], side: NDArray[np.float64], column: float
) -> NDArray[np.float64]:  # fmt: skip
    """Speed (P,) [m/s] towards the corridor of whoever is at each of the points (P, 2) of what stands; 0: nobody.

    A point counts if its place was seen free 0.2 to 0.5 s ago. The speed is the least with which what has gone since
    then, from up to 0.6 m along the corridor, may have come there; where so much is taken that a vehicle drives past,
    also from as far as that drove. `heading` (P,) [rad] is the corridor's direction there, `side` (P,) +1 for points to
    the left of it and else -1, `column` [rad] the spacing of the LiDAR's columns.
    """
    if not recent.old or not len(points):
        return np.zeros(len(points))
    seen = [*recent.old, recent.latest]
    poses = np.array([(past.pose.x, past.pose.y, past.pose.yaw) for past in seen])
    views = np.array([past.nearest for past in seen])
    return _stepped(points, heading, side, recent.points, recent.age, seen[-1].points, poses, views, column)
