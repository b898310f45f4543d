"""Eased accelerations: a ride within nuPlan's bounds of comfort, and none of it where there is need."""

import pytest

from fed_vit_autorl.evaluation.driving import is_comfortable
from fed_vit_autorl.evaluation.run_log import RunLog, Step
from fed_vit_autorl.reinforcement.longitudinal import DrivingStyle, Ease, free_road, stop_at
from fed_vit_autorl.reinforcement.vehicle import pedals
from fed_vit_autorl.simulation.vehicle import Control, VehicleParameters, VehicleState, step

STYLE, VEHICLE = DrivingStyle(), VehicleParameters()
LINE_M = 80.0


def drive(dt, ease):
    """A drive from rest to a line ahead."""
    state, steps = VehicleState(), []
    for frame in range(round(30.0 / dt)):
        wanted = min(free_road(state.speed, 10.0, STYLE), stop_at(state.speed, LINE_M - state.x, STYLE))
        throttle, brake = pedals(ease(wanted, state.speed, dt * frame), state.speed, VEHICLE)
        steps.append(Step(dt * frame, state.x, 0.0, 0.0, state.speed, state.acceleration, 0.0, state.x, 10.0))
        state = step(state, Control(0.0, throttle, brake), dt, VEHICLE)
    return RunLog("straight", LINE_M, steps)


@pytest.mark.parametrize("dt", [0.05, 0.1])
def test_a_drive_from_rest_to_rest_is_comfortable_and_ends_where_it_should(dt):
    run = drive(dt, Ease(STYLE))
    assert is_comfortable(run)
    assert max(one.speed for one in run.steps) > 8.0
    assert run.steps[-1].speed == 0.0
    assert run.steps[-1].x == pytest.approx(LINE_M, abs=0.5)


def test_the_same_drive_is_not_without_easing():
    assert not is_comfortable(drive(0.1, lambda wanted, speed, stamp: wanted))


def test_need_for_a_second_frame_does_not_wait_for_comfort():
    ease = Ease(STYLE)
    assert ease(1.0, 8.0, 0.0) == 0.0
    assert ease(-6.0, 8.0, 0.05) == pytest.approx(-0.05 * STYLE.jerk)
    assert ease(-6.0, 8.0, 0.10) == -6.0
    # and is let go of from where comfortable braking begins
    assert ease(1.0, 8.0, 0.15) == pytest.approx(-STYLE.deceleration + 0.05 * STYLE.jerk)


def test_a_ghost_of_one_frame_is_hardly_felt():
    ease = Ease(STYLE)
    felt = [ease(-6.0 if frame in (5, 9) else 0.0, 8.0, 0.1 * frame) for frame in range(20)]
    assert min(felt) == pytest.approx(-0.1 * STYLE.jerk)


def test_a_clock_that_stands_or_goes_back_changes_nothing():
    ease = Ease(STYLE)
    ease(1.0, 8.0, 5.0)
    assert ease(1.0, 8.0, 5.0) == ease(1.0, 8.0, 4.0) == 0.0
    assert ease(1.0, 8.0, 4.1) == pytest.approx(0.1 * STYLE.jerk)
