"""What is known of all that is around, by label: a table (L, 14) that grows from the clusters of a scan.

Row 0 is what belongs to no cluster. Columns: two velocities of each edge, in how many scans it was seen, whether it is
of a person's size, whether it is known to stand, whether it drove a moment ago, how many times faster it may be than it
looked, and the margin [m] around a corridor within which it matters.
"""

import numpy as np

from fed_vit_autorl.compiled import compiled

from .lidar import thin
from .tracker import HISTORY, PERSON_M, STILL_M_S, extent
from .view import TOLERANCE_M, behind, view

FAST, FRESH = 0, 4  # velocities [m/s] over 0.35 s and over 0.15 s, as in `Motion`, begin here
SEEN, SMALL, STANDS, DROVE, HURRY, MARGIN, COLUMNS = range(8, 15)
HESITATES_S = 2.0
MAX_EXTENT_M = 13.0
SOLID = 2.0
TRUSTED_SCANS = 4
CROSSING_SCANS = 6
REGION_M = 12.0

KNOWN = "float64[:, ::1]"
"""The table's type for signatures."""

_SEEN, _PLACE = "Array(float32, 2, 'A', readonly=True)", "UniTuple(float64, 3)"


@compiled(f"Tuple(({KNOWN}, boolean[::1]))(float64[:, :], float64[:], float64[:, :, :], int64[:], float64[:], float64)")
def believed(outlines, solidity, velocities, scans, since, touching):
    """What is known of C clusters, and whether each is there at all (1 + C,): solid ones at once, meagre ones in their
    second scan, spray never.

    Velocities of what is new, or too long to be a vehicle, count as 0: of a long wall both ends move with the range of
    sight.
    """
    size = len(outlines) + 1
    known, there = np.zeros((size, COLUMNS)), np.zeros(size, np.bool_)
    known[0, HURRY], known[0, MARGIN], there[0] = 1.0, touching, True
    for c in range(1, size):
        length, row = extent(outlines[c - 1]), known[c]
        row[SEEN], row[HURRY], row[MARGIN] = scans[c - 1], 1.0, touching
        row[SMALL] = 1.0 if length < PERSON_M else 0.0
        still = np.hypot(velocities[0, c - 1, 0], velocities[0, c - 1, 1]) <= STILL_M_S
        row[STANDS] = 1.0 if still and scans[c - 1] >= HISTORY else 0.0
        row[DROVE] = 1.0 if since[c - 1] < HESITATES_S else 0.0
        there[c] = solidity[c - 1] >= SOLID or (solidity[c - 1] >= 1.0 and scans[c - 1] > 1)
        if length <= MAX_EXTENT_M and scans[c - 1] >= TRUSTED_SCANS:
            for axis in range(4):
                row[FAST + axis], row[FRESH + axis] = velocities[0, c - 1, axis], velocities[1, c - 1, axis]
        # What stands still matters where the body may touch it; only who moves has to be seen coming.
        if np.hypot(row[FAST], row[FAST + 1]) > STILL_M_S:
            row[MARGIN] = REGION_M
    return known, there


@compiled(
    "Tuple((float64[:, ::1], int64[::1], float64[::1]))(float64[:, ::1], int64[:], int64[:], float64[:], boolean[:])"
)
def kept_points(points, labels, bins, distance, there):
    """Points (K, 2) and labels (K,) of those who are there, one per cell, and how far the view of all of them goes."""
    those = np.flatnonzero(there[labels])
    nearest, kept = view(bins[those], distance[those]), those[thin(points[those])]
    return points[kept], labels[kept], nearest


@compiled(f"float64[:, ::1](float64[:, :], int64[:], {KNOWN}, {_SEEN}, int64[:], float64)")
def low_points(points, labels, known, seen, seen_labels, height):
    """Points (N, 3) of what stands and is lower than `height` [m] as a whole, which is the third coordinate."""
    top = np.full(len(known), -np.inf)
    for i in range(len(seen)):
        top[seen_labels[i]] = max(top[seen_labels[i]], seen[i, 2])
    low, count = np.empty((len(points), 3)), 0
    for i in range(len(points)):
        label = labels[i]
        if known[label, STANDS] > 0.0 and top[label] < height:
            low[count, 0], low[count, 1], low[count, 2] = points[i, 0], points[i, 1], top[label]
            count += 1
    return low[:count]


@compiled(f"Tuple((float64[:, ::1], {KNOWN}))(float64[:, :], float64[:, :], float64[:], {_PLACE}, float64[:])")
def walking(places, walks, hurry, pose, nearest):
    """Places (W, 2) of those who walk and are not seen now, and what is known of each; without those whose place is in
    view and empty.
    """
    there, known, count = np.empty((len(places), 2)), np.zeros((len(places), COLUMNS)), 0
    for w in range(len(places)):
        if behind(places[w, 0], places[w, 1], pose[0], pose[1], pose[2], nearest) >= TOLERANCE_M:
            continue
        row = known[count]
        there[count] = places[w]
        for axis in range(4):
            row[FAST + axis] = row[FRESH + axis] = walks[w, axis % 2]
        row[SEEN], row[SMALL], row[HURRY], row[MARGIN] = CROSSING_SCANS, 1.0, hurry[w], REGION_M
        count += 1
    return there[:count], known[:count]


def standing(touching):
    """What is known (1, 14) of what stands and is not seen now, and matters within `touching` [m]."""
    known = np.zeros((1, COLUMNS))
    known[0, [SEEN, HURRY, MARGIN]] = HISTORY, 1.0, touching
    return known
