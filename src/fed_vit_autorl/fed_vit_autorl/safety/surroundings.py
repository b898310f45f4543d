"""What the LiDAR shows around the ego: obstacles kept in `map`, their motion, and what a corridor makes of them."""

import numpy as np
from numpy.typing import NDArray

from fed_vit_autorl.data.sample import EgoState
from fed_vit_autorl.reinforcement.route import Pose, to_local, to_map

from .assumptions import Assumptions
from .corridor import Contacts, Corridor, contacts
from .frontier import BESIDE_M, Edge, Frontier, Past
from .lidar import Obstacles, begins, boxes, extract, thin
from .rules import Hazards
from .tracker import PERSON_M, STILL_M_S, Motion, Tracker
from .types import Scan
from .view import BINS, empty, hidden, view

MAX_EXTENT_M = 13.0
SOLID = 2.0
TRUSTED_SCANS = 4
CROSSING_SCANS = 6
REGION_M = 12.0
VIEW_NOISE = 0.05
EDGE_M = 2.5


class Surroundings:
    """The latest scan's obstacles; dead-reckoned with the odometry until the next scan."""

    def __init__(self, base_from_lidar: NDArray[np.float64], assumptions: Assumptions) -> None:
        self._base_from_lidar, self._a = base_from_lidar, assumptions
        self._tracker, self._frontier = Tracker(), Frontier(assumptions)
        self.forget()

    def forget(self) -> None:
        """Nothing is known any more."""
        self._tracker.reset()
        self._frontier.reset()
        self._looked: tuple[Scan | None, Obstacles | None] = (None, None)
        self._points, self._labels = np.zeros((0, 2)), np.zeros(0, np.int64)
        self._margin = np.zeros(0)
        self._velocities = np.zeros((2, 1, 2))
        self._seen, self._small = np.zeros(1, np.int64), np.zeros(1, bool)
        self._hurry = np.ones(1)
        self._pose, self._nearest = Pose(0.0, 0.0, 0.0), np.full(BINS, np.inf)
        self._edge = np.zeros(2)

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
        extent = np.maximum(*(outlines[:, 2:] - outlines[:, :2]).T)
        motion = self._tracker.update(outlines, scan.stamp)
        self._velocities = _trusted(motion, extent)
        self._seen = np.concatenate(([0], motion.seen))
        self._small = np.concatenate(([False], extent < PERSON_M))
        self._hurry = np.ones(len(self._seen))
        kept = np.flatnonzero(_confirmed(found, motion).take(found.labels))
        self._nearest = view(found.points.T.take(kept, axis=1).T)
        kept = kept[thin(points.take(kept, axis=0))]
        self._points, self._labels = points.take(kept, axis=0), found.labels.take(kept)
        self._frontier.update(Past(self._points, self._pose, scan.stamp, self._nearest))
        if len(motion.hidden):
            self._remember(motion)
        self._edge = np.full(2 * len(self._seen), np.nan)
        # What stands still matters where the body may touch it; only who moves has to be seen coming.
        touching = self._a.front + self._a.half_width + self._a.lateral_clearance
        moves = np.hypot(*self._velocities[0].T) > STILL_M_S
        self._margin = np.where(moves, REGION_M, touching).take(self._labels)
        return found

    def _remember(self, motion: Motion) -> None:
        """Adds who walked and is not seen now, unless the place is in view and empty, as clusters of their own."""
        centre = 0.5 * (motion.hidden[:, :2] + motion.hidden[:, 2:])
        local = to_local(centre, self._pose)
        there = ~empty(local, self._nearest)
        labels = len(self._seen) + np.arange(np.count_nonzero(there))
        self._points = np.concatenate((self._points, centre[there]))
        self._labels = np.concatenate((self._labels, labels))
        walk = motion.walk[None, there]
        self._velocities = np.concatenate((self._velocities, np.concatenate((walk, walk))), axis=1)
        self._seen = np.concatenate((self._seen, np.full(len(labels), CROSSING_SCANS)))
        self._small = np.concatenate((self._small, np.ones(len(labels), bool)))
        self._hurry = np.concatenate((self._hurry, motion.hurry[there]))

    def hazards(self, corridor: Corridor, ego_speed: float) -> Hazards:
        """What of it matters to the corridor, one row per cluster that is near it."""
        (x, y), margin = self._points.T, self._margin
        near = (x > corridor.x.min() - margin) & (x < corridor.x.max() + margin)
        near = np.flatnonzero(near & (y > corridor.y.min() - margin) & (y < corridor.y.max() + margin))
        points, labels = self._points.take(near, axis=0), self._labels.take(near)
        found = contacts(corridor, points, self._a)
        count = len(self._seen)
        way = np.full(2 * count, np.inf)
        np.minimum.at(way, labels, found.way)
        # Who steps out before what stands in the corridor may be one cluster with it: such a part counts by itself, and
        # nothing is known of it but its edge.
        reach = way.take(labels)
        part = np.isfinite(reach) & (found.way_abreast < reach - BESIDE_M) & (found.gap < EDGE_M) & np.isinf(found.way)
        rows, first = _least_gap(labels + count * part, found)
        names = np.where(rows < count, rows, 0)
        heading, side = found.heading[first], found.side[first]
        cos, sin = np.cos(heading), np.sin(heading)
        x, y = self._velocities.take(names, axis=1).transpose(2, 0, 1)
        along, (closing, lately) = (x * cos + y * sin).min(axis=0), side * (x * sin - y * cos)
        # Edges seen at a slant jitter sideways: who crosses is believed after a few scans, and above the jitter.
        # A person shows no slant, and too few returns for what it did in the last four scans alone.
        small = self._small[names]
        jitter = np.where(small, 0.0, VIEW_NOISE * np.abs(along - ego_speed))
        closing = np.where(small, closing, np.minimum(closing, lately))
        crosses = closing > STILL_M_S * self._hurry[names] + jitter
        closing = np.where(crosses & (self._seen[names] >= CROSSING_SCANS), closing, 0.0)
        gap, abreast = found.gap[first], found.way_abreast[first]
        # What turns or steps out from beside shows it in its edge first; who comes towards the ego shows ever more.
        beside = np.isinf(way[rows]) & (gap < EDGE_M) & (along > -STILL_M_S) & (abreast > 0.0)
        new = np.flatnonzero(beside & np.isnan(self._edge[rows]))
        if len(new):  # once per scan, for the first way that is judged
            tangent, normal = np.stack((cos[new], sin[new]), axis=-1), np.stack((-sin[new], cos[new]), axis=-1)
            edges = Edge(points[first[new]], tangent, side[new, None] * normal, gap[new], along[new])
            self._edge[rows[new]] = self._frontier.closing(edges)
        edge = np.where(beside, self._edge[rows], 0.0)
        return Hazards(
            way=way[rows],
            gap=gap,
            way_abreast=abreast,
            along=np.where(np.abs(along) < STILL_M_S, 0.0, along),
            closing=np.maximum(closing, edge),
            person=small | ((edge > 0.0) & (along < STILL_M_S)),
        )

    def visible_way(self, corridor: Corridor, blocked: float) -> float:
        """Way [m] of the front along the corridor until the view of it is hidden; inf where all of it is seen.

        What stands in the corridor itself, `blocked` m ahead, hides what is behind it and counts as an obstacle.
        """
        local = to_local(np.stack((corridor.x, corridor.y), axis=-1), self._pose)
        way = corridor.way - self._a.front
        first = np.flatnonzero(hidden(local, self._nearest) & (way > 0.0) & (way < blocked))
        return float(way[first[0]]) if len(first) else np.inf


def _confirmed(found: Obstacles, motion: Motion) -> NDArray[np.bool_]:
    """Clusters by label that are believed: solid ones at once, meagre ones in their second scan, spray never."""
    again = (found.solidity >= 1.0) & (motion.seen > 1)
    return np.concatenate(([True], (found.solidity >= SOLID) | again))


def _trusted(motion: Motion, extent: NDArray[np.float64]) -> NDArray[np.float64]:
    """Velocities (2, 1 + C, 2) by label (0: none); those of what is new, or too long to be a vehicle, count as 0.

    Of a long wall both ends move with the range of sight.
    """
    unknown = (extent > MAX_EXTENT_M) | (motion.seen < TRUSTED_SCANS)
    return np.concatenate((np.zeros((2, 1, 2)), np.where(unknown[:, None], 0.0, motion.velocities)), axis=1)


def _least_gap(labels: NDArray[np.int64], found: Contacts) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The labels at hand, and the row of each one's point with the least gap."""
    order = np.lexsort((found.gap, labels))
    grouped = labels[order]
    first = begins(grouped)
    return grouped[first], order[first]
