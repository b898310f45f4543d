"""The bicycle model against the arithmetic that it stands for."""

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fed_vit_autorl.simulation.vehicle import (
    FULL_BRAKE,
    Control,
    ControlReason,
    ControlRefused,
    VehicleParameters,
    VehicleState,
    step,
)

CAR = VehicleParameters()


def held_at(speed: float, steering: float, seconds: float = 10.0) -> VehicleState:
    """The state after driving a circle at a speed that is held."""
    state = VehicleState(speed=speed)
    for _ in range(round(seconds / 0.05)):
        state = step(replace(state, speed=speed, acceleration=0.0), Control(steering), 0.05, CAR)
    return state


@pytest.mark.parametrize(("speed", "steering"), [(8.0, 0.05), (10.0, 0.03), (20.0, 0.01), (30.0, -0.005)])
def test_yaw_rate_in_a_steady_turn(speed, steering):
    # K = m (b C_r - a C_f) / (C_f C_r L) = 1500 (1.45 120e3 - 1.25 110e3) / (110e3 120e3 2.7) = 0.001536 s²/m
    understeer = 1500 * (1.45 * 120e3 - 1.25 * 110e3) / (110e3 * 120e3 * 2.7)
    assert CAR.understeer_gradient == pytest.approx(understeer)
    expected = speed * steering / (2.7 + understeer * speed**2)
    assert held_at(speed, steering).yaw_rate == pytest.approx(expected, rel=0.01)


def test_at_low_speed_the_rear_axle_describes_the_kinematic_circle():
    # R = L / tan δ = 2.7 / tan 0.3 = 8.728 m: after half a turn the car is one diameter to the left.
    radius, speed = 2.7 / math.tan(0.3), 2.0
    state = VehicleState(speed=speed, steering_angle=0.3)
    for _ in range(round(math.pi * radius / speed / 0.01)):
        state = step(replace(state, speed=speed, acceleration=0.0), Control(0.3), 0.01, CAR)
    assert state.y == pytest.approx(2 * radius, rel=0.03)
    assert abs(state.yaw) == pytest.approx(math.pi, abs=0.05)


def test_full_brake_stops_in_the_distance_that_deceleration_allows():
    # 15² / (2 · 8.0) = 14.06 m, and 0.2 s to build the deceleration up at 40 m/s³ costs v · 0.2 / 2 = 1.5 m.
    state = VehicleState(speed=15.0)
    while state.speed > 0:
        state = step(state, FULL_BRAKE, 0.05, CAR)
    assert 14.06 < state.x < 14.06 + 1.6
    assert step(state, FULL_BRAKE, 0.05, CAR).x == state.x, "it does not roll backwards"


def test_a_wet_road_brakes_no_harder_than_its_friction():
    # μ g = 0.9 · 0.5 · 9.81 = 4.41 m/s²
    state = VehicleState(speed=20.0)
    for _ in range(20):
        state = step(state, FULL_BRAKE, 0.05, CAR, grip=0.5)
    assert state.acceleration == pytest.approx(-0.9 * 0.5 * 9.81, rel=1e-6)


def test_the_steering_actuator_has_a_rate_and_a_lock():
    state = step(VehicleState(), Control(1.5), 0.05, CAR)
    assert state.steering_angle == pytest.approx(0.9 * 0.05)
    for _ in range(100):
        state = step(state, Control(1.5), 0.05, CAR)
    assert state.steering_angle == pytest.approx(0.61)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_control_that_is_no_number_is_refused(bad):
    for name in ("steering_angle", "throttle", "brake"):
        with pytest.raises(ControlRefused) as refusal:
            Control(**{name: bad})
        assert refusal.value.reason == ControlReason.NOT_FINITE


controls = st.builds(Control, st.floats(-2, 2), st.floats(-1, 2), st.floats(-1, 2))


@settings(max_examples=40, deadline=None)
@given(st.lists(controls, min_size=1, max_size=60), st.floats(0, 35), st.floats(0.3, 1.0))
def test_any_driving_stays_finite_within_limits_and_mirrors(driving, speed, grip):
    left = right = VehicleState(speed=speed)
    for control in driving:
        left = step(left, control, 0.05, CAR, grip)
        right = step(right, replace(control, steering_angle=-control.steering_angle), 0.05, CAR, grip)
        assert all(map(math.isfinite, vars(left).values()))
        assert 0 <= left.speed <= CAR.max_speed
        assert abs(left.steering_angle) <= CAR.max_steering_angle
    assert (right.x, right.y, right.yaw_rate) == pytest.approx((left.x, -left.y, -left.yaw_rate), abs=1e-6)
