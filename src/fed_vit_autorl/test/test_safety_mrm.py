"""The minimum-risk manoeuvre, state by state."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fed_vit_autorl.safety.assumptions import Assumptions
from fed_vit_autorl.safety.mrm import NORMAL, MrmState, advance, clear
from fed_vit_autorl.safety.reasons import RESPONSES, Behaviour, Reason

A = Assumptions()
FAR = 1000.0
STALE, COLLISION, BLIND = Reason.PROPOSAL_STALE, Reason.COLLISION, Reason.ODOMETRY_STALE


def drive(manoeuvre, *ticks):
    """Applies (faults, speed, now) ticks with plenty of room."""
    for faults, speed, now in ticks:
        manoeuvre = advance(manoeuvre, faults, speed, FAR, now, A)
    return manoeuvre


def test_without_a_cause_nothing_happens():
    assert advance(NORMAL, (), 10.0, FAR, 0.0, A) is NORMAL
    assert not NORMAL.active
    assert NORMAL.clears_when == ""
    assert NORMAL.deceleration(A) == 0.0


def test_rules_of_the_road_are_no_causes():
    assert advance(NORMAL, (Reason.OBSTACLE, Reason.TRAFFIC_LIGHT), 10.0, FAR, 0.0, A) is NORMAL


def test_with_room_it_stops_at_no_more_than_4_m_s2():
    m = drive(NORMAL, ((STALE,), 10.0, 5.0))
    assert (m.state, m.behaviour, m.latched, m.since) == (MrmState.OPERATING, Behaviour.COMFORTABLE_STOP, False, 5.0)
    assert m.deceleration(A) == 4.0
    assert m.reasons == (STALE,)
    assert m.clears_when == RESPONSES[STALE].clears_when


# 10 m/s: 0.3 s · 10 m/s + 10² / (2 · 4) = 15.5 m.
@pytest.mark.parametrize(("room", "behaviour"), [(15.6, Behaviour.COMFORTABLE_STOP), (15.4, Behaviour.EMERGENCY_STOP)])
def test_without_room_it_stops_hard(room, behaviour):
    m = advance(NORMAL, (STALE,), 10.0, room, 0.0, A)
    assert m.behaviour is behaviour


def test_a_stop_that_just_fits_is_comfortable():
    exact = Assumptions(response_time=0.5, comfortable_brake=4.0)  # 4 m/s: 0.5 s · 4 m/s + 4² / 8 = 4 m
    assert advance(NORMAL, (STALE,), 4.0, 4.0, 0.0, exact).behaviour is Behaviour.COMFORTABLE_STOP


def test_an_emergency_stays_one_when_room_appears():
    m = advance(NORMAL, (STALE,), 10.0, 5.0, 0.0, A)
    m = advance(m, (STALE,), 9.0, FAR, 0.02, A)
    assert m.behaviour is Behaviour.EMERGENCY_STOP
    assert m.deceleration(A) == 8.0


def test_it_succeeds_at_standstill_and_stays_there_while_the_cause_lasts():
    m = drive(NORMAL, ((STALE,), 10.0, 0.0), ((STALE,), 0.1, 2.5))
    assert m.state is MrmState.OPERATING
    m = drive(m, ((STALE,), 0.09, 2.6), ((STALE,), 0.2, 2.7), ((STALE,), 0.0, 9.0))
    assert m.state is MrmState.SUCCEEDED


def test_a_recoverable_cause_ends_after_the_inputs_were_healthy_for_0_4_s():
    m = drive(NORMAL, ((STALE,), 10.0, 0.0), ((), 9.0, 1.0), ((), 8.0, 1.39))
    assert m.active
    assert drive(m, ((), 8.0, 1.41)) == NORMAL


def test_a_relapse_starts_the_waiting_anew():
    m = drive(NORMAL, ((STALE,), 10.0, 0.0), ((), 9.0, 1.0), ((STALE,), 9.0, 1.2), ((), 8.0, 1.3), ((), 8.0, 1.6))
    assert m.active
    assert m.since == 0.0
    assert drive(m, ((), 8.0, 1.71)) == NORMAL


def test_a_latched_cause_waits_for_the_operator():
    m = drive(NORMAL, ((COLLISION,), 3.0, 0.0), ((), 0.0, 0.5), ((), 0.0, 100.0))
    assert m.latched
    assert m.state is MrmState.SUCCEEDED
    assert "~/clear" in m.clears_when
    assert clear(m) == NORMAL


def test_one_latched_cause_among_others_latches():
    m = drive(
        NORMAL, ((STALE,), 3.0, 0.0), ((COLLISION,), 3.0, 0.1), ((STALE,), 3.0, 0.2), ((), 0.0, 0.3), ((), 0.0, 9.0)
    )
    assert m.latched
    assert m.active
    assert m.behaviour is Behaviour.EMERGENCY_STOP
    assert m.reasons == (STALE, COLLISION)
    assert m.clears_when == f"{RESPONSES[STALE].clears_when}; {RESPONSES[COLLISION].clears_when}"


def test_a_graver_cause_takes_over():
    m = drive(NORMAL, ((STALE,), 10.0, 0.0), ((BLIND, STALE), 10.0, 0.1))
    assert m.behaviour is Behaviour.EMERGENCY_STOP
    assert m.reasons == (STALE, BLIND)
    assert not m.latched


def test_a_speed_that_is_not_known_means_full_brake_and_no_success():
    m = advance(NORMAL, (BLIND,), None, 0.0, 0.0, A)
    assert (m.state, m.behaviour, m.deadline) == (MrmState.OPERATING, Behaviour.EMERGENCY_STOP, math.inf)
    m = advance(m, (BLIND,), None, 0.0, 60.0, A)
    assert m.state is MrmState.OPERATING
    m = advance(m, (), None, 0.0, 60.1, A)
    assert m.state is MrmState.OPERATING
    assert advance(m, (), 5.0, FAR, 60.51, A) == NORMAL


def test_a_speed_that_is_lost_on_the_way_means_full_brake():
    m = drive(NORMAL, ((STALE,), 8.0, 0.0), ((), None, 0.1))
    assert m.behaviour is Behaviour.EMERGENCY_STOP


# 8 m/s at 4 m/s² take 2 s; half as long again and a second: 4 s.
@pytest.mark.parametrize(("now", "state"), [(4.0, MrmState.OPERATING), (4.01, MrmState.FAILED)])
def test_brakes_that_do_not_brake_are_noticed(now, state):
    m = drive(NORMAL, ((STALE,), 8.0, 0.0), ((STALE,), 7.9, now))
    assert m.state is state


def test_a_failed_stop_brakes_fully_and_waits_for_the_operator():
    m = drive(NORMAL, ((STALE,), 8.0, 0.0), ((STALE,), 7.9, 4.1), ((), 7.8, 4.2), ((), 7.8, 9.0))
    assert m.state is MrmState.FAILED
    assert m.latched
    assert m.deceleration(A) == 8.0
    assert m.reasons == (STALE, Reason.BRAKE_INEFFECTIVE)
    assert drive(m, ((), 0.0, 10.0)).state is MrmState.SUCCEEDED


# UN R157's standstill is 0.1 m/s; five times that is no noise any more.
@pytest.mark.parametrize(("speed", "state"), [(0.49, MrmState.SUCCEEDED), (0.5, MrmState.FAILED)])
def test_a_vehicle_that_rolls_off_again_has_failed(speed, state):
    m = drive(NORMAL, ((STALE,), 1.0, 0.0), ((STALE,), 0.0, 0.5), ((STALE,), speed, 0.6))
    assert m.state is state


def test_every_fault_code_has_a_response_that_says_what_clears_it():
    rules = {
        Reason.PATH_INVALID, Reason.OBSTACLE, Reason.LEAD_VEHICLE, Reason.ONCOMING_VEHICLE, Reason.LATERAL_DISTANCE,
        Reason.YIELD, Reason.OCCLUSION, Reason.SCENE_OBSTACLE, Reason.TRAFFIC_LIGHT, Reason.SPEED_LIMIT,
        Reason.LANE_DEVIATION, Reason.STEERING_RANGE, Reason.STEERING_RATE, Reason.ACCELERATION_LIMIT,
    }  # fmt: skip
    assert set(RESPONSES) == set(Reason) - rules
    for response in RESPONSES.values():
        assert response.clears_when
        assert response.behaviour is not Behaviour.NONE
    assert {r for r, response in RESPONSES.items() if response.latched} == {
        Reason.COLLISION, Reason.BRAKE_INEFFECTIVE, Reason.SHIELD_FAULT,
    }  # fmt: skip
    emergencies = {r for r, response in RESPONSES.items() if response.behaviour is Behaviour.EMERGENCY_STOP}
    assert {r for r in RESPONSES if r.startswith("odometry")} - emergencies == {Reason.ODOMETRY_JUMP}
    assert not any(r.startswith(("lidar", "proposal")) for r in emergencies)


def test_behaviours_have_published_names():
    assert [behaviour.label for behaviour in Behaviour] == ["none", "comfortable_stop", "emergency_stop"]


@given(
    st.lists(
        st.tuples(st.lists(st.sampled_from(Reason), max_size=3), st.one_of(st.none(), st.floats(0.0, 30.0))),
        max_size=40,
    )
)
def test_it_never_loses_a_cause_and_never_softens(ticks):
    m, now = NORMAL, 0.0
    for faults, speed in ticks:
        before = m
        m = advance(m, faults, speed, FAR, now, A)
        now += 0.02
        causes = [fault for fault in faults if fault in RESPONSES]
        if causes:
            assert m.active
            assert set(causes) <= set(m.reasons)
            assert m.behaviour >= max(RESPONSES[cause].behaviour for cause in causes)
        if before.active and m.active:
            assert m.behaviour >= before.behaviour
            assert m.latched >= before.latched
        if before.latched:
            assert m.active
        assert m.active == (m.behaviour is not Behaviour.NONE)
