"""The safety validation phase: thousands of short drives in dense, hostile traffic, each judged by what went wrong."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np

from fed_vit_autorl.edge.runtime import ModelRuntime
from fed_vit_autorl.evaluation.driving import NEAR_MISS_CLEARANCE_M, NEAR_MISS_TTC_S
from fed_vit_autorl.reinforcement.closed_loop import conflict, drive
from fed_vit_autorl.reinforcement.degrade import DegradedPerception
from fed_vit_autorl.reinforcement.drivers import PolicyDriver, ShieldedDriver, TruthPerception
from fed_vit_autorl.simulation.boxworld import EGO, BoxView, BoxWorld

SCENARIO_SEED = 2_000_000
LIMIT_S = 40.0
SPEEDING = 1.0
"""m/s over the limit that count as a violation."""


class Outcome(msgspec.Struct, frozen=True):
    """What happened in scenario `seed`: contacts (and those at fault), near misses, violations, whether the shield
    intervened, and the share of the route driven.
    """

    seed: int
    collisions: int
    at_fault: int
    near_miss: bool
    violation: bool
    intervention: bool
    completion: float


def run_scenario(policy: ModelRuntime, seed: int) -> Outcome:
    """One drive of the policy under the shield."""

    def make(name: str, view: BoxView) -> ShieldedDriver:
        width = policy.input_shapes["features"][1]
        perception = TruthPerception(DegradedPerception(width, np.random.default_rng([seed, 5])))
        return ShieldedDriver(view, PolicyDriver(view, policy, perception))

    collisions = at_fault = 0
    near = violated = intervened = False
    light = None
    for views, actions in drive(BoxWorld(), seed, make, LIMIT_S):
        view = views[EGO]
        collisions += len(view.events)
        at_fault += sum(event.at_fault for event in view.events)
        seconds, metres = conflict(view)
        moving = view.ego.speed > 1.0
        near |= moving and (seconds or np.inf) < NEAR_MISS_TTC_S
        near |= moving and metres is not None and metres < NEAR_MISS_CLEARANCE_M
        crossed = light is not None and view.light is not None and light.distance > 0.0 >= view.light.distance
        violated |= (crossed and view.light.state == "red") or view.ego.speed > view.route.speed_limits[0] + SPEEDING
        light = view.light
        intervened |= bool(actions[EGO].intervention)
    return Outcome(seed, collisions, at_fault, bool(near), bool(violated), intervened, view.completion)


def validate_safety(
    policy: ModelRuntime, scenarios: int, record: Path, progress: Callable[[int, int], None] | None = None
) -> dict[str, float]:
    """Rates per scenario; those in `record` (one JSON object a line) are not driven again.

    With no collision at fault in N scenarios its rate lies below 3 / N at 95 %.
    """
    outcomes = [msgspec.json.decode(line, type=Outcome) for line in _lines(record)][:scenarios]
    with record.open("ab") as file:
        for number in range(len(outcomes), scenarios):
            outcomes.append(run_scenario(policy, SCENARIO_SEED + number))
            file.write(msgspec.json.encode(outcomes[-1]) + b"\n")
            file.flush()
            if progress is not None:
                progress(number + 1, scenarios)
    at_fault = sum(one.at_fault for one in outcomes)
    return {
        "scenarios": scenarios,
        "collision_rate": sum(one.collisions for one in outcomes) / scenarios,
        "at_fault_collisions": at_fault,
        "at_fault_upper_bound_95": 3.0 / scenarios if at_fault == 0 else None,
        "near_miss_rate": sum(one.near_miss for one in outcomes) / scenarios,
        "violation_rate": sum(one.violation for one in outcomes) / scenarios,
        "intervention_rate": sum(one.intervention for one in outcomes) / scenarios,
        "route_completion": float(np.mean([one.completion for one in outcomes])),
    }


def _lines(record: Path) -> list[bytes]:
    return record.read_bytes().splitlines() if record.exists() else []
