"""What the LiDAR shows around the ego: obstacles kept in `map`, their motion, and what a corridor makes of them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fed_vit_autorl.compiled import compiled
from fed_vit_autorl.data.sample import EgoState
from fed_vit_autorl.reinforcement.route import Pose, to_local, to_map

from .assumptions import Assumptions
from .corridor import WAY, Corridor, X, Y, contacts
from .frontier import Edge, closing
from .lidar import Obstacles, boxes, extract, thin
from .recent import Past, Recent
from .rules import Hazards
from .stepping import stepped
from .tracker import HISTORY, PERSON_M, RUN_M_S, STILL_M_S, Tracker, extent
from .types import Scan
from .view import BINS, TOLERANCE_M, empty, sight, view

MAX_EXTENT_M = 13.0
SOLID = 2.0
TRUSTED_SCANS = 4
CROSSING_SCANS = 6
REGION_M = 12.0
VIEW_NOISE = 0.05
EDGE_M, PART_EDGE_M = 2.5, 4.0
STEPPING_S = 0.2  # an edge is not found in every scan


@compiled(
    "Tuple((float64[:, :, ::1], int64[::1], boolean[::1], boolean[::1], boolean[::1], float64[::1]))"
    "(float64[:, :], float64[:], float64[:, :, :], int64[:], float64)"
)
def _believed(outlines, solidity, velocities, scans, touching):
    """What is believed of C clusters, by label (0: none): velocities (2, 1 + C, 2), scans, whether it is small, whether
    it is known to stand, whether it is there at all (solid ones at once, meagre ones in their second scan, spray
    never), and the margin [m] around the corridor within which it matters.

    Velocities of what is new, or too long to be a vehicle, count as 0: of a long wall both ends move with the range
    of sight.
    """
    size = len(outlines) + 1
    trusted, seen, margin = np.zeros((2, size, 2)), np.zeros(size, np.int64), np.full(size, touching)
    small, stands, there = np.zeros(size, np.bool_), np.zeros(size, np.bool_), np.zeros(size, np.bool_)
    there[0] = True
    for c in range(1, size):
        length, seen[c] = extent(outlines[c - 1]), scans[c - 1]
        small[c] = length < PERSON_M
        still = np.hypot(velocities[0, c - 1, 0], velocities[0, c - 1, 1]) <= STILL_M_S
        stands[c] = still and seen[c] >= HISTORY
        there[c] = solidity[c - 1] >= SOLID or (solidity[c - 1] >= 1.0 and seen[c] > 1)
        if length <= MAX_EXTENT_M and seen[c] >= TRUSTED_SCANS:
            for window in range(2):
                for axis in range(2):
                    trusted[window, c, axis] = velocities[window, c - 1, axis]
        # What stands still matters where the body may touch it; only who moves has to be seen coming.
        if np.hypot(trusted[0, c, 0], trusted[0, c, 1]) > STILL_M_S:
            margin[c] = REGION_M
    return trusted, seen, small, stands, there, margin


@compiled("int64[::1](float64[:, :], int64[:], float64[:], float64[:, :])")
def _near(points, labels, margin, poses):
    """Indices of the points (N, 2) in the rectangle around the poses, widened by the margin of their label."""
    low_x, high_x, low_y, high_y = np.inf, -np.inf, np.inf, -np.inf
    for k in range(len(poses)):
        low_x, high_x = min(low_x, poses[k, X]), max(high_x, poses[k, X])
        low_y, high_y = min(low_y, poses[k, Y]), max(high_y, poses[k, Y])
    near, count = np.empty(len(points), np.int64), 0
    for i in range(len(points)):
        x, y, wide = points[i, 0], points[i, 1], margin[labels[i]]
        if low_x - wide < x < high_x + wide and low_y - wide < y < high_y + wide:
            near[count] = i
            count += 1
    return near[:count]


@compiled("Tuple((int64[::1], int64[::1], float64[::1]))(int64[:], int64, float64[:], float64[:], float64[:])")
def _parts(labels, count, way, gap, steps):
    """Rows, ascending, of what is near, for each the index of its point with the least gap, and its way.

    A row is a cluster's label, or `count` more for whoever steps out of it, at one of its points with a speed.
    """
    reach, nearest = np.full(2 * count, np.inf), np.full(2 * count, -1)
    for i in range(len(labels)):
        label = labels[i]
        reach[label] = min(reach[label], way[i])
        if nearest[label] < 0 or gap[i] < gap[nearest[label]]:
            nearest[label] = i
        row = label + count
        if steps[i] > 0.0 and (nearest[row] < 0 or gap[i] < gap[nearest[row]]):
            nearest[row] = i
    rows = np.flatnonzero(nearest >= 0)
    return rows, nearest[rows], reach[rows]


GAP, ABREAST, ALONG, CLOSING, HEADING, SIDE, PERSON, BESIDE, EDGE = range(9)


@compiled(
    "float64[:, ::1](int64[:], int64[:], float64[:], int64, float64[:, :], float64[:], float64[:], float64[:, :, ::1], "
    "int64[:], boolean[:], float64[:], float64)"
)
def _motion(rows, first, way, count, met, steps, edges, velocities, seen, small, hurry, ego_speed):
    """(9, R): of each row its gap, way abreast and speeds along and towards the corridor as in `Hazards`, as far as
    clusters tell; the corridor's direction [rad] there and the side it is on; whether it is of a person's size, whether
    its edge counts, and the speed of that, NaN while unknown.
    """
    found = np.zeros((9, len(rows)))
    for r in range(len(rows)):
        _, gap, abreast, heading, side = met[:, first[r]]
        label = rows[r] if rows[r] < count else 0
        cos, sin = np.cos(heading), np.sin(heading)
        along, closing = np.inf, np.inf
        for window in range(2):
            x, y = velocities[window, label, 0], velocities[window, label, 1]
            along = min(along, x * cos + y * sin)
            # A person gives too few returns for what it did in the last four scans alone.
            if window == 0 or not small[label]:
                closing = min(closing, side * (x * sin - y * cos))
        # Edges seen at a slant jitter sideways: who crosses is believed after a few scans, and above the jitter. A
        # person shows no slant.
        jitter = 0.0 if small[label] else VIEW_NOISE * abs(along - ego_speed)
        if closing <= STILL_M_S * hurry[label] + jitter or seen[label] < CROSSING_SCANS:
            closing = 0.0
        # What turns or steps out from beside shows it in its edge first; who comes towards the ego shows ever more.
        beside = (
            way[r] == np.inf
            and gap < (EDGE_M if rows[r] < count else PART_EDGE_M)
            and (along > -STILL_M_S or small[label])
            and abreast > 0.0
        )
        edge = edges[rows[r]] if rows[r] < count else steps[first[r]]
        person = 1.0 if small[label] else 0.0
        row = gap, abreast, along, closing, heading, side, person, 1.0 if beside else 0.0, edge
        for i in range(9):
            found[i, r] = row[i]
    return found


@compiled("Tuple((float64[::1], float64[::1], boolean[::1]))(float64[:, ::1])")
def _with_edges(found):
    """Speeds (R,) along and towards the corridor, and who counts as a person, with what the edges tell."""
    along, closing, person = found[ALONG].copy(), found[CLOSING].copy(), found[PERSON] > 0.0
    for r in range(found.shape[1]):
        edge = found[EDGE, r] if found[BESIDE, r] > 0.0 else 0.0
        closing[r] = max(closing[r], edge)
        person[r] |= edge > 0.0 and along[r] < STILL_M_S
        if abs(along[r]) < STILL_M_S:
            along[r] = 0.0
    return along, closing, person


@compiled("float64(float64[:, :], float64, float64, float64, float64[:], float64, float64)")
def _hidden_way(poses, x, y, yaw, nearest, front, blocked):
    """Way [m] of the front at the first of the poses before `blocked` that is hidden from a view at x, y, yaw."""
    cos, sin = np.cos(yaw), np.sin(yaw)
    for pose in poses:
        way, dx, dy = pose[WAY] - front, pose[X] - x, pose[Y] - y
        if 0.0 < way < blocked:
            distance, end = sight(dx * cos + dy * sin, dy * cos - dx * sin, nearest)
            if distance > end + TOLERANCE_M:
                return way
    return np.inf


@dataclass(frozen=True, slots=True, eq=False)
class Walker:
    """Who was seen to step out at `stamp` [s]: the place (2,) [m] and the velocity (2,) [m/s] in `map`."""

    stamp: float
    place: NDArray[np.float64]
    velocity: NDArray[np.float64]

    def at(self, stamp: float) -> NDArray[np.float64]:
        """Where the walk leads."""
        return self.place + (stamp - self.stamp) * self.velocity


class Surroundings:
    """The latest scan's obstacles; dead-reckoned with the odometry until the next scan."""

    def __init__(self, base_from_lidar: NDArray[np.float64], assumptions: Assumptions) -> None:
        self._base_from_lidar, self._a = base_from_lidar, assumptions
        self._tracker, self._recent = Tracker(), Recent()
        self.forget()

    def forget(self) -> None:
        """Nothing is known any more."""
        self._tracker.reset()
        self._recent.reset()
        self._looked: tuple[Scan | None, Obstacles | None] = (None, None)
        self._points, self._labels = np.zeros((0, 2)), np.zeros(0, np.int64)
        self._margin = np.zeros(0)
        self._velocities = np.zeros((2, 1, 2))
        self._seen, self._small, self._stands = np.zeros(1, np.int64), np.zeros(1, bool), np.zeros(1, bool)
        self._hurry = np.ones(1)
        self._pose, self._nearest = Pose(0.0, 0.0, 0.0), np.full(BINS, np.inf)
        self._edges, self._steps = np.zeros(1), None
        self._stepping: list[Walker] = []

    def look(self, scan: Scan) -> Obstacles:
        """What the scan shows, worked out once: most of the work, and none of it has to wait for the next tick."""
        if self._looked[0] is not scan:
            self._looked = scan, extract(scan.points, self._base_from_lidar, self._a)
        return self._looked[1]

    def update(self, scan: Scan, ego: EgoState) -> Obstacles:
        """Takes a scan in; `ego` is the state at the scan's stamp."""
        found = self.look(scan)
        self._pose = Pose(*ego.position[:2], ego.yaw)
        points = to_map(found.points[:, :2], self._pose)
        outlines = boxes(points, found.order, found.start)
        motion = self._tracker.update(outlines, scan.stamp)
        touching = self._a.front + self._a.half_width + self._a.lateral_clearance
        believed = _believed(outlines, found.solidity, motion.velocities, motion.seen, touching)
        self._velocities, self._seen, self._small, self._stands, there, self._margin = believed
        self._hurry = np.ones(len(self._seen))
        kept = np.flatnonzero(there.take(found.labels))
        self._nearest = view(found.bins.take(kept), found.distance.take(kept))
        kept = kept[thin(points.take(kept, axis=0))]
        self._points, self._labels = points.take(kept, axis=0), found.labels.take(kept)
        self._recent.update(Past(self._points, self._pose, scan.stamp, self._nearest))
        clusters = len(self._seen)
        self._stepping = [walker for walker in self._stepping if scan.stamp - walker.stamp <= STEPPING_S]
        places = [walker.at(scan.stamp) for walker in self._stepping]
        places += list(0.5 * (motion.hidden[:, :2] + motion.hidden[:, 2:]))
        if places:
            walks = np.array([walker.velocity for walker in self._stepping] + list(motion.walk))
            self._remember(np.array(places), walks, np.concatenate((np.ones(len(self._stepping)), motion.hurry)))
        self._steps = None
        self._edges = np.full(len(self._seen), np.nan)
        self._edges[clusters:] = 0.0  # of who is not seen there is no edge
        return found

    def _remember(self, places: NDArray[np.float64], walks: NDArray[np.float64], hurry: NDArray[np.float64]) -> None:
        """Adds who walks and is not seen now, unless the place is in view and empty, as clusters of their own."""
        there = ~empty(to_local(places, self._pose), self._nearest)
        labels = len(self._seen) + np.arange(np.count_nonzero(there))
        self._points = np.concatenate((self._points, places[there]))
        self._labels = np.concatenate((self._labels, labels))
        walk = walks[None, there]
        self._velocities = np.concatenate((self._velocities, np.concatenate((walk, walk))), axis=1)
        self._seen = np.concatenate((self._seen, np.full(len(labels), CROSSING_SCANS)))
        self._small = np.concatenate((self._small, np.ones(len(labels), bool)))
        self._stands = np.concatenate((self._stands, np.zeros(len(labels), bool)))
        self._hurry = np.concatenate((self._hurry, hurry[there]))
        self._margin = np.concatenate((self._margin, np.full(len(labels), REGION_M)))

    def hazards(self, corridor: Corridor, ego_speed: float) -> Hazards:
        """What of it matters to the corridor: a row per cluster that is near it or is stepped out of.

        Edges and steps are looked for once per scan, for the first way that is judged.
        """
        near = _near(self._points, self._labels, self._margin, corridor.poses)
        points, labels = self._points.take(near, axis=0), self._labels.take(near)
        met, count, first_way = contacts(corridor, points, self._a), len(self._seen), self._steps is None
        if first_way:
            self._steps = np.zeros(len(self._points))
            beside = np.flatnonzero(self._stands.take(labels) & (met.gap < PART_EDGE_M) & np.isinf(met.way))
            places = points.take(beside, axis=0), met.heading.take(beside), met.side.take(beside)
            self._steps[near[beside]] = stepped(self._recent, *places, self._a.lidar_column)
        steps = self._steps.take(near)
        rows, first, way = _parts(labels, count, met.way, met.gap, steps)
        known = self._velocities, self._seen, self._small, self._hurry
        found = _motion(rows, first, way, count, met.table, steps, self._edges, *known, ego_speed)
        new = np.flatnonzero((found[BESIDE] > 0.0) & np.isnan(found[EDGE]))
        if len(new):
            edge = Edge(points[first[new]], *found[[HEADING, SIDE, GAP, ALONG]][:, new])
            found[EDGE, new] = self._edges[rows[new]] = closing(self._recent, edge, self._a.lidar_column)
        if first_way:
            self._watch(points[first], found, (rows >= count) | self._stands.take(rows % count))
        return Hazards(way, found[GAP], found[ABREAST], *_with_edges(found))

    def _watch(self, places: NDArray[np.float64], found: NDArray[np.float64], stands: NDArray[np.bool_]) -> None:
        """Remembers who steps out of what stands, with the place (R, 2) of each row of `_motion`."""
        steps = stands & (found[BESIDE] > 0.0) & (found[EDGE] > 0.0) & (found[EDGE] < RUN_M_S)
        for row in np.flatnonzero(steps):
            heading, inwards = found[HEADING, row], -found[EDGE, row] * found[SIDE, row]
            walk = np.array((-inwards * np.sin(heading), inwards * np.cos(heading)))
            self._stepping.append(Walker(self._recent.latest.stamp, places[row], walk))

    def visible_way(self, corridor: Corridor, blocked: float) -> float:
        """Way [m] of the front along the corridor until the view of it is hidden; inf where all of it is seen.

        What stands in the corridor itself, `blocked` m ahead, hides what is behind it and counts as an obstacle.
        """
        pose = self._pose
        return _hidden_way(corridor.poses, pose.x, pose.y, pose.yaw, self._nearest, self._a.front, blocked)
