"""What the vehicle may be asked for, and projection onto what is allowed; numbers from SPEC F2."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fed_vit_autorl.safety.assumptions import Assumptions, _assume, table
from fed_vit_autorl.safety.limits import TOLERANCE, Constraint, ConstraintHandler, steering_range, steering_rate
from fed_vit_autorl.safety.reasons import Reason
from fed_vit_autorl.safety.types import Action

A = Assumptions()
HANDLER = ConstraintHandler()
finite = st.floats(-1e3, 1e3)
actions = st.builds(Action, finite, finite)
constraints = st.lists(
    st.builds(
        Constraint,
        st.sampled_from(Reason),
        st.floats(-8.0, 50.0),
        st.tuples(st.floats(-2.0, 0.0), st.floats(0.0, 2.0)),
    ),
    max_size=5,
)


@given(actions, constraints)
def test_the_projection_is_allowed_and_a_second_one_changes_nothing(action, box):
    projected, reasons = HANDLER.project(action, box)
    assert not any(constraint.binds(projected) for constraint in box)
    again, none = HANDLER.project(projected, box)
    assert again == projected
    assert none == ()
    unchanged = abs(projected.steering - action.steering) <= TOLERANCE
    unchanged &= abs(projected.acceleration - max(action.acceleration, -A.max_deceleration)) <= TOLERANCE
    assert unchanged or reasons


@given(actions, constraints, actions)
def test_no_allowed_action_is_nearer_than_the_projection(action, box, other):
    projected, _ = HANDLER.project(action, box)
    allowed, _ = HANDLER.project(other, box)
    for name in ("steering", "acceleration"):
        near = abs(getattr(projected, name) - getattr(action, name))
        assert near <= abs(getattr(allowed, name) - getattr(action, name)) + 1e-9


def test_the_first_of_two_steering_intervals_that_exclude_each_other_wins():
    rate = Constraint(Reason.STEERING_RATE, steering=(-0.01, 0.01))
    lane = Constraint(Reason.LANE_DEVIATION, steering=(0.2, 0.3))
    assert HANDLER.project(Action(0.0, 0.0), [rate, lane])[0].steering == pytest.approx(0.01)
    assert HANDLER.project(Action(0.0, 0.0), [lane, rate])[0].steering == pytest.approx(0.2)


def test_only_the_constraints_that_bind_are_named_once_and_in_order():
    box = [
        Constraint(Reason.OBSTACLE, acceleration=-1.0),
        Constraint(Reason.SPEED_LIMIT, acceleration=5.0),
        Constraint(Reason.LANE_DEVIATION, steering=(-0.1, 0.1)),
        Constraint(Reason.OBSTACLE, acceleration=-2.0),
    ]
    action, reasons = HANDLER.project(Action(0.5, 0.0), box)
    assert reasons == (Reason.OBSTACLE, Reason.LANE_DEVIATION)
    assert (action.steering, action.acceleration) == (pytest.approx(0.1), pytest.approx(-2.0))


@pytest.mark.parametrize(
    ("constraint", "action", "binds"),
    [
        (Constraint(Reason.OBSTACLE, acceleration=1.0), Action(0.0, 1.0), False),
        (Constraint(Reason.OBSTACLE, acceleration=1.0), Action(0.0, 1.001), True),
        (Constraint(Reason.OBSTACLE, steering=(-0.1, 0.2)), Action(-0.1, 9.0), False),
        (Constraint(Reason.OBSTACLE, steering=(-0.1, 0.2)), Action(-0.101, 0.0), True),
        (Constraint(Reason.OBSTACLE, steering=(-0.1, 0.2)), Action(0.2, 0.0), False),
        (Constraint(Reason.OBSTACLE, steering=(-0.1, 0.2)), Action(0.201, 0.0), True),
        (Constraint(Reason.OBSTACLE), Action(9.0, 9.0), False),
    ],
)
def test_a_constraint_binds_outside_its_box_only(constraint, action, binds):
    assert constraint.binds(action) is binds


def test_full_brake_is_the_least_that_is_ever_commanded():
    action, _ = HANDLER.project(Action(0.0, 0.0), [Constraint(Reason.OBSTACLE, acceleration=-math.inf)])
    assert action.acceleration == -8.0


def test_the_vehicles_limits_are_the_specified_ones():
    rate, angle, acceleration = HANDLER.limits(speed=0.0, previous_steering=0.1, dt=0.02)
    assert rate.steering == (pytest.approx(0.1 - 0.5 * 0.02), pytest.approx(0.1 + 0.5 * 0.02))
    assert angle.steering == (-0.61, 0.61)
    assert acceleration.acceleration == 3.0
    assert [c.reason for c in (rate, angle, acceleration)] == [
        Reason.STEERING_RATE,
        Reason.STEERING_RANGE,
        Reason.ACCELERATION_LIMIT,
    ]


def test_another_vehicle_has_other_limits():
    handler = ConstraintHandler(replace(A, max_acceleration=1.0, full_brake=4.0))
    assert handler.limits(speed=0.0, previous_steering=0.0, dt=0.02)[2].acceleration == 1.0
    assert handler.action(0.0, 0.0, 1.0).acceleration == -4.0


def test_a_clock_that_stands_leaves_the_wheels_where_they_are():
    rate = HANDLER.limits(0.0, 0.1, -1.0)[0]
    assert rate.steering == (0.1, 0.1)


@pytest.mark.parametrize("speed", [2.0, 5.0, 10.0, 20.0, 30.0, -10.0])
def test_the_steering_range_keeps_the_lateral_acceleration(speed):
    angle = steering_range(speed, A)
    assert speed**2 * math.tan(angle) / A.wheelbase <= 3.6 + 1e-9
    assert angle == pytest.approx(min(0.61, math.atan(3.6 * 2.7 / speed**2)))


def test_at_a_crawl_the_whole_range_is_there():
    assert steering_range(1.9, A) == steering_range(-1.9, A) == 0.61


def test_pedals_become_an_acceleration_and_back():
    assert HANDLER.action(0.2, 0.5, 0.0) == Action(0.2, 1.75)
    assert HANDLER.action(0.0, 0.0, 0.25) == Action(0.0, -2.0)
    assert HANDLER.action(0.0, 1.0, 1.0).acceleration == pytest.approx(3.5 - 8.0)
    drive = HANDLER.command(Action(0.2, 1.75), standing=False)
    assert (drive.steering_angle, drive.throttle, drive.brake) == (0.2, 0.5, 0.0)
    stop = HANDLER.command(Action(0.0, -2.0), standing=False)
    assert (stop.throttle, stop.brake, stop.hand_brake, stop.hazard_lights) == (0.0, 0.25, False, False)
    assert HANDLER.command(Action(0.0, -80.0), standing=False).brake == 1.0
    assert HANDLER.command(Action(0.0, 80.0), standing=False).throttle == 1.0


@pytest.mark.parametrize(("acceleration", "brake", "throttle"), [(-8.0, 0.4, 0.0), (0.29, 0.4, 0.0), (0.35, 0.0, 0.1)])
def test_a_vehicle_that_stands_is_held_until_it_is_asked_to_go(acceleration, brake, throttle):
    command = HANDLER.command(Action(0.0, acceleration), standing=True, hand_brake=True, hazard_lights=True)
    assert (command.brake, command.throttle) == (brake, pytest.approx(throttle))
    assert command.hand_brake
    assert command.hazard_lights


def test_an_assumption_carries_its_unit_and_its_source():
    item = _assume(2.0, "m", "a ruler")
    assert (item.default, dict(item.metadata)) == (2.0, {"unit": "m", "source": "a ruler"})


def test_every_assumption_has_a_unit_and_a_source():
    head, rule, *rows = table().splitlines()
    assert (head, rule) == ("| assumption | value | unit | source |", "|---|---|---|---|")
    assert len(rows) == len(Assumptions.__dataclass_fields__)
    assert "| `assured_brake` | 5 | m/s² |" in table()
    assert "| `width` | 2 | m |" in table(Assumptions(width=2.0))
    for row in rows:
        assert all(cell.strip() for cell in row.strip("|").split("|"))


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_an_assumption_that_can_not_be_is_refused(value):
    with pytest.raises(ValueError, match="wheelbase"):
        Assumptions(wheelbase=value)


def test_half_the_width():
    assert Assumptions(width=2.0).half_width == 1.0


@pytest.mark.parametrize(
    ("speed", "rate"), [(0.0, 0.5), (-1.9, 0.5), (8.0, 0.5), (18.0, 0.1), (-18.0, 0.1), (30.0, 0.036)]
)
def test_the_wheels_turn_slower_at_speed(speed, rate):
    # The lateral acceleration's 3.6 m/s² within the 0.3 s of the response: 12 m/s³; 12 * 2.7 / 18² = 0.1 rad/s
    assert steering_rate(speed, A) == pytest.approx(rate)
    change = HANDLER.limits(speed, 0.01, 0.5)[0]
    assert change.reason is Reason.STEERING_RATE
    assert change.steering == pytest.approx((0.01 - 0.5 * rate, 0.01 + 0.5 * rate))
