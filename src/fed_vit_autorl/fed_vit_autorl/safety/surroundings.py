"""What the LiDAR shows around the ego: obstacles kept in `map`, their motion, and what a corridor makes of them."""

import numpy as np
from numpy.typing import NDArray

from fed_vit_autorl.compiled import compiled
from fed_vit_autorl.data.sample import EgoState
from fed_vit_autorl.reinforcement.route import Pose, to_local, to_map

from .assumptions import Assumptions
from .beneath import Beneath
from .corridor import WAY, Corridor, X, Y, contacts
from .frontier import Edge, closing
from .known import (
    COLUMNS,
    CROSSING_SCANS,
    DROVE,
    FAST,
    FRESH,
    HURRY,
    KNOWN,
    MARGIN,
    SEEN,
    SMALL,
    STANDS,
    believed,
    kept_points,
    low_points,
    standing,
    walking,
)
from .lidar import Obstacles, boxes, extract
from .limits import CRAWL_M_S
from .overhead import hanging
from .recent import Past, Recent
from .rules import Hazards
from .stepping import stepped
from .tracker import HISTORY, RUN_M_S, STILL_M_S, Motion, Tracker
from .types import Scan
from .view import BINS, TOLERANCE_M, sight

VIEW_NOISE = 0.05
EDGE_M, PART_EDGE_M = 2.5, 4.0
STEPPING_S = 0.2  # an edge is not found in every scan


@compiled(f"int64[::1](float64[:, :], int64[:], {KNOWN}, float64[:, :])")
def _near(points, labels, known, poses):
    """Indices of the points (N, 2) in the rectangle around the poses, widened by the margin of their label."""
    low_x, high_x, low_y, high_y = np.inf, -np.inf, np.inf, -np.inf
    for k in range(len(poses)):
        low_x, high_x = min(low_x, poses[k, X]), max(high_x, poses[k, X])
        low_y, high_y = min(low_y, poses[k, Y]), max(high_y, poses[k, Y])
    near, count = np.empty(len(points), np.int64), 0
    for i in range(len(points)):
        x, y, wide = points[i, 0], points[i, 1], known[labels[i], MARGIN]
        if low_x - wide < x < high_x + wide and low_y - wide < y < high_y + wide:
            near[count] = i
            count += 1
    return near[:count]


@compiled(f"int64[::1](int64[:], {KNOWN}, float64[:], float64[:])")
def _beside(labels, known, way, gap):
    """Indices of the points of what stands beside the corridor."""
    found, count = np.empty(len(labels), np.int64), 0
    for i in range(len(labels)):
        if known[labels[i], STANDS] > 0.0 and gap[i] < PART_EDGE_M and way[i] == np.inf:
            found[count] = i
            count += 1
    return found[:count]


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


GAP, ABREAST, ALONG, CLOSING, HEADING, SIDE, PERSON, HESITANT, BESIDE, EDGE = range(10)


@compiled(f"float64[:, ::1](int64[:], int64[:], float64[:], float64[:, :], float64[:], float64[:], {KNOWN}, float64)")
def _motion(rows, first, way, met, steps, edges, known, ego_speed):
    """(10, R): of each row its gap, way abreast and speeds along and towards the corridor as in `Hazards`, as far as
    clusters tell; the corridor's direction [rad] there and the side it is on; whether it is of a person's size,
    whether it drove a moment ago, whether its edge counts, and the speed of that, NaN while unknown.
    """
    found, count = np.zeros((10, len(rows))), len(known)
    for r in range(len(rows)):
        _, gap, abreast, heading, side = met[:, first[r]]
        what = known[rows[r] if rows[r] < count else 0]
        small = what[SMALL] > 0.0
        cos, sin = np.cos(heading), np.sin(heading)
        along, closing = np.inf, np.inf
        for window in (FAST, FRESH):
            x, y, more_x, more_y = what[window : window + 4]
            ahead, across, back = x * cos + y * sin, side * x * sin, -side * y * cos
            if ahead < -CRAWL_M_S:
                # Who comes towards the ego into view bit by bit, at a slant to the map's axes, moves one edge more
                # along one, and seems to come from the side: of each axis the edge counts that closes in less.
                across, back = min(across, side * more_x * sin), min(back, -side * more_y * cos)
            along = min(along, ahead)
            # A person gives too few returns for what it did in the last four scans alone.
            if window == FAST or not small:
                closing = min(closing, across + back)
        # Edges seen at a slant jitter sideways: who crosses is believed after a few scans, and above the jitter. A
        # person shows no slant.
        jitter = 0.0 if small else VIEW_NOISE * abs(along - ego_speed)
        if closing <= STILL_M_S * what[HURRY] + jitter or what[SEEN] < CROSSING_SCANS:
            closing = 0.0
        # What turns or steps out from beside shows it in its edge first; who comes towards the ego shows ever more.
        beside = (
            way[r] == np.inf
            and gap < (EDGE_M if rows[r] < count else PART_EDGE_M)
            and (along > -STILL_M_S or small)
            and abreast > 0.0
        )
        edge = edges[rows[r]] if rows[r] < count else steps[first[r]]
        row = gap, abreast, along, closing, heading, side, what[SMALL], what[DROVE], 1.0 if beside else 0.0, edge
        for i in range(10):
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


@compiled(f"float64[:, ::1](float64, float64[:, :], int64[:], int64[:], float64[:, ::1], {KNOWN})")
def _stepping(stamp, points, rows, first, found, known):
    """Who steps out of what stands or creeps, (W, 5): `stamp` [s], the place [m] and the velocity [m/s]."""
    walkers, count = np.empty((len(rows), 5)), 0
    for r in range(len(rows)):
        what = known[rows[r] if rows[r] < len(known) else 0]
        creeps = what[SEEN] >= HISTORY and np.hypot(what[FAST], what[FAST + 1]) < CRAWL_M_S
        if (creeps or rows[r] >= len(known)) and found[BESIDE, r] > 0.0 and 0.0 < found[EDGE, r] < RUN_M_S:
            heading, inwards, place = found[HEADING, r], -found[EDGE, r] * found[SIDE, r], points[first[r]]
            row = stamp, place[0], place[1], -inwards * np.sin(heading), inwards * np.cos(heading)
            for i in range(5):
                walkers[count, i] = row[i]
            count += 1
    return walkers[:count]


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


class Surroundings:
    """The latest scan's obstacles; dead-reckoned with the odometry until the next scan."""

    def __init__(self, base_from_lidar: NDArray[np.float64], assumptions: Assumptions) -> None:
        self._base_from_lidar, self._a = base_from_lidar, assumptions
        self._tracker, self._recent, self._beneath = Tracker(), Recent(), Beneath()
        self.forget()

    def forget(self) -> None:
        """Nothing is known any more but the places of what is too low to be seen, which nobody would see again."""
        self._tracker.reset()
        self._recent.reset()
        self._looked: tuple[Scan | None, Obstacles | None] = (None, None)
        self._found: Obstacles  # of the latest scan that was taken in
        self._points, self._labels, self._known = np.zeros((0, 2)), np.zeros(0, np.int64), np.zeros((1, COLUMNS))
        self._pose, self._nearest = Pose(0.0, 0.0, 0.0), np.full(BINS, np.inf)
        self._edges, self._steps = np.zeros(1), None
        self._stepping = np.zeros((0, 5))  # stamp [s], place [m], velocity [m/s]

    def relocate(self, before: Pose, after: Pose) -> None:
        """The ego is at `after` and not at `before`: forgets what was there, but for what is too low and beside it."""
        self.forget()
        self._beneath.carry(before, after)

    def look(self, scan: Scan) -> Obstacles:
        """What the scan shows, worked out once: most of the work, and none of it has to wait for the next tick."""
        if self._looked[0] is not scan:
            self._looked = scan, extract(scan.points, self._base_from_lidar, self._a)
        return self._looked[1]

    def update(self, scan: Scan, ego: EgoState) -> Obstacles:
        """Takes a scan in; `ego` is the state at the scan's stamp."""
        found = self._found = self.look(scan)
        self._pose = Pose(*ego.position[:2], ego.yaw)
        points = to_map(found.points[:, :2], self._pose)
        outlines = boxes(points, found.order, found.start)
        motion = self._tracker.update(outlines, scan.stamp)
        touching = self._a.front + self._a.half_width + self._a.lateral_clearance
        self._known, there = believed(outlines, found.solidity, motion.velocities, motion.seen, motion.since, touching)
        kept = kept_points(points, found.labels, found.bins, found.distance, there)
        self._points, self._labels, self._nearest = kept
        self._recent.update(Past(self._points, self._pose, scan.stamp, self._nearest))
        self._remember(motion, scan.stamp)
        self._add_low(found)
        self._steps = None
        self._edges = np.zeros(len(self._known))  # of who is not seen there is none
        self._edges[: len(there)] = np.nan
        return found

    def _remember(self, motion: Motion, stamp: float) -> None:
        """Adds who walks and is not seen now: those who were hidden and those who step out of something."""
        stepping = self._stepping = self._stepping[stamp - self._stepping[:, 0] <= STEPPING_S]
        if not len(stepping) and not len(motion.hidden):
            return
        places = np.concatenate((
            stepping[:, 1:3] + (stamp - stepping[:, :1]) * stepping[:, 3:],
            0.5 * (motion.hidden[:, :2] + motion.hidden[:, 2:]),
        ))  # fmt: skip
        walks = np.concatenate((stepping[:, 3:], motion.walk))
        hurry = np.concatenate((np.ones(len(stepping)), motion.hurry))
        pose = self._pose.x, self._pose.y, self._pose.yaw
        places, known = walking(places, walks, hurry, pose, self._nearest)
        self._add(places, np.arange(len(places)), known)

    def _add_low(self, found: Obstacles) -> None:
        """Adds what stands and is too low to be seen now, as one cluster."""
        *mount, height = self._base_from_lidar[:3, 3]
        low = low_points(self._points, self._labels, self._known, found.points, found.labels, height)
        places = self._beneath.update(low, (*to_map(np.array(mount), self._pose).tolist(), height), found.steepest)
        if len(places):
            self._add(places, np.zeros(len(places), np.int64), standing(self._known[0, MARGIN]))

    def _add(self, places: NDArray[np.float64], rows: NDArray[np.int64], known: NDArray[np.float64]) -> None:
        """Adds clusters that are not seen: points (M, 2), whose each is by row (M,), and what is known (R, 14)."""
        self._points = np.concatenate((self._points, places))
        self._labels = np.concatenate((self._labels, len(self._known) + rows))
        self._known = np.concatenate((self._known, known))

    def hazards(self, corridor: Corridor, ego_speed: float) -> Hazards:
        """What of it matters to the corridor: a row per cluster that is near it or is stepped out of.

        Edges and steps are looked for once per scan, for the first way that is judged.
        """
        near, known = _near(self._points, self._labels, self._known, corridor.poses), self._known
        points, labels = self._points.take(near, axis=0), self._labels.take(near)
        met, first_way = contacts(corridor, points, self._a), self._steps is None
        if first_way:
            self._steps = np.zeros(len(self._points))
            beside = _beside(labels, known, met.way, met.gap)
            places = points.take(beside, axis=0), met.heading.take(beside), met.side.take(beside)
            self._steps[near[beside]] = self._stepped(*places)
        steps = self._steps.take(near)
        rows, first, way = _parts(labels, len(known), met.way, met.gap, steps)
        found = _motion(rows, first, way, met.table, steps, self._edges, known, ego_speed)
        new = np.flatnonzero((found[BESIDE] > 0.0) & np.isnan(found[EDGE]))
        if len(new):
            edge = Edge(points[first[new]], *found[[HEADING, SIDE, GAP, ALONG]][:, new])
            found[EDGE, new] = self._edges[rows[new]] = closing(self._recent, edge, self._a.lidar_column)
        if first_way and len(rows):
            stepping = _stepping(self._recent.latest.stamp, points, rows, first, found, known)
            self._stepping = np.concatenate((self._stepping, stepping))
        return Hazards(way, found[GAP], found[ABREAST], *_with_edges(found), found[HESITANT] > 0.0)

    def _stepped(
        self, points: NDArray[np.float64], heading: NDArray[np.float64], side: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """See `stepping.stepped`; nobody steps out of what hangs over the ground."""
        speed = stepped(self._recent, points, heading, side, self._a.lidar_column)
        some = np.flatnonzero(speed)
        if len(some):
            places = to_local(points[some], self._pose)
            speed[some[hanging(places, self._found, self._base_from_lidar[:3, 3], self._a.lidar_column)]] = 0.0
        return speed

    def visible_way(self, corridor: Corridor, blocked: float) -> float:
        """Way [m] of the front along the corridor until the view of it is hidden; inf where all of it is seen.

        What stands in the corridor itself, `blocked` m ahead, hides what is behind it and counts as an obstacle.
        """
        pose = self._pose
        return _hidden_way(corridor.poses, pose.x, pose.y, pose.yaw, self._nearest, self._a.front, blocked)
