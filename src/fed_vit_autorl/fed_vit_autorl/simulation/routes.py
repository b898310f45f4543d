"""Random routes through a town: a centre line with its lights, limits and road options."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..reinforcement.route import RoadOption, Route
from .ground import densify
from .town import Connection, Lane, Town, polyline_length

SPACING_M = 1.0
CLEAR_OF_JUNCTION_M = 10.0
TURN_RAD = np.radians(30.0)


class RoutePlanReason(StrEnum):
    """Why no route was found."""

    NO_ROUTE = "no_route_of_that_length"


class RoutePlanRefused(ValueError):
    """A route that does not exist in the town; `reason` says why."""

    def __init__(self, detail: str):
        super().__init__(f"{RoutePlanReason.NO_ROUTE}: {detail}")
        self.reason = RoutePlanReason.NO_ROUTE


@dataclass(frozen=True, eq=False)
class PlannedRoute:
    """`points` (N, 2) in `map` about 1 m apart along the lanes' centres; for each point `options` (`RoadOption`),
    `speed_limits` [m/s], `lane_widths` [m] and `in_junction`; `stops`: (arc length [m], signal's id) of each stop line
    in order; `edges`: SUMO's streets.
    """

    points: NDArray[np.float64]
    options: NDArray[np.int64]
    speed_limits: NDArray[np.float64]
    lane_widths: NDArray[np.float64]
    in_junction: NDArray[np.bool_]
    stops: tuple[tuple[float, int], ...]
    edges: tuple[str, ...]
    lane: str

    @cached_property
    def line(self) -> Route:
        """The geometry: arc length, projection, curvature."""
        return Route(self.points)

    @property
    def start_yaw(self) -> float:
        """Heading [rad] at the start."""
        return float(np.arctan2(*(self.points[1] - self.points[0])[::-1]))

    def at(self, values: NDArray, s: float) -> float:
        """The value of one of the arrays at arc length `s` [m]."""
        return values[min(max(int(np.searchsorted(self.line.s, s)) - 1, 0), len(values) - 1)]


def plan_route(town: Town, length_m: float, rng: np.random.Generator, start: str | None = None) -> PlannedRoute:
    """A random route of at least `length_m` metres that ends in the middle of a street.

    It starts on lane `start`, or on a random one. Raises `RoutePlanRefused` where the town has none.
    """
    lanes = sorted(lane for lane, entry in town.lanes.items() if polyline_length(entry.line) > 30)
    for _ in range(60):
        first = start or str(rng.choice(lanes))
        legs = _walk(town, first, length_m, rng)
        if legs:
            return _assemble(town, first, legs, rng)
    raise RoutePlanRefused(f"{length_m:.0f} m from {start or 'anywhere'} in {town.spec}")


def _walk(town: Town, lane_id: str, length_m: float, rng: np.random.Generator) -> list[Connection]:
    """Connections, one per junction; streets already used are avoided."""
    legs: list[Connection] = []
    visits: dict[str, int] = {}
    done = 0.5 * polyline_length(town.lanes[lane_id].line)
    while done < length_m or not legs:
        edge = town.lanes[lane_id].edge
        visits[edge] = visits.get(edge, 0) + 1
        ways = [c for lane in town.lanes.values() if lane.edge == edge for c in town.connections[lane.id]]
        ways = [c for c in ways if polyline_length(town.lanes[c.target].line) > 2 * CLEAR_OF_JUNCTION_M + 5]
        if not ways:
            return []
        weight = np.array([0.2 ** visits.get(town.lanes[c.target].edge, 0) for c in ways])
        chosen = ways[int(rng.choice(len(ways), p=weight / weight.sum()))]
        legs.append(chosen)
        lane_id = chosen.target
        done += polyline_length(town.lanes[lane_id].line) + 15.0
    return legs


def _assemble(town: Town, first: str, legs: list[Connection], rng: np.random.Generator) -> PlannedRoute:
    lines, options, limits, widths, junctions, stop_at = [], [], [], [], [], []
    total, entered = 0, first
    for number, leg in enumerate(legs):
        source = town.lanes[leg.source]
        street = _change(town.lanes[entered].line, source.line) if entered != leg.source else source.line
        if number == 0:
            fine = densify(street, SPACING_M)
            spare = max(len(fine) - 25, 1)
            street = fine[int(rng.integers(min(6, spare - 1), max(spare // 2, min(6, spare - 1) + 1))) :]
        street = densify(street, SPACING_M)
        turn = _turn(street, town.lanes[leg.target].line)
        for line, option, inside in ((street, RoadOption.FOLLOW, False), turn):
            count = len(line)
            lines.append(line)
            options += [int(option)] * count
            limits += [source.speed_limit] * count
            widths += [source.width] * count
            junctions += [inside] * count
            total += count
            if line is street and leg.signal is not None:
                stop_at.append((total - 1, leg.signal))
        entered = leg.target
    last: Lane = town.lanes[entered]
    street = densify(last.line, SPACING_M)[1:]
    goal = int(rng.integers(len(street) // 2, max(len(street) - int(CLEAR_OF_JUNCTION_M), len(street) // 2 + 1)))
    street = street[: goal + 1]
    lines.append(street)
    options += [int(RoadOption.FOLLOW)] * len(street)
    limits += [last.speed_limit] * len(street)
    widths += [last.width] * len(street)
    junctions += [False] * len(street)
    points = np.concatenate(lines)
    s = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    edges = tuple(town.lanes[lane].edge for lane in (first, *(leg.target for leg in legs)))
    return PlannedRoute(
        points=points,
        options=np.array(options),
        speed_limits=np.array(limits),
        lane_widths=np.array(widths),
        in_junction=np.array(junctions),
        stops=tuple((float(s[index]), signal) for index, signal in stop_at),
        edges=edges,
        lane=first,
    )


def _change(before: NDArray, after: NDArray) -> NDArray[np.float64]:
    """A line from one lane to a parallel one, changing in its middle part."""
    u = np.linspace(0, 1, 60)[:, None]
    weight = np.clip((u - 0.25) / 0.45, 0, 1)
    weight = weight * weight * (3 - 2 * weight)
    return (1 - weight) * _even(before, u[:, 0]) + weight * _even(after, u[:, 0])


def _even(line: NDArray, u: NDArray) -> NDArray[np.float64]:
    s = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
    return np.column_stack([np.interp(u * s[-1], s, line[:, axis]) for axis in (0, 1)])


def _turn(before: NDArray, after: NDArray) -> tuple[NDArray[np.float64], RoadOption, bool]:
    """The way across a junction: a cubic Bézier curve with the lanes' directions, close to an arc for a right angle."""
    a, b = before[-1], after[0]
    ta, tb = before[-1] - before[-2], after[1] - after[0]
    ta, tb = ta / np.linalg.norm(ta), tb / np.linalg.norm(tb)
    angle = float(np.arctan2(ta[0] * tb[1] - ta[1] * tb[0], ta @ tb))
    arm = np.linalg.norm(b - a) * 0.39
    u = np.linspace(0, 1, max(3, int(np.linalg.norm(b - a) / SPACING_M) + 2))[1:, None]
    curve = (1 - u) ** 3 * a + 3 * u * (1 - u) ** 2 * (a + arm * ta) + 3 * u**2 * (1 - u) * (b - arm * tb) + u**3 * b
    if abs(angle) < TURN_RAD:
        return curve, RoadOption.STRAIGHT, True
    return curve, RoadOption.LEFT if angle > 0 else RoadOption.RIGHT, True
