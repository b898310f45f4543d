"""`DrivingEvaluator`: how safely, how far and how comfortably a vehicle drove, from its run logs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from math import prod

import numpy as np
from numpy.typing import NDArray
from scipy.signal import savgol_filter

from .run_log import COLLISIONS, InfractionKind, RunLog

PENALTY_LB20: dict[InfractionKind, float] = {
    InfractionKind.COLLISION_PEDESTRIAN: 0.5,
    InfractionKind.COLLISION_VEHICLE: 0.6,
    InfractionKind.COLLISION_STATIC: 0.65,
    InfractionKind.RED_LIGHT: 0.7,
    InfractionKind.STOP_SIGN: 0.8,
    InfractionKind.SCENARIO_TIMEOUT: 0.7,
    InfractionKind.YIELD: 0.7,
}
"""Factors of the CARLA Leaderboard 2.0: the score is completion × their product."""

PENALTY_LB21: dict[InfractionKind, float] = {
    InfractionKind.COLLISION_PEDESTRIAN: 1.0,
    InfractionKind.COLLISION_VEHICLE: 0.7,
    InfractionKind.COLLISION_STATIC: 0.6,
    InfractionKind.RED_LIGHT: 0.4,
    InfractionKind.STOP_SIGN: 0.25,
    InfractionKind.SCENARIO_TIMEOUT: 0.4,
    InfractionKind.YIELD: 0.4,
}
"""Summands of the CARLA Leaderboard 2.1: the score is completion / (1 + their sum)."""

NUPLAN_COMFORT: dict[str, tuple[float, float]] = {
    "longitudinal_acceleration": (-4.05, 2.40),
    "lateral_acceleration": (-4.89, 4.89),
    "jerk": (-8.37, 8.37),
    "longitudinal_jerk": (-4.13, 4.13),
    "yaw_rate": (-0.95, 0.95),
    "yaw_acceleration": (-1.93, 1.93),
}
"""Limits within which nuPlan calls a drive comfortable [m/s², m/s³, rad/s, rad/s²]."""

SMOOTHING_S = 0.75
"""Window of the Savitzky-Golay filter (order 2) before comfort is judged."""
HARD_BRAKING = -4.0
"""m/s²; harder than what UN R157 allows a comfortable stop."""
NEAR_MISS_TTC_S = 1.5
"""Hydén's limit of a serious conflict."""
NEAR_MISS_CLEARANCE_M = 0.3
SAFE_TTC_S = 2.0


def off_road_share(run: RunLog) -> float:
    """Share of the driven distance off the road or against traffic, 0 to 1."""
    if len(run.steps) < 2:
        return 0.0
    step_m = np.hypot(np.diff([s.x for s in run.steps]), np.diff([s.y for s in run.steps]))
    off = np.array([s.off_road for s in run.steps[1:]])
    return float(step_m[off].sum() / step_m.sum()) if step_m.sum() > 0 else 0.0


def driving_score_lb20(run: RunLog) -> float:
    """CARLA Leaderboard 2.0 driving score of one route, 0 to 100; distance off the road scales it down."""
    penalty = prod(PENALTY_LB20[infraction.kind] for infraction in run.infractions)
    return 100 * run.completion * penalty * (1 - off_road_share(run))


def driving_score_lb21(run: RunLog) -> float:
    """CARLA Leaderboard 2.1 driving score of one route, 0 to 100."""
    total = sum(PENALTY_LB21[infraction.kind] for infraction in run.infractions)
    return 100 * run.completion / (1 + total) * (1 - off_road_share(run))


def comfort_signals(run: RunLog) -> dict[str, NDArray[np.float64]]:
    """The signals of `NUPLAN_COMFORT`, smoothed; empty for runs shorter than the filter's window."""
    stamps = np.array([step.stamp for step in run.steps])
    if len(stamps) < 2:
        return {}
    dt = float(np.median(np.diff(stamps)))
    window = max(round(SMOOTHING_S / dt) | 1, 3)
    if len(stamps) < window:
        return {}

    def smooth(values: NDArray, derivative: int = 0) -> NDArray[np.float64]:
        return savgol_filter(values, window, 2, deriv=derivative, delta=dt)

    speed, along, yaw_rate = (
        np.array([getattr(s, n) for s in run.steps]) for n in ("speed", "acceleration", "yaw_rate")
    )
    across = speed * yaw_rate
    return {
        "longitudinal_acceleration": smooth(along),
        "lateral_acceleration": smooth(across),
        "jerk": smooth(np.hypot(along, across), 1),
        "longitudinal_jerk": smooth(along, 1),
        "yaw_rate": smooth(yaw_rate),
        "yaw_acceleration": smooth(yaw_rate, 1),
    }


def is_comfortable(run: RunLog) -> bool:
    """True if every smoothed signal stays within nuPlan's limits all the way."""
    signals = comfort_signals(run)
    return all(
        ((low <= signals[n]) & (signals[n] <= high)).all() for n, (low, high) in NUPLAN_COMFORT.items() if n in signals
    )


def episodes(flags: Iterable[bool]) -> int:
    """How often a condition began: runs of True."""
    values = np.fromiter(flags, bool)
    return int((values & ~np.concatenate([[False], values[:-1]])).sum())


class DrivingEvaluator:
    """Collects runs; `result` is their mean over routes and their counts per kilometre."""

    def __init__(self) -> None:
        self.runs: list[RunLog] = []

    def add(self, run: RunLog) -> None:
        self.runs.append(run)

    def result(self) -> dict:
        """Figures of all runs, and of each domain under `by_domain`. Raises ValueError if there are none."""
        domains = sorted({run.domain for run in self.runs if run.domain})
        groups = {domain: _figures([run for run in self.runs if run.domain == domain]) for domain in domains}
        return _figures(self.runs) | {"by_domain": groups}


def _figures(runs: list[RunLog]) -> dict:
    if not runs:
        raise ValueError("no runs to evaluate")
    kilometres = sum(run.distance for run in runs) / 1000
    infractions = [infraction for run in runs for infraction in run.infractions]
    collisions = [infraction for infraction in infractions if infraction.kind in COLLISIONS]
    at_fault = sum(collision.at_fault for collision in collisions)
    steps = [step for run in runs for step in run.steps]

    def per_km(count: int) -> float:
        return count / kilometres if kilometres > 0 else float("nan")

    return {
        "routes": len(runs),
        "kilometres": kilometres,
        "route_completion": float(np.mean([run.completion for run in runs])),
        "goals_reached": float(np.mean([run.goal for run in runs])),
        "driving_score_lb20": float(np.mean([driving_score_lb20(run) for run in runs])),
        "driving_score_lb21": float(np.mean([driving_score_lb21(run) for run in runs])),
        "collisions": len(collisions),
        "at_fault_collisions": at_fault,
        # the rule of three: with none in N, the rate lies below 3/N at 95 %
        "at_fault_rate_upper_95": 3 / len(runs) if at_fault == 0 else None,
        "infractions": dict(Counter(infraction.kind.value for infraction in infractions)),
        "infractions_per_km": per_km(len(infractions)),
        "off_road_share": float(np.mean([off_road_share(run) for run in runs])),
        "min_ttc_s": min((step.seconds_to_collision for step in steps), default=float("inf")),
        "ttc_ok_share": float(np.mean([step.seconds_to_collision >= SAFE_TTC_S for step in steps])) if steps else 1.0,
        "near_misses": sum(_near_misses(run) for run in runs),
        "hard_braking_per_km": per_km(sum(episodes(s.acceleration < HARD_BRAKING for s in run.steps) for run in runs)),
        "interventions_per_km": per_km(sum(episodes(bool(s.intervention) for s in run.steps) for run in runs)),
        "interventions": dict(Counter(reason for run in runs for reason in _begun(run))),
        "speed_mean": float(np.mean([step.speed for step in steps])) if steps else 0.0,
        "efficiency": float(np.mean([min(s.speed / s.speed_limit, 1) for s in steps if s.speed_limit > 0] or [0.0])),
        "speeding_share": float(np.mean([step.speed > step.speed_limit + 0.5 for step in steps])) if steps else 0.0,
        "comfortable_share": float(np.mean([is_comfortable(run) for run in runs])),
        "comfort": _comfort(runs),
    }


def _near_misses(run: RunLog) -> int:
    def near(step) -> bool:
        tight = step.clearance is not None and step.clearance < NEAR_MISS_CLEARANCE_M and step.speed > 1.0
        return step.seconds_to_collision < NEAR_MISS_TTC_S or tight

    return episodes(near(step) for step in run.steps)


def _begun(run: RunLog) -> list[str]:
    before = ["", *(step.intervention for step in run.steps)]
    return [
        s.intervention for s, last in zip(run.steps, before, strict=False) if s.intervention and s.intervention != last
    ]


def _comfort(runs: list[RunLog]) -> dict[str, float]:
    """95th percentiles of the smoothed magnitudes over all runs."""
    signals = [comfort_signals(run) for run in runs]
    return {
        f"{name}_p95": float(np.percentile(np.abs(np.concatenate([s[name] for s in signals if s])), 95))
        for name in NUPLAN_COMFORT
        if any(signals)
    }
