"""The safety shield: from the latest inputs to a command that is safe, and why. No ROS, no wall clock."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fed_vit_autorl.data.sample import EgoState
from fed_vit_autorl.reinforcement.route import Pose, to_map

from .assumptions import Assumptions
from .corridor import contacts, plan
from .guidance import Guidance, Guide
from .limits import Constraint, ConstraintHandler, steering_rate
from .monitors import dead_reckoned
from .mrm import NORMAL, Manoeuvre, MrmState, advance, clear
from .reasons import Reason
from .rules import RuleChecker, Situation, free_way
from .senses import Senses
from .types import Action, Light, LightState, Scan, ShieldInputs, ShieldOutput

MARGIN_M = 10.0
PUSHING = 0.3
FRAME_S = 0.05


AT_REST = Action(0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Memory:
    """What one tick leaves to the next."""

    time: float = math.nan
    action: Action = AT_REST
    manoeuvre: Manoeuvre = NORMAL
    progress: float | None = None
    intervening: bool = False
    interventions: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """One steering angle [rad], what the rules say to it, and the free way [m] that it leads along."""

    steering: float
    constraints: list[Constraint]
    room: float

    @property
    def bound(self) -> float:
        """The greatest acceleration that the rules allow [m/s²]."""
        return min((constraint.acceleration for constraint in self.constraints), default=math.inf)


class SafetyShield:
    """Judges every proposal, and drives to a stop by itself when it has to.

    `step` may be called as often as one likes: what it does depends on the inputs and on `now` alone, and ticks at the
    same `now` replace each other, so a run in lockstep does not depend on how many there were.
    """

    def __init__(self, base_from_lidar: NDArray[np.float64], assumptions: Assumptions | None = None) -> None:
        """`base_from_lidar` (4, 4) maps the `lidar` frame to `base_link`."""
        self.assumptions = assumptions or Assumptions()
        self.checker, self.handler = RuleChecker(self.assumptions), ConstraintHandler(self.assumptions)
        self._senses, self._guide = Senses(base_from_lidar, self.assumptions), Guide(self.assumptions)
        self._before = self._after = Memory()
        self._inputs: ShieldInputs | None = None
        self._output: ShieldOutput

    @property
    def interventions(self) -> int:
        """How often the shield has stepped in since it was made."""
        return self._after.interventions

    def clear(self) -> None:
        """What the clear service does: ends a latched manoeuvre; a cause that is still there starts a new one."""
        self._before = replace(self._before, manoeuvre=clear(self._before.manoeuvre))
        self._after = replace(self._after, manoeuvre=clear(self._after.manoeuvre))
        self._inputs = None

    def look(self, scan: Scan) -> None:
        """Takes most of its work off the next tick; call it when a scan comes. `step` does it where nobody has."""
        self._senses.surroundings.look(scan)

    def step(self, inputs: ShieldInputs, now: float) -> ShieldOutput:
        """The command at `now` [s, the clock of the inputs' stamps]; call it at 50 Hz and with every proposal."""
        if now == self._after.time and inputs == self._inputs:
            return self._output
        self._inputs = replace(inputs)
        if now != self._after.time:
            self._before = self._after
        seen = self._senses.observe(inputs, now, self._before.action.acceleration > PUSHING)
        if seen.ego is None:
            return self._stop_blind(seen.faults, now)
        return self._drive(inputs, seen.ego, seen.localised, seen.faults, now)

    def _stop_blind(self, faults: tuple[Reason, ...], now: float) -> ShieldOutput:
        """Without odometry nothing is known but that it has to stop: full brake, the wheels where they are."""
        manoeuvre = advance(self._before.manoeuvre, faults, None, 0.0, now, self.assumptions)
        action = Action(self._before.action.steering, -self.assumptions.max_deceleration)
        return self._conclude(action, manoeuvre.reasons, manoeuvre, None, now, standing=False)

    def _drive(
        self, inputs: ShieldInputs, ego: EgoState, localised: bool, faults: tuple[Reason, ...], now: float
    ) -> ShieldOutput:
        a, before = self.assumptions, self._before
        pose = dead_reckoned(ego, now - ego.stamp)
        proposal = None if any(fault.startswith("proposal") for fault in faults) else inputs.proposal
        planned_at = self._senses.localisation.at(proposal.stamp) if proposal else None
        route = inputs.route if localised else None
        guidance = self._guide.guide(proposal, planned_at, route, pose, before.progress, ego.speed)
        tracking = self._guide.steering(guidance, pose, ego.speed, before.action.steering)
        wanted = Action(tracking, 0.0)
        if proposal:
            wanted = self.handler.action(proposal.steering_angle, proposal.throttle, proposal.brake)
        judge = self._judge(inputs, guidance, pose, ego.speed, tracking, now)
        best, avoided = self._nearest_safe(judge, wanted, tracking)
        manoeuvre = advance(before.manoeuvre, faults, abs(ego.speed), best.room, now, a)
        if manoeuvre.active:
            best = judge(tracking)
            wanted = Action(tracking, min(wanted.acceleration, -manoeuvre.deceleration(a)))
        action, moved = self.handler.project(Action(best.steering, wanted.acceleration), best.constraints)
        within_a_frame = abs(action.steering - wanted.steering) < steering_rate(ego.speed, a) * FRAME_S
        moved = tuple(reason for reason in moved if reason is not Reason.STEERING_RATE or not within_a_frame)
        reasons = tuple(dict.fromkeys((*manoeuvre.reasons, *avoided, *moved, *guidance.faults)))
        progress = guidance.on_route.s if guidance.on_route else None
        return self._conclude(action, reasons, manoeuvre, progress, now, standing=abs(ego.speed) < a.standstill)

    def _nearest_safe(
        self, judge: Callable[[float], Candidate], wanted: Action, tracking: float
    ) -> tuple[Candidate, tuple[Reason, ...]]:
        """The steering nearest to the proposed one for which comfortable braking is enough; else the least unsafe.

        Tried are the proposed angle, the one that follows the reference, and the one midway. With it come the reasons
        why it is not the proposed one.
        """
        enough = min(wanted.acceleration, -self.assumptions.comfortable_brake)
        proposed = judge(wanted.steering)
        if proposed.bound >= enough:
            return proposed, ()
        midway = judge(0.5 * (wanted.steering + tracking))
        best = midway if midway.bound >= enough else judge(tracking)
        if best.bound < max(midway.bound, proposed.bound):
            best = max(midway, proposed, key=lambda candidate: candidate.bound)
        why = tuple(constraint.reason for constraint in proposed.constraints if constraint.acceleration < enough)
        return best, why if best is not proposed else ()

    def _judge(
        self, inputs: ShieldInputs, guidance: Guidance, pose: Pose, speed: float, tracking: float, now: float
    ) -> Callable[[float], Candidate]:
        """A function that says what the rules say to a steering angle."""
        a, before, surroundings = self.assumptions, self._before, self._senses.surroundings
        road = Situation(
            speed=speed,
            on_route=guidance.on_route,
            off_route=guidance.off_route,
            route_curvatures=guidance.route_curvatures,
            lights=_lights(inputs, speed, now, a),
            speed_limits=guidance.speed_limits,
        )
        dt = 0.0 if math.isnan(before.time) else max(now - before.time, 0.0)
        always = self.handler.limits(speed, before.action.steering, dt) + self.checker.road(road)
        reach = speed * a.response_time + speed**2 / (2.0 * a.assured_brake) + MARGIN_M
        scene = self._scene(inputs, now)

        def judge(steering: float) -> Candidate:
            applied = self.handler.project(Action(steering, 0.0), always)[0].steering
            corridor = plan(pose, speed, applied, tracking, reach, guidance.reference, guidance.near, a)
            hazards = surroundings.hazards(corridor, speed)
            blocked = float(hazards.way.min(initial=math.inf))
            seen = float(contacts(corridor, scene, a).way.min()) if len(scene) else math.inf
            situation = replace(
                road,
                hazards=hazards,
                visible=surroundings.visible_way(corridor, blocked),
                scene_way=seen if seen < blocked - a.min_gap else math.inf,
            )
            room = float(free_way(hazards, a).min(initial=math.inf)) if self._senses.has_seen else 0.0
            return Candidate(steering, always + self.checker.traffic(situation), room)

        return judge

    def _scene(self, inputs: ShieldInputs, now: float) -> NDArray[np.float64]:
        """Positions (K, 2) in `map` where a fresh learned scene sees road users."""
        scene = inputs.scene
        if scene is None or not 0.0 <= now - scene.stamp <= self.assumptions.scene_deadline:
            return np.zeros((0, 2))
        at = self._senses.localisation.at(scene.stamp)
        return to_map(scene.positions[np.isfinite(scene.positions).all(axis=1)], Pose(*at.position[:2], at.yaw))

    def _conclude(
        self,
        action: Action,
        reasons: tuple[Reason, ...],
        manoeuvre: Manoeuvre,
        progress: float | None,
        now: float,
        standing: bool,
    ) -> ShieldOutput:
        before, intervening = self._before, bool(reasons)
        started = intervening and not before.intervening
        self._after = Memory(now, action, manoeuvre, progress, intervening, before.interventions + started)
        done = manoeuvre.state is MrmState.SUCCEEDED
        command = self.handler.command(action, standing, hand_brake=done, hazard_lights=manoeuvre.active)
        self._output = ShieldOutput(command, reasons, manoeuvre)
        return self._output


def _lights(inputs: ShieldInputs, speed: float, now: float, a: Assumptions) -> tuple[Light, ...]:
    """The lights, brought up to `now`; when the message is late nobody knows their states."""
    if inputs.lights is None:
        return ()
    age = now - inputs.lights.stamp
    known = -a.future_tolerance <= age <= a.lights_deadline
    return tuple(
        Light(light.state if known else LightState.UNKNOWN, light.distance - speed * max(age, 0.0))
        for light in inputs.lights.lights
        if math.isfinite(light.distance)
    )
