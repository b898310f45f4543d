"""Where the ego is meant to go: the planned path while it agrees with the route, else the route, else straight on."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fed_vit_autorl.compiled import compiled
from fed_vit_autorl.data.sample import EgoState
from fed_vit_autorl.reinforcement.polyline import KNOTS, curvature_at, heading_at, limit_at, point_at
from fed_vit_autorl.reinforcement.route import BEND_M, Pose, Projection, Route, RouteRefused, to_local, to_map

from .assumptions import Assumptions
from .corridor import MAX_HEADING_RAD, MAX_OFFSET_M
from .reasons import Reason
from .rules import lane_horizons
from .types import Proposal
from .validation import path_fault

PURSUIT_S, PURSUIT_LEAST_M = 0.9, 4.0
LOOK_BEHIND_M = 2.0
LIMITS_AHEAD_M = np.arange(60.0)
STRAIGHT_1_M = 1e-3
NO_BENDS = (0.0, 0.0)
NO_LIMITS = (np.zeros(0), np.zeros(0))


@dataclass(frozen=True, slots=True, eq=False)
class Guidance:
    """What the ego follows at a tick.

    Attributes:
        reference: polyline in `map` to brake along; None if there is none.
        near: arc length on it at which the ego was last seen [m]; None if not known.
        on_route: the ego seen from its route; None without a route, or far from it.
        off_route: far from its route.
        route_curvatures: of the route [1/m], from the ego to each of the lane's horizons.
        speed_limits: (way [m], limit [m/s]) ahead, each (S,); in a bend what leaves room for corrections.
        faults: `path_invalid` where the proposal's path could not be used.
    """

    reference: Route | None
    near: float | None
    on_route: Projection | None
    off_route: bool
    route_curvatures: tuple[float, float]
    speed_limits: tuple[NDArray[np.float64], NDArray[np.float64]]
    faults: tuple[Reason, ...]


@compiled(f"float64({KNOTS}, float64, float64)")
def mean_curvature(knots: NDArray[np.float64], s: float, way: float) -> float:
    """Of the circle [1/m] that touches the route at arc length `s` and meets it again `way` metres on, 2 y / way²."""
    (from_x, from_y), (x, y), heading = point_at(knots, s), point_at(knots, s + way), heading_at(knots, s, 1.0)
    return 2.0 * ((y - from_y) * math.cos(heading) - (x - from_x) * math.sin(heading)) / way**2


@compiled(f"float64[::1]({KNOTS}, float64, float64)")
def _limits(knots, s, bend_acceleration):
    """Speed limits [m/s] at `LIMITS_AHEAD_M` from arc length `s` on; in a bend what leaves room for corrections."""
    limits = np.empty(len(LIMITS_AHEAD_M))
    for i in range(len(limits)):
        ahead = s + LIMITS_AHEAD_M[i]
        bend = max(abs(curvature_at(knots, ahead, BEND_M)), STRAIGHT_1_M)
        limits[i] = min(limit_at(knots, ahead), math.sqrt(bend_acceleration / bend))
    return limits


class Guide:
    """Picks what to follow, and steers along it."""

    def __init__(self, assumptions: Assumptions) -> None:
        self._a = assumptions
        self._made_of: tuple[Proposal | None, EgoState | None] = (None, None)
        self._made: tuple[Route | None, tuple[Reason, ...]] = (None, ())
        self._compared: tuple[Route | None, Route | None] = (None, None)
        self._agreed = False

    def guide(
        self,
        proposal: Proposal | None,
        planned_at: EgoState | None,
        route: Route | None,
        pose: Pose,
        near: float | None,
        speed: float,
    ) -> Guidance:
        """Guidance at `pose`.

        Args:
            proposal: valid, or None.
            planned_at: the ego when the proposal's path was made, or None.
            route: in `map`, or None.
            pose: of the ego now.
            near: arc length on the route at which the ego was last seen [m], or None.
            speed: of the ego [m/s].
        """
        on_route = route.project(pose, near) if route is not None else None
        if on_route and (abs(on_route.lateral) > MAX_OFFSET_M or abs(on_route.heading_error) > MAX_HEADING_RAD):
            on_route = None
        if (proposal, planned_at) != self._made_of:
            self._made_of, self._made = (proposal, planned_at), self._path(proposal, planned_at)
        path, faults = self._made
        if on_route is None:
            return Guidance(path, None, None, route is not None, NO_BENDS, NO_LIMITS, faults)
        limits = LIMITS_AHEAD_M, _limits(route.knots, on_route.s, self._a.bend_acceleration)
        reference, start = route, on_route.s
        if path is not None and self._agrees(path, route, on_route.s):
            reference, start = path, None
        bends = tuple(mean_curvature(route.knots, on_route.s, way) for way in lane_horizons(speed))
        return Guidance(reference, start, on_route, False, bends, limits, faults)

    def steering(self, guidance: Guidance, pose: Pose, speed: float, otherwise: float) -> float:
        """Road-wheel angle [rad] towards the reference at the look-ahead distance d, atan(2 L y / d²) (pure pursuit).

        `otherwise` where there is no reference.
        """
        if guidance.reference is None:
            return otherwise
        s = guidance.reference.project(pose, guidance.near).s
        ahead = max(PURSUIT_S * speed, PURSUIT_LEAST_M)
        x, y = to_local(guidance.reference.at(s + ahead), pose)
        angle = math.atan(2.0 * self._a.wheelbase * y / max(x * x + y * y, PURSUIT_LEAST_M))
        return max(-self._a.max_steering_angle, min(self._a.max_steering_angle, angle))

    def _path(self, proposal: Proposal | None, planned_at: EgoState | None) -> tuple[Route | None, tuple[Reason, ...]]:
        if proposal is None or planned_at is None or not len(proposal.path):
            return None, ()
        if path_fault(proposal.path):
            return None, (Reason.PATH_INVALID,)
        pose = Pose(*planned_at.position[:2], planned_at.yaw)
        try:
            return Route(to_map(np.concatenate((np.zeros((1, 2)), proposal.path)), pose)), ()
        except RouteRefused:
            return None, ()  # shorter than 2 m: a vehicle that is about to stand plans no way

    def _agrees(self, path: Route, route: Route, s: float) -> bool:
        """Whether the path stays within the lane deviation of the route; asked once, when the ego is at `s`."""
        if self._compared != (path, route):
            _, lateral = route.project_points(path.points, s - LOOK_BEHIND_M, s + path.length + LOOK_BEHIND_M)
            self._agreed = bool((np.abs(lateral) <= self._a.max_lane_deviation).all())
            self._compared = (path, route)
        return self._agreed
