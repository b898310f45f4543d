"""One episode: a good driver, made bad at some moment, with the shield between it and the vehicle."""

from dataclasses import dataclass

import msgspec
import numpy as np

from fed_vit_autorl.reinforcement.expert import Expert
from fed_vit_autorl.reinforcement.vehicle import pedals
from fed_vit_autorl.simulation.boxworld import EGO, BoxView, BoxWorld
from fed_vit_autorl.simulation.events import Collision
from fed_vit_autorl.simulation.observation import Observation
from fed_vit_autorl.simulation.vehicle import VehicleParameters
from fed_vit_autorl.simulation.world import World

from ..in_world import control_of, inputs_of, route_of
from ..shield import SafetyShield
from ..types import Proposal, ShieldOutput
from .adversaries import ADVERSARIES
from .sensor_faults import FAULTS

SECONDS = 20.0
HARDER = 2.0
FALSE_STOP_S = 0.3
HELD_GAP_M = 3.2
CLEAR_GAP_M = 4.5
GO = 1e-3


@dataclass(frozen=True)
class Plan:
    """What an episode is, by its number alone."""

    number: int
    adversary: str
    fault: str
    begins: float

    @classmethod
    def of(cls, number: int) -> "Plan":
        """A fifth is nominal, two fifths have a bad policy, two fifths bad sensors under one that is good or speeds."""
        rng = np.random.default_rng([number, 7])
        kind = number % 5
        adversary = "nominal" if kind == 0 else str(rng.choice([name for name in ADVERSARIES if name != "nominal"]))
        fault = "none"
        if kind in (3, 4):
            fault = str(rng.choice([name for name in FAULTS if name != "none"]))
            adversary = str(rng.choice(("nominal", "full_throttle")))
        return cls(number, adversary, fault, float(rng.uniform(2.0, 10.0)))


class Episode(msgspec.Struct, frozen=True):
    """What happened. Collisions are described; `false_stop` only counts where the driver was nominal and healthy.

    `held` and `standing` count frames with an obstacle at less than 3.2 m before the standing ego; `resumed` lists the
    seconds from a clear way to the first throttle.
    """

    number: int
    adversary: str
    fault: str
    metres: float
    at_fault: list[str]
    others_fault: list[str]
    false_stop: bool
    false_reasons: list[str]
    held: int
    standing: int
    resumed: list[float]


def run(world: World | BoxWorld, number: int) -> Episode:
    """Drives episode `number`, for 20 s or to the route's end, in its world (see `worlds`)."""
    plan = Plan.of(number)
    seen = world.reset(number)[EGO]
    driver = _Driver(seen, plan)
    shield = SafetyShield(seen.base_from_lidar)
    route, tally = route_of(seen.route), _Tally(plan)
    for _ in range(round(SECONDS / world.dt)):
        good = driver.propose(seen)
        inputs = inputs_of(seen, route, good)
        if seen.stamp >= plan.begins:
            inputs.proposal = driver.adversary(good)
            inputs.scan, inputs.odometry = driver.fault(inputs.scan, inputs.odometry)
        output = shield.step(inputs, seen.stamp)
        tally.frame(seen, good, output, world.dt)
        if seen.completion >= 1.0:
            break
        seen = world.step({EGO: control_of(output.control)})[EGO]
    return tally.result()


class _Driver:
    """The privileged expert, its adversary and its sensors."""

    def __init__(self, seen: Observation | BoxView, plan: Plan) -> None:
        self._expert, self._vehicle = Expert(route_of(seen.route)), VehicleParameters()
        self.adversary = ADVERSARIES[plan.adversary](np.random.default_rng([plan.number, 8]))
        self.fault = FAULTS[plan.fault](np.random.default_rng([plan.number, 9]))

    def propose(self, seen: Observation | BoxView) -> Proposal:
        decision = self._expert.decide(seen.ego, seen.truth.users, seen.truth.stop_line)
        throttle, brake = pedals(decision.acceleration, seen.ego.speed, self._vehicle)
        return Proposal(seen.stamp, decision.steering, throttle, brake, decision.path)


class _Tally:
    """Counts over the frames of one episode."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._at_fault: list[str] = []
        self._others_fault: list[str] = []
        self._metres = 0.0
        self._needless_s, self._false_reasons = 0.0, set()
        self._false_stop = False
        self._held = self._standing = 0
        self._clear_since: float | None = None
        self._resumed: list[float] = []
        self._waited = False

    def frame(self, seen: Observation | BoxView, good: Proposal, output: ShieldOutput, dt: float) -> None:
        self._metres += seen.ego.speed * dt
        for event in seen.events:
            if isinstance(event, Collision):
                text = f"{event.stamp:.2f} s {event.kind} at {event.ego_speed:.1f} m/s, bearing {event.bearing:.2f}"
                (self._at_fault if event.at_fault else self._others_fault).append(text)
        healthy = self._plan.adversary == "nominal" and self._plan.fault == "none"
        if healthy:
            self._judge_stop(good, output, dt)
        if self._plan.fault == "none" and self._plan.adversary == "full_throttle" and seen.stamp > self._plan.begins:
            self._judge_holding(seen, output)

    def _judge_stop(self, good: Proposal, output: ShieldOutput, dt: float) -> None:
        wanted = 3.5 * good.throttle - 8.0 * good.brake
        given = 3.5 * output.control.throttle - 8.0 * output.control.brake
        needless = given < wanted - HARDER and bool(output.reasons)
        self._needless_s = self._needless_s + dt if needless else 0.0
        if needless:
            self._false_reasons.update(map(str, output.reasons))
        self._false_stop |= self._needless_s >= FALSE_STOP_S

    def _judge_holding(self, seen: Observation | BoxView, output: ShieldOutput) -> None:
        stands, gap = seen.ego.speed < 0.1, seen.truth.lead_gap
        if stands and gap < HELD_GAP_M:
            self._standing += 1
            self._held += output.control.throttle < GO
            self._waited, self._clear_since = True, None
        red = seen.light is not None and seen.light.state != "green" and seen.light.distance > 0.0
        if not self._waited or gap < CLEAR_GAP_M or red:
            return
        self._clear_since = seen.stamp if self._clear_since is None else self._clear_since
        if output.control.throttle > GO:
            self._resumed.append(round(seen.stamp - self._clear_since, 3))
            self._waited = False

    def result(self) -> Episode:
        plan = self._plan
        return Episode(
            number=plan.number,
            adversary=plan.adversary,
            fault=plan.fault,
            metres=round(self._metres, 1),
            at_fault=self._at_fault,
            others_fault=self._others_fault,
            false_stop=self._false_stop,
            false_reasons=sorted(self._false_reasons),
            held=self._held,
            standing=self._standing,
            resumed=self._resumed,
        )
