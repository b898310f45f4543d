"""The replay's arithmetic on hand-made frames."""

import pytest
from carla_msgs.msg import CarlaEgoVehicleControl
from fed_vit_msgs.msg import ControlCommand, ControlProposal, Scene

from fed_vit_sim.lockstep import Frame
from fed_vit_sim.replay_metrics import (
    Metrics,
    false_stop_rate,
    free_direction,
    percentiles,
    row_of,
    steering_correlation,
    time_to_stop,
)

DRIVES, STOPS = CarlaEgoVehicleControl(throttle=0.4), CarlaEgoVehicleControl(brake=0.6)


def frame(index: int, brake: float = 0.0, recorded=None, steering: float = 0.0, why: str = "") -> Frame:
    command = ControlCommand(brake=brake, steering_angle=steering)
    proposal = ControlProposal(steering_angle=steering, reason=why)
    return Frame(index * 100_000_000, command=command, proposal=proposal, recorded=recorded, latency_ms=float(index))


def test_free_direction_leans_to_the_open_side():
    # Two sectors of a 1.2 rad view have their middles at +0.3 and -0.3: (0.3·30 - 0.3·10) / 40 = 0.15
    assert free_direction(Scene(free_distance=[30.0, 10.0])) == pytest.approx(0.15)
    assert free_direction(Scene(free_distance=[0.0, 0.0])) is None


def test_carlas_right_is_our_negative_steering():
    rows = [
        row_of(frame(i, recorded=CarlaEgoVehicleControl(throttle=0.4, steer=-i / 10), steering=i / 20))
        for i in range(5)
    ]
    assert steering_correlation(rows) == ("policy_proposal", pytest.approx(1.0))


def test_a_policy_that_only_asks_for_a_stop_is_not_what_is_compared():
    rows = [row_of(frame(i, recorded=STOPS, steering=i / 20, why="route_missing")) for i in range(5)]
    assert steering_correlation(rows) == ("free_road_direction", None)


def test_time_to_stop_is_the_median_over_the_stops():
    # The driver stops at 0.5 s and at 3.0 s, for a second each; we brake 0.2 s and 0.4 s later: median 0.3 s.
    stops = [*range(5, 16), *range(30, 41)]
    brakes = [*range(7, 16), *range(34, 41)]
    rows = [row_of(frame(i, float(i in brakes), STOPS if i in stops else DRIVES)) for i in range(50)]
    assert time_to_stop(rows) == pytest.approx(0.3)
    assert false_stop_rate(rows) == 0.0


def test_false_stops_are_counted_where_the_driver_drove_on():
    # Brakes on in the start-up second, which does not count, and in frames 12 and 13 of the eight after it.
    rows = [row_of(frame(i, float(i < 4 or i in (12, 13)), DRIVES)) for i in range(18)]
    assert false_stop_rate(rows) == pytest.approx(0.25)
    assert time_to_stop(rows) is None


def test_percentiles_of_nothing_are_unknown():
    assert percentiles([]) == {"p50": None, "p95": None, "p99": None, "max": None}
    assert percentiles(range(101)) == {"p50": 50.0, "p95": 95.0, "p99": 99.0, "max": 100.0}


def test_one_bit_of_one_command_changes_the_digest():
    def digest(steering: float) -> str:
        metrics = Metrics()
        metrics.add(frame(0, steering=steering))
        return metrics.report()["commands_sha256"]

    assert digest(0.1) == digest(0.1)
    assert digest(0.1) != digest(0.1 + 1e-8)
