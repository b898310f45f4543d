from math import inf

import msgspec
import numpy as np
import pytest

from fed_vit_autorl.evaluation.conflict import clearance, time_to_collision
from fed_vit_autorl.evaluation.driving import (
    DrivingEvaluator,
    comfort_signals,
    driving_score_lb20,
    driving_score_lb21,
    episodes,
    is_comfortable,
)
from fed_vit_autorl.evaluation.run_log import Infraction, InfractionKind, RunLog, Step, read_runs, write_runs

DT = 0.05


def drive(seconds=20.0, speed=10.0, acceleration=None, route=200.0, infractions=(), **fields) -> RunLog:
    """Straight ahead at constant speed; `acceleration`, `ttc`, … may be functions of time."""
    steps = []
    for t in np.arange(0, seconds + DT / 2, DT):
        extra = {name: value(t) if callable(value) else value for name, value in fields.items()}
        a = acceleration(t) if acceleration else 0.0
        values = {"yaw_rate": 0.0} | extra
        steps.append(Step(float(t), speed * t, 0.0, 0.0, speed, a, progress=speed * t, speed_limit=12.5, **values))
    return RunLog("r", route, steps, list(infractions), goal=speed * seconds >= route)


def infraction(kind: InfractionKind, at_fault=True) -> Infraction:
    return Infraction(kind, 1.0, at_fault)


def test_scores_of_both_leaderboards_by_hand():
    hits = [infraction(InfractionKind.COLLISION_VEHICLE), infraction(InfractionKind.RED_LIGHT)]
    half = drive(seconds=10, infractions=hits)
    assert half.completion == pytest.approx(0.5)
    assert driving_score_lb20(half) == pytest.approx(50 * 0.6 * 0.7)
    assert driving_score_lb21(half) == pytest.approx(50 / (1 + 0.7 + 0.4))


def test_a_clean_drive_to_the_goal_scores_a_hundred():
    result = DrivingEvaluator()
    result.add(drive())
    figures = result.result()
    assert figures["driving_score_lb20"] == figures["driving_score_lb21"] == 100
    assert (figures["route_completion"], figures["at_fault_collisions"], figures["routes"]) == (1, 0, 1)
    assert figures["at_fault_rate_upper_95"] == 3
    assert figures["efficiency"] == pytest.approx(0.8)
    assert figures["kilometres"] == pytest.approx(0.2)
    assert figures["min_ttc_s"] == inf


def test_driving_off_the_road_scales_the_score_by_its_share():
    assert driving_score_lb20(drive(off_road=lambda t: t > 15)) == pytest.approx(75, abs=0.5)


def test_a_collision_that_is_not_its_fault_counts_but_is_not_blamed():
    evaluator = DrivingEvaluator()
    evaluator.add(drive(infractions=[infraction(InfractionKind.COLLISION_VEHICLE, at_fault=False)]))
    figures = evaluator.result()
    assert (figures["collisions"], figures["at_fault_collisions"]) == (1, 0)


def test_what_lasts_counts_once():
    assert episodes([False, True, True, False, True]) == 2
    evaluator = DrivingEvaluator()
    evaluator.add(
        drive(
            ttc=lambda t: 1.0 if 5 < t < 6 or 8 < t < 9 else None,
            intervention=lambda t: "rss_longitudinal" if 3 < t < 7 else "",
            acceleration=lambda t: -5.0 if 5 < t < 6 else 0.0,
        )
    )
    figures = evaluator.result()
    assert figures["near_misses"] == 2
    assert figures["interventions_per_km"] == pytest.approx(5)
    assert figures["interventions"] == {"rss_longitudinal": 1}
    assert figures["hard_braking_per_km"] == pytest.approx(5)
    assert figures["min_ttc_s"] == 1


def test_comfort_is_judged_after_smoothing():
    # one noisy sample of 4 m/s² is not a jerk of 80 m/s³
    assert is_comfortable(drive(acceleration=lambda t: 3.0 if abs(t - 5) < DT / 2 else 0.0))
    assert not is_comfortable(drive(acceleration=lambda t: -5.0 if t > 10 else 0.0))
    # a ramp of 2 m/s³ is found as such, and lateral acceleration is speed × yaw rate
    signals = comfort_signals(drive(seconds=1.0, acceleration=lambda t: 2 * t, yaw_rate=0.1))
    assert signals["longitudinal_jerk"] == pytest.approx(np.full(21, 2.0))
    assert signals["lateral_acceleration"] == pytest.approx(np.ones(21))


def test_logs_survive_the_disk_and_a_broken_line_is_named(tmp_path):
    runs = [drive(ttc=lambda t: 3.0), drive(infractions=[infraction(InfractionKind.RED_LIGHT)])]
    path = tmp_path / "runs.jsonl"
    write_runs(path, runs)
    assert read_runs(path) == runs
    path.write_bytes(path.read_bytes() + msgspec.json.encode({"route": 3}))
    with pytest.raises(ValueError, match="line 3"):
        read_runs(path)


def test_no_runs_is_said():
    with pytest.raises(ValueError, match="no runs"):
        DrivingEvaluator().result()


CAR = (4.0, 2.0)


def box(x, y, yaw=0.0, vx=0.0, vy=0.0, size=CAR) -> np.ndarray:
    return np.array([x, y, yaw, vx, vy, *size], float)


def test_time_to_collision_by_hand():
    # 30 m between centres, 4 m of cars: 26 m of gap closed at 10 m/s
    assert time_to_collision(box(0, 0, vx=10), box(30, 0)[None]) == pytest.approx(2.6, abs=0.05)
    # the next lane is free, an oncoming car in one's own closes twice as fast
    assert time_to_collision(box(0, 0, vx=10), box(30, 3.5)[None]) == inf
    assert time_to_collision(box(0, 0, vx=10), box(30, 0, np.pi, vx=-10)[None]) == pytest.approx(1.3, abs=0.05)
    # a crossing car: its front (2 m ahead of its centre) reaches the lane's edge (1 m) after 7 m at 5 m/s
    assert time_to_collision(box(0, 0), box(0, -10, np.pi / 2, vy=5)[None]) == pytest.approx(1.4, abs=0.05)
    assert time_to_collision(box(0, 0, vx=10), np.zeros((0, 7))) == inf


def test_clearance_by_hand():
    assert clearance(box(0, 0), box(0, 3)[None]) == pytest.approx(1)
    assert clearance(box(0, 0), box(7, 5)[None]) == pytest.approx(np.hypot(3, 3))
    # a car turned by 45° points a corner at us: its corner lies (4 + 2) / 2 · √½ from its centre
    assert clearance(box(0, 0), box(10, 0, np.pi / 4)[None]) == pytest.approx(10 - 2 - 3 * np.sqrt(0.5))
    assert clearance(box(0, 0), box(1, 1)[None]) == 0
    assert clearance(box(0, 0), np.zeros((0, 7))) == inf
