"""Random routes through a town: a centre line with its lights, limits and road options."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fed_vit_autorl.refusal import Refused

from ..reinforcement.route import RoadOption, Route
from .ground import densify
from .town import Connection, Lane, Town, polyline_length

SPACING_M = 1.0
CLEAR_OF_JUNCTION_M = 10.0
TURN_RAD = np.radians(30.0)


class RoutePlanReason(StrEnum):
    """Why no route was found."""

    NO_ROUTE = "no_route_of_that_length"


class RoutePlanRefused(Refused):
    """A route that does not exist in the town; `reason` says why."""

    def __init__(self, detail: str):
        super().__init__(RoutePlanReason.NO_ROUTE, detail)


@dataclass(frozen=True, eq=False)
class PlannedRoute:
    """`points` (N, 2) in `map` about 1 m apart along the lanes' centres; for each point `options` (`RoadOption`),
    `speed_limits` [m/s], `lane_widths` [m] and `in_junction`; `stops`: (arc length [m], signal's id) of each stop line
    in order; `edges`: SUMO's streets; `last_lane`: SUMO's lane on which it ends.
    """

    points: NDArray[np.float64]
    options: NDArray[np.int64]
    speed_limits: NDArray[np.float64]
    lane_widths: NDArray[np.float64]
    in_junction: NDArray[np.bool_]
    stops: tuple[tuple[float, int], ...]
    edges: tuple[str, ...]
    last_lane: str

    @cached_property
    def line(self) -> Route:
        """The geometry: arc length, projection, curvature, limits."""
        return Route(self.points, self.speed_limits)

    @property
    def start_yaw(self) -> float:
        """Heading [rad] at the start."""
        return float(np.arctan2(*(self.points[1] - self.points[0])[::-1]))

    def at(self, values: NDArray, s: float) -> float:
        """The value of one of the arrays at arc length `s` [m]."""
        return values[min(max(int(np.searchsorted(self.line.s, s)) - 1, 0), len(values) - 1)]


def plan_route(
    town: Town,
    length_m: float,
    rng: np.random.Generator,
    lane: str | None = None,
    start: tuple[float, float] | None = None,
) -> PlannedRoute:
    """A random route of at least `length_m` metres that ends in the middle of a street.

    It begins on `lane` beside the point `start` [m], or in the first half of a random lane. Raises `RoutePlanRefused`
    where the town has none.
    """
    lanes = sorted(lane for lane, entry in town.lanes.items() if polyline_length(entry.line) > 30)
    for _ in range(60):
        first = lane or str(rng.choice(lanes))
        legs = _walk(town, first, length_m, rng)
        if legs:
            return _assemble(town, first, legs, start, rng)
    raise RoutePlanRefused(f"{length_m:.0f} m from {lane or 'anywhere'} in {town.spec}")


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


@dataclass
class _Piece:
    """A part of a route with the same option, limit and width all along."""

    line: NDArray[np.float64]
    option: RoadOption
    lane: Lane
    in_junction: bool = False
    signal: int | None = None


def _assemble(
    town: Town, first: str, legs: list[Connection], start: tuple[float, float] | None, rng: np.random.Generator
) -> PlannedRoute:
    pieces, entered = [], first
    for leg in legs:
        source, target = town.lanes[leg.source], town.lanes[leg.target]
        street = _change(town.lanes[entered].line, source.line) if entered != leg.source else source.line
        street = densify(street, SPACING_M)
        # The curve before it has brought the route to its first point.
        street = street[1:] if pieces else street[_start_index(street, start, rng) :]
        curve, option = _turn(street, target.line)
        pieces.append(_Piece(street, RoadOption.FOLLOW, source, signal=leg.signal))
        pieces.append(_Piece(curve, option, source, in_junction=True))
        entered = leg.target
    street = densify(town.lanes[entered].line, SPACING_M)[1:]
    middle = len(street) // 2
    goal = int(rng.integers(middle, max(len(street) - int(CLEAR_OF_JUNCTION_M), middle + 1)))
    pieces.append(_Piece(street[: goal + 1], RoadOption.FOLLOW, town.lanes[entered]))
    return _joined(pieces, tuple(town.lanes[lane].edge for lane in (first, *(leg.target for leg in legs))), entered)


def _joined(pieces: list[_Piece], edges: tuple[str, ...], last_lane: str) -> PlannedRoute:
    points = np.concatenate([piece.line for piece in pieces])
    counts = [len(piece.line) for piece in pieces]
    s = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    last = np.cumsum(counts) - 1
    return PlannedRoute(
        points=points,
        options=np.repeat([int(piece.option) for piece in pieces], counts),
        speed_limits=np.repeat([piece.lane.speed_limit for piece in pieces], counts),
        lane_widths=np.repeat([piece.lane.width for piece in pieces], counts),
        in_junction=np.repeat([piece.in_junction for piece in pieces], counts),
        stops=tuple((float(s[end]), p.signal) for p, end in zip(pieces, last, strict=True) if p.signal is not None),
        edges=edges,
        last_lane=last_lane,
    )


def _start_index(street: NDArray, start: tuple[float, float] | None, rng: np.random.Generator) -> int:
    """Where a route begins on its first street: beside `start`, or anywhere in the first half."""
    if start is not None:
        nearest = int(np.argmin(np.hypot(*(street - start).T)))
        return min(nearest, len(street) - 3)
    return int(rng.integers(5, max(len(street) // 2, 6)))


def _change(before: NDArray, after: NDArray) -> NDArray[np.float64]:
    """A line from one lane to a parallel one, changing in its middle part."""
    u = np.linspace(0, 1, 60)[:, None]
    weight = np.clip((u - 0.25) / 0.45, 0, 1)
    weight = weight * weight * (3 - 2 * weight)
    return (1 - weight) * _even(before, u[:, 0]) + weight * _even(after, u[:, 0])


def _even(line: NDArray, u: NDArray) -> NDArray[np.float64]:
    s = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
    return np.column_stack([np.interp(u * s[-1], s, line[:, axis]) for axis in (0, 1)])


def _turn(before: NDArray, after: NDArray) -> tuple[NDArray[np.float64], RoadOption]:
    """The way across a junction: a cubic Bézier curve with the lanes' directions, close to an arc for a right angle."""
    a, b = before[-1], after[0]
    ta, tb = before[-1] - before[-2], after[1] - after[0]
    ta, tb = ta / np.linalg.norm(ta), tb / np.linalg.norm(tb)
    angle = float(np.arctan2(ta[0] * tb[1] - ta[1] * tb[0], ta @ tb))
    arm = np.linalg.norm(b - a) * 0.39
    u = np.linspace(0, 1, max(3, int(np.linalg.norm(b - a) / SPACING_M) + 2))[1:, None]
    curve = (1 - u) ** 3 * a + 3 * u * (1 - u) ** 2 * (a + arm * ta) + 3 * u**2 * (1 - u) * (b - arm * tb) + u**3 * b
    if abs(angle) < TURN_RAD:
        return curve, RoadOption.STRAIGHT
    return curve, RoadOption.LEFT if angle > 0 else RoadOption.RIGHT
