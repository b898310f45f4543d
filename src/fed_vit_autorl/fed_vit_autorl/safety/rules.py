"""The rules: each is a pure function from a situation to what it allows, or None where it has nothing to say."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fed_vit_autorl.compiled import compiled
from fed_vit_autorl.reinforcement.route import Projection

from .assumptions import Assumptions
from .limits import CRAWL_M_S, Constraint, steering_range
from .reasons import Reason
from .rss import lateral, safe_acceleration, stopping_distance
from .types import Action, Light, LightState

LANE_HORIZON_S = 1.2
LANE_HORIZON_M = 3.0
SPEED_RESPONSE_S = 0.5
SPEED_BRAKE = 2.0
SPEED_TOLERANCE = 0.3


@dataclass(frozen=True, slots=True, eq=False)
class Hazards:
    """Road users and obstacles as the corridor sees them, one row each.

    Attributes:
        way: way [m] until the front reaches it; inf if it does not stand in the corridor.
        gap: lateral distance [m] from the swept body; inf where the body does not pass it.
        way_abreast: way [m] until the front is abreast of it.
        along: its least plausible speed [m/s] along the corridor (0 while unknown).
        closing: its speed [m/s] towards the corridor, sideways (0 while unknown).
        person: whether it is of a person's size, or a part that moves of what stands.
        hesitant: whether it drove a moment ago: if it stands or creeps, it may go on.
    """

    way: NDArray[np.float64]
    gap: NDArray[np.float64]
    way_abreast: NDArray[np.float64]
    along: NDArray[np.float64]
    closing: NDArray[np.float64]
    person: NDArray[np.bool_]
    hesitant: NDArray[np.bool_]

    @classmethod
    def none(cls) -> "Hazards":
        """An empty road."""
        return cls(*(np.zeros(0) for _ in range(5)), *(np.zeros(0, bool) for _ in range(2)))


@dataclass(frozen=True, slots=True, eq=False)
class Situation:
    """All that the rules look at, for one way that the ego could take.

    Attributes:
        speed: of the ego [m/s].
        hazards: what the LiDAR shows.
        visible: way [m] along the corridor that is not hidden from view.
        scene_way: way [m] to the nearest road user that only the learned perception sees; inf if there is none.
        on_route: the ego seen from its route; None without one, or too far from it.
        off_route: too far from its route.
        route_curvatures: of the route [1/m], from the ego to each of the lane's horizons.
        lights: on the route, as of now.
        speed_limits: (way [m], limit [m/s]) along the route ahead, each (S,).
    """

    speed: float
    hazards: Hazards = field(default_factory=Hazards.none)
    visible: float = math.inf
    scene_way: float = math.inf
    on_route: Projection | None = None
    off_route: bool = False
    route_curvatures: tuple[float, float] = (0.0, 0.0)
    lights: tuple[Light, ...] = ()
    speed_limits: tuple[NDArray[np.float64], NDArray[np.float64]] = (np.zeros(0), np.zeros(0))


Rule = Callable[[Situation, Assumptions], Constraint | None]


def _stop_within(reason: Reason, way: float, s: Situation, a: Assumptions, brake: float | None = None) -> Constraint:
    return Constraint(reason, safe_acceleration(s.speed, way, a.response_time, brake or a.assured_brake))


def _crawl(s: Situation, a: Assumptions) -> float:
    return max((CRAWL_M_S - s.speed) / SPEED_RESPONSE_S, -a.comfortable_brake)


@compiled("float64[::1](float64[:], float64[:], float64, float64, float64, float64)")
def _free_way(way, along, min_gap, lead_brake, oncoming_brake, response_time):
    free = np.empty(len(way))
    for i in range(len(way)):
        speed, moves = abs(along[i]), along[i] ** 2 / (2.0 * lead_brake)
        if along[i] < 0.0:
            moves = -(speed * response_time + speed**2 / (2.0 * oncoming_brake))
        free[i] = way[i] - min_gap + moves
    return free


def free_way(h: Hazards, a: Assumptions) -> NDArray[np.float64]:
    """Way [m] in which the ego has to be able to stop for each hazard, 3.0 m kept; inf for those outside the corridor.

    What moves along may brake at 8.0 m/s² (RSS 1); what comes towards the ego responds and brakes, too (RSS 3).
    """
    return _free_way(h.way, h.along, a.min_gap, a.lead_brake, a.oncoming_brake, a.other_response_time)


def obstacle(s: Situation, a: Assumptions) -> Constraint | None:
    """Braking distance to whatever stands or moves in the corridor (see `free_way`)."""
    free = free_way(s.hazards, a)
    nearest = int(free.argmin()) if len(free) else -1
    if nearest < 0 or math.isinf(free[nearest]):
        return None
    along = s.hazards.along[nearest]
    moving = Reason.LEAD_VEHICLE if along > a.frozen_speed else Reason.ONCOMING_VEHICLE
    reason = Reason.OBSTACLE if abs(along) <= a.frozen_speed else moving
    if s.speed < a.standstill and free[nearest] < a.start_gap:
        return Constraint(reason, 0.0)
    return _stop_within(reason, float(free[nearest]), s, a)


def lateral_distance(s: Situation, a: Assumptions) -> Constraint | None:
    """Who walks or drifts towards the corridor and is nearer to it than RSS 6 allows counts as being in it."""
    h = s.hazards
    slow = ~np.isfinite(h.way) & np.isfinite(h.gap) & (h.closing > 0.0) & (h.closing <= a.crossing_speed)
    free = math.inf
    for row in np.flatnonzero(slow):
        times = (a.other_response_time, a.response_time)
        safe = lateral(float(h.closing[row]), 0.0, times, 0.0, a.lateral_brake, a.lateral_fluctuation)
        if h.gap[row] < safe:
            moving = max(float(h.along[row]), 0.0) ** 2 / (2.0 * a.lead_brake)
            free = min(free, float(h.way_abreast[row]) - a.min_gap + moving)
    return None if math.isinf(free) else _stop_within(Reason.LATERAL_DISTANCE, free, s, a)


def give_way(s: Situation, a: Assumptions) -> Constraint | None:
    """Who crosses meets the corridor in a span of time; the ego stays out of it unless it is through before.

    A person is expected to walk on, however slowly: RSS 6 lets the other one brake sideways, too. With a green light
    ahead or just passed, those who can still stop (at 4.0 m/s²) are expected to. For whom the ego can't stop any more
    it goes on, because leaving is safer than standing in the way; but not into a person, unless it is abreast already.
    """
    h = s.hazards
    crosses = ~np.isfinite(h.way) & np.isfinite(h.gap) & (h.closing > np.where(h.person, 0.0, a.crossing_speed))
    priority = any(light.state is LightState.GREEN and light.distance < 10.0 for light in s.lights)
    free, pace = math.inf, max(s.speed, 1.0)
    for row in np.flatnonzero(crosses):
        speed, gap, way = float(h.closing[row]), float(h.gap[row]), float(h.way_abreast[row])
        if priority and gap > stopping_distance(speed, a.other_response_time, 0.0, a.oncoming_brake):
            continue
        enters, leaves = gap / speed, (gap + a.width + a.other_length) / speed
        ego_enters, ego_leaves = way / pace, (way + a.front + a.rear + a.width) / pace
        meets = ego_leaves + a.crossing_gap > enters and ego_enters - a.crossing_gap < leaves
        late = way - 1.0 < s.speed**2 / (2.0 * a.max_deceleration)
        if meets and not (late and (way <= 0.0 or ego_leaves <= enters or not h.person[row])):
            free = min(free, way - 1.0)
    return None if math.isinf(free) else _stop_within(Reason.YIELD, free, s, a)


def occlusion(s: Situation, a: Assumptions) -> Constraint | None:
    """Something may stand where the view ends, and somebody step out from behind what the ego passes.

    Before the end of the view it stops; beside what stands or creeps it is the slower the less is left between them,
    the more so if that drove a moment ago.
    """
    stop = math.inf if math.isinf(s.visible) else _stop_within(Reason.OCCLUSION, s.visible, s, a).acceleration
    allowed, h = math.inf, s.hazards
    columns = h.way, h.gap, h.way_abreast, h.along, np.where(h.hesitant, a.hesitant_speed, a.passing_speed)
    for way, gap, abreast, along, pace in zip(*(column.tolist() for column in columns), strict=True):
        if math.isinf(way) and abs(along) < CRAWL_M_S and gap * pace < a.max_speed:
            beside = max(gap * pace, CRAWL_M_S)
            left = max(abreast - s.speed * SPEED_RESPONSE_S, 0.0)
            allowed = min(allowed, math.sqrt(beside**2 + 2.0 * SPEED_BRAKE * left))
    slower = max((allowed + SPEED_TOLERANCE - s.speed) / SPEED_RESPONSE_S, -a.comfortable_brake)
    bound = min(stop, slower)
    return None if bound == math.inf else Constraint(Reason.OCCLUSION, bound)


def scene(s: Situation, a: Assumptions) -> Constraint | None:
    """A road user that only the learned perception sees makes the ego slow down to a crawl; the LiDAR does the rest."""
    if math.isinf(s.scene_way):
        return None
    stop = _stop_within(Reason.SCENE_OBSTACLE, s.scene_way - a.min_gap, s, a, a.comfortable_brake)
    return Constraint(stop.reason, max(stop.acceleration, _crawl(s, a)))


def traffic_light(s: Situation, a: Assumptions) -> Constraint | None:
    """Stop at red, at an unknown light, at yellow where 3.0 m/s² do; whoever can't stop any more goes on."""
    for light in s.lights:
        if light.distance < 0.0 or light.state in (LightState.GREEN, LightState.OFF):
            continue
        way = light.distance - a.stop_line_gap
        needed = s.speed**2 / (2.0 * max(way, 0.05))
        bound = a.yellow_brake if light.state is LightState.YELLOW else a.max_deceleration
        if needed > bound and s.speed > 1.0:
            continue
        return _stop_within(Reason.TRAFFIC_LIGHT, way, s, a, a.comfortable_brake)
    return None


def speed_limit(s: Situation, a: Assumptions) -> Constraint | None:
    """The limit here, and those ahead in time to brake for them at 2.0 m/s²; never above 30 m/s [F1].

    What counts is the speed allowed where the ego is when it has responded: else it would be 1 m/s behind its braking.
    """
    way, limit = s.speed_limits
    left = np.maximum(way - s.speed * SPEED_RESPONSE_S, 0.0)
    reachable = np.sqrt(np.minimum(limit, a.max_speed) ** 2 + 2.0 * SPEED_BRAKE * left)
    allowed = min(float(reachable.min(initial=np.inf)), a.max_speed) + SPEED_TOLERANCE
    return Constraint(Reason.SPEED_LIMIT, max((allowed - s.speed) / SPEED_RESPONSE_S, -a.comfortable_brake))


def lane_horizons(speed: float) -> tuple[float, float]:
    """How far [m] ahead the lane rule looks: half of the way, because of bends that begin on it, and all of it."""
    way = max(speed * LANE_HORIZON_S, LANE_HORIZON_M)
    return max(0.5 * way, LANE_HORIZON_M), way


def lane(s: Situation, a: Assumptions) -> Constraint | None:
    """Steering that keeps the ego within 1.0 m of its route at the horizons, L metres on.

    e(L) = e + ψ L + (κ - κ_route) L² / 2 stays within ± (1.0 - reserve), solved for κ; from outside it returns.
    Off the route neither limits nor bends are known (or the localisation is wrong): it crawls. Where the angle that is
    needed is more than the speed allows, it slows down to the speed that allows it, v² = a L / tan δ.
    """
    if s.on_route is None:
        return Constraint(Reason.LANE_DEVIATION, _crawl(s, a)) if s.off_route else None
    e, psi = s.on_route.lateral, s.on_route.heading_error
    bound, slope = a.max_lane_deviation - a.lane_reserve, math.tan(min(max(psi, -1.0), 1.0))
    low, high = -math.inf, math.inf
    for way, bend in zip(lane_horizons(s.speed), s.route_curvatures, strict=True):
        lowest, highest = (bend + 2.0 * (side * bound - e - slope * way) / way**2 for side in (-1.0, 1.0))
        low = min(max(low, math.atan(a.wheelbase * lowest)), high)
        high = max(min(high, math.atan(a.wheelbase * highest)), low)
    acceleration = math.inf if abs(e) <= a.max_lane_deviation else _crawl(s, a)
    needed = max(low, -high)
    if needed > steering_range(s.speed, a):
        slower = math.sqrt(a.max_lateral_acceleration * a.wheelbase / math.tan(needed))
        acceleration = min(acceleration, max((slower - s.speed) / SPEED_RESPONSE_S, -a.comfortable_brake))
    return Constraint(Reason.LANE_DEVIATION, acceleration, (low, high))


ROAD_RULES: dict[str, Rule] = {"traffic_light": traffic_light, "speed_limit": speed_limit, "lane": lane}
TRAFFIC_RULES: dict[str, Rule] = {
    "obstacle": obstacle,
    "lateral_distance": lateral_distance,
    "give_way": give_way,
    "occlusion": occlusion,
    "scene": scene,
}


class RuleChecker:
    """Asks the rules: those of the road once, those of the traffic for every way that the ego could take."""

    def __init__(self, assumptions: Assumptions | None = None) -> None:
        self.assumptions = assumptions or Assumptions()

    def road(self, situation: Situation) -> list[Constraint]:
        """What the rules of the road allow; the hazards are not looked at."""
        return self._ask(ROAD_RULES, situation)

    def traffic(self, situation: Situation) -> list[Constraint]:
        """What the hazards allow."""
        return self._ask(TRAFFIC_RULES, situation)

    def violations(self, situation: Situation, action: Action) -> tuple[Reason, ...]:
        """The rules that this action would break."""
        asked = self.traffic(situation) + self.road(situation)
        return tuple(constraint.reason for constraint in asked if constraint.binds(action))

    def _ask(self, rules: dict[str, Rule], situation: Situation) -> list[Constraint]:
        found = (rule(situation, self.assumptions) for rule in rules.values())
        return [constraint for constraint in found if constraint is not None]
