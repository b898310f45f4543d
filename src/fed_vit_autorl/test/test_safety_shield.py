"""The shield as a whole, in closed loop with a point mass among boxes, and fed with what can't be used."""

import math
from dataclasses import replace

import numpy as np
import pytest

from fed_vit_autorl.reinforcement.route import Route
from fed_vit_autorl.safety import SafetyShield
from fed_vit_autorl.safety.assumptions import Assumptions
from fed_vit_autorl.safety.limits import Constraint
from fed_vit_autorl.safety.mrm import MrmState
from fed_vit_autorl.safety.reasons import Reason
from fed_vit_autorl.safety.shield import Candidate
from fed_vit_autorl.safety.types import (
    Action,
    Light,
    Lights,
    LightState,
    Odometry,
    Proposal,
    Scan,
    SceneHint,
    ShieldInputs,
)
from fed_vit_autorl.simulation.lidar import LidarSpec
from fed_vit_autorl.simulation.raybox import BoxLidar

A = Assumptions()
SPEC = LidarSpec(noise=0.01)
LIDAR = BoxLidar(SPEC)
DT = 0.05
PATH = np.stack((2.0 * np.arange(1, 21), np.zeros(20)), axis=-1)
ROAD = Route(np.stack((np.arange(-10.0, 400.0, 2.0), np.zeros(205)), axis=-1), np.full(205, 14.0))
CAR = (4.5, 1.8, 1.5)


class Drive:
    """A vehicle on a straight road that does what the shield says; `solids` maps the time to boxes in `map`."""

    def __init__(self, speed=8.0, solids=lambda t: (), route=ROAD, y=0.0, heading=0.0):
        self.shield = SafetyShield(SPEC.base_from_lidar)
        self.x, self.y, self.yaw, self.speed, self.now = 0.0, y, heading, speed, 100.0
        self.solids, self.route, self.start = solids, route, self.now
        self.rng = np.random.default_rng(0)
        self.output = None
        self.speeds = []

    def inputs(self, steering=0.0, throttle=0.3, brake=0.0):
        boxes = np.array(list(self.solids(self.now - self.start)), float).reshape(-1, 6)
        points = LIDAR.scan((self.x, self.y, self.yaw), boxes, self.rng)
        half = 0.5 * self.yaw
        orientation = (0.0, 0.0, math.sin(half), math.cos(half))
        rate = self.speed * math.tan(self.output.control.steering_angle) / 2.7 if self.output else 0.0
        return ShieldInputs(
            proposal=Proposal(self.now, steering, throttle, brake, PATH),
            odometry=Odometry(self.now, (self.x, self.y, 0.0), orientation, self.speed, rate),
            scan=Scan(self.now, points),
            route=self.route,
        )

    def step(self, inputs=None):
        self.output = self.shield.step(inputs or self.inputs(), self.now)
        control = self.output.control
        acceleration = 3.5 * control.throttle - 8.0 * control.brake
        self.speeds.append(self.speed)
        self.speed = max(self.speed + acceleration * DT, 0.0)
        self.yaw += self.speed * math.tan(control.steering_angle) / 2.7 * DT
        self.x += self.speed * math.cos(self.yaw) * DT
        self.y += self.speed * math.sin(self.yaw) * DT
        self.now = round(self.now + DT, 9)
        return self.output

    def run(self, seconds, **proposal):
        return [self.step(self.inputs(**proposal)) for _ in range(round(seconds / DT))]

    def break_input(self, seconds, **broken):
        """Runs with some inputs replaced."""
        return [self.step(replace(self.inputs(), **broken)) for _ in range(round(seconds / DT))]


def acceleration(output):
    return 3.5 * output.control.throttle - 8.0 * output.control.brake


def standing_car(x, y=0.0):
    return lambda t: ((x, y, 0.0, *CAR),)


# What passes


def test_a_scan_looked_at_when_it_comes_changes_no_decision():
    drive, other = Drive(solids=standing_car(30.0)), SafetyShield(SPEC.base_from_lidar)
    for _ in range(60):
        inputs = drive.inputs()
        other.look(inputs.scan)
        expected = other.step(replace(inputs), drive.now)
        assert drive.step(inputs) == expected
    assert Reason.OBSTACLE in expected.reasons


def test_a_good_proposal_passes_unchanged():
    for output in Drive().run(1.0, steering=0.01, throttle=0.31, brake=0.0)[1:]:
        assert output.reasons == ()
        assert output.control.steering_angle == pytest.approx(0.01)
        assert output.control.throttle == pytest.approx(0.31)
        assert output.control.brake == 0.0
        assert not output.control.hazard_lights


@pytest.mark.parametrize(
    "solids",
    [
        lambda t: [(x, -2.9, 0.0, *CAR) for x in range(10, 80, 8)],  # parked cars beside the lane
        lambda t: [
            (60.0 - 10.0 * t, 3.2, math.pi, *CAR),
            (90.0 - 10.0 * t, 3.2, math.pi, *CAR),
        ],  # oncoming, 3.2 m away
        lambda t: [(20.0 + 8.0 * t, 0.0, 0.0, *CAR)],  # a lead at the same speed
        lambda t: [(x, side * 1.9, 0.0, 4.0, 0.3, 0.15) for x in range(5, 80, 5) for side in (-1, 1)],  # kerbs
        lambda t: [(40.0, 9.0, 0.0, 70.0, 1.0, 5.0), (40.0, -8.0, 0.0, 70.0, 1.0, 5.0)],  # walls
    ],
    ids=["parked", "oncoming", "lead", "kerbs", "walls"],
)
def test_nominal_driving_is_left_alone(solids):
    drive = Drive(8.0, solids)
    outputs = drive.run(4.0, throttle=0.05)
    assert [output for output in outputs if output.reasons] == []


def test_kerbs_do_not_hide_a_car():
    solids = [(40.0, 0.0, 0.0, *CAR), *((x, 1.9, 0.0, 4.0, 0.3, 0.15) for x in range(5, 80, 5))]
    drive = Drive(8.0, lambda t: solids)
    drive.run(8.0)
    assert drive.x < 40.0 - 2.25 - 3.7 - 2.9


# Obstacles


@pytest.mark.parametrize("speed", [3.0, 8.0, 13.0])
def test_it_stops_3_m_before_an_obstacle_whatever_the_policy_says(speed):
    drive = Drive(speed, standing_car(60.0))
    outputs = drive.run(12.0, throttle=1.0)
    gap = 60.0 - 2.25 - drive.x - A.front
    assert 2.85 < gap < 3.6
    assert outputs[-1].reasons[0] is Reason.OBSTACLE
    assert outputs[-1].control.brake > 0.0
    assert outputs[-1].state.state is MrmState.NORMAL
    assert min(acceleration(o) for o, v in zip(outputs, drive.speeds, strict=True) if v > 1.0) > -6.0


def test_standing_behind_a_car_does_not_latch_and_it_goes_when_the_way_is_clear():
    drive = Drive(8.0, lambda t: standing_car(40.0)(t) if t < 10.0 else ())
    outputs = drive.run(11.0, throttle=0.6)
    standing = outputs[round(7.0 / DT) : round(10.0 / DT)]
    assert all(output.control.throttle == 0.0 for output in standing)
    gone = round(10.0 / DT)
    resumed = next(k for k, output in enumerate(outputs[gone:]) if output.control.throttle > 0.3)
    assert resumed * DT <= 0.6


def test_it_stops_behind_a_lead_that_brakes_as_hard_as_it_can():
    # From 10 m/s at 8 m/s² the lead stands after 1.25 s and 6.25 m.
    def lead(t):
        braking = np.clip(t - 2.0, 0.0, 1.25)
        return ((20.0 + 10.0 * min(t, 2.0) + 10.0 * braking - 4.0 * braking**2, 0.0, 0.0, *CAR),)

    drive = Drive(10.0, lead)
    drive.run(6.0, throttle=0.4)
    assert drive.speed < 0.1
    assert drive.x + A.front < 46.25 - 2.25 - 1.0


def test_someone_who_steps_out_is_stopped_for():
    drive = Drive(8.0, lambda t: ((30.0, -5.0 + 1.5 * max(t - 0.5, 0.0), 0.0, 0.5, 0.5, 1.75),))
    drive.run(2.5, throttle=0.3)
    assert drive.x + A.front < 29.5


def test_an_obstacle_that_the_learned_scene_alone_sees_means_a_crawl():
    drive = Drive(8.0)
    for _ in range(50):
        inputs = drive.inputs()
        inputs.scene = SceneHint(drive.now, np.array([[20.0 - drive.x, 0.0], [np.nan, 0.0]]))
        drive.step(inputs)
    assert Reason.SCENE_OBSTACLE in drive.output.reasons
    assert drive.speed == pytest.approx(2.0, abs=0.4)
    inputs = drive.inputs()
    inputs.scene = SceneHint(drive.now - 0.31, np.array([[6.0, 0.0]]))
    assert Reason.SCENE_OBSTACLE not in drive.step(inputs).reasons


def test_a_scene_that_sees_what_the_lidar_sees_changes_nothing():
    drive = Drive(8.0, standing_car(40.0))
    inputs = drive.inputs()
    inputs.scene = SceneHint(drive.now, np.array([[37.0, 0.0]]))
    assert Reason.SCENE_OBSTACLE not in drive.step(inputs).reasons


def test_where_the_view_ends_something_may_stand():
    # Around a bend behind a wall.
    angle = np.linspace(0.0, np.pi / 2, 40)
    bend = np.stack((20.0 + 12.0 * np.sin(angle), 12.0 - 12.0 * np.cos(angle)), axis=-1)
    after = np.stack((np.full(30, 32.0), 12.0 + np.arange(1.0, 31.0)), axis=-1)
    route = Route(np.concatenate((np.stack((np.arange(0.0, 20.0), np.zeros(20)), axis=-1), bend, after)))
    drive = Drive(14.0, lambda t: ((20.0, 8.5, 0.0, 8.0, 9.0, 5.0),), route)
    drive.x = 14.0
    inputs = drive.inputs()
    inputs.proposal = replace(inputs.proposal, path=np.zeros((0, 2)))
    output = drive.step(inputs)
    assert Reason.OCCLUSION in output.reasons


# Steering


def test_a_wrong_steer_is_turned_back_into_the_lane():
    drive = Drive(8.0)
    outputs = drive.run(6.0, steering=0.4, throttle=0.2)
    assert abs(drive.y) < A.max_lane_deviation
    assert any(Reason.LANE_DEVIATION in output.reasons for output in outputs)
    assert drive.speed > 5.0


def test_the_wheels_turn_no_faster_than_0_5_rad_s():
    drive = Drive(3.0, route=None)
    angles = [output.control.steering_angle for output in drive.run(1.0, steering=0.5)]
    assert np.abs(np.diff(angles)).max() <= 0.5 * DT + 1e-9
    assert Reason.STEERING_RATE in drive.shield.step(drive.inputs(steering=-0.5), drive.now).reasons


def test_wheels_that_are_less_than_a_frame_behind_are_no_intervention():
    drive = Drive(3.0, route=None)
    drive.run(0.5)
    drive.now -= DT - 0.02  # after 0.02 s they have turned by 0.01 rad
    near = drive.shield.step(drive.inputs(steering=0.02), drive.now)
    assert (near.control.steering_angle, near.reasons) == (pytest.approx(0.01), ())
    far = drive.shield.step(drive.inputs(steering=0.04), drive.now)
    assert (far.control.steering_angle, far.reasons) == (pytest.approx(0.01), (Reason.STEERING_RATE,))


# 0.2 rad is proposed, -0.1 follows the reference, 0.05 is midway; braking at 4 m/s² is comfortable.
@pytest.mark.parametrize(
    ("proposed", "midway", "tracking", "taken", "asked"),
    [
        (-4.0, -1.0, -1.0, 0.2, 1),
        (-5.0, -4.0, -1.0, 0.05, 2),
        (-5.0, -4.5, -1.0, -0.1, 3),
        (-8.0, -5.0, -6.0, 0.05, 3),
        (-5.0, -8.0, -6.0, 0.2, 3),
    ],
)
def test_the_angle_nearest_to_the_proposed_one_is_taken_that_is_safe_else_the_least_unsafe(
    proposed, midway, tracking, taken, asked
):
    bounds, seen = {0.2: proposed, 0.05: midway, -0.1: tracking}, []

    def judge(steering):
        seen.append(round(steering, 9))
        return Candidate(steering, [Constraint(Reason.OBSTACLE, bounds[seen[-1]])], 0.0)

    best, why = SafetyShield(SPEC.base_from_lidar)._nearest_safe(judge, Action(0.2, 0.0), -0.1)
    assert (best.steering, len(seen)) == (pytest.approx(taken), asked)
    assert why == (() if taken == 0.2 else (Reason.OBSTACLE,))


def test_it_steers_past_what_the_policy_steers_at():
    # Parked cars 0.9 m beside the body; the policy steers at them, the route leads past.
    drive = Drive(7.0, lambda t: [(x, -2.8, 0.0, *CAR) for x in range(12, 90, 6)])
    drive.run(6.0, steering=-0.2, throttle=0.15)
    assert drive.y - A.half_width > -2.8 + 0.9
    assert drive.x > 15.0  # slowly, as near as it is


def test_a_path_off_the_route_is_not_followed():
    drive = Drive(8.0, standing_car(14.0))
    inputs = drive.inputs()
    around = PATH + np.array([0.0, 4.0])
    inputs.proposal = replace(inputs.proposal, path=around)
    assert Reason.OBSTACLE in drive.step(inputs).reasons
    broken = replace(inputs, proposal=replace(inputs.proposal, path=np.full((20, 2), np.nan)))
    assert Reason.PATH_INVALID in drive.step(broken).reasons


def test_without_a_route_the_planned_path_is_followed():
    left = np.stack((PATH[:, 0], 0.02 * PATH[:, 0] ** 2), axis=-1)
    drive = Drive(6.0, lambda t: ((24.0, 0.0, 0.0, *CAR),), route=None)
    drive.step()
    inputs = drive.inputs(steering=0.02)
    inputs.proposal = replace(inputs.proposal, path=left)
    assert drive.step(inputs).reasons == ()


def test_far_from_its_route_it_crawls_along_the_path():
    # what limits its speed there is not known, or the localisation is wrong
    drive = Drive(6.0, route=Route(np.array([[0.0, 30.0], [100.0, 30.0]])))
    assert drive.run(4.0)[-1].reasons == (Reason.LANE_DEVIATION,)
    assert drive.speed == pytest.approx(2.0, abs=0.1)
    assert drive.y == pytest.approx(0.0, abs=0.1)


# Rules of the road


def lights(state, distance, stamp):
    return Lights(stamp, (Light(state, distance), Light(LightState.RED, math.nan)))


def test_it_stops_at_a_red_light_and_goes_at_green():
    drive = Drive(8.0)
    for k in range(160):
        inputs = drive.inputs(throttle=0.5)
        state = LightState.RED if k < 140 else LightState.GREEN
        inputs.lights = lights(state, 40.0 - A.front - drive.x, drive.now)
        drive.step(inputs)
        if k == 139:
            assert drive.speed < 0.1
            assert 0.4 < 40.0 - A.front - drive.x < 1.2
            assert Reason.TRAFFIC_LIGHT in drive.output.reasons
    assert drive.output.reasons == ()
    assert drive.speed > 0.5


def test_a_light_that_is_not_heard_of_any_more_is_red():
    drive = Drive(8.0)
    inputs = drive.inputs()
    inputs.lights = lights(LightState.GREEN, 12.0, drive.now - 0.49)
    assert drive.step(inputs).reasons == ()
    inputs = drive.inputs()
    inputs.lights = lights(LightState.GREEN, 12.0, drive.now - 0.51)
    assert Reason.TRAFFIC_LIGHT in drive.step(inputs).reasons


def test_it_keeps_the_speed_limit():
    drive = Drive(10.0)
    drive.run(6.0, throttle=1.0)
    assert drive.speed == pytest.approx(14.3, abs=0.1)
    assert Reason.SPEED_LIMIT in drive.output.reasons


# Inputs that can't be used


def test_before_the_first_input_it_brakes():
    shield = SafetyShield(SPEC.base_from_lidar)
    output = shield.step(ShieldInputs(), 0.0)
    assert output.control.brake == 1.0
    assert set(output.reasons) >= {Reason.ODOMETRY_MISSING, Reason.LIDAR_MISSING, Reason.PROPOSAL_MISSING}
    assert output.control.hazard_lights


@pytest.mark.parametrize(
    ("name", "within", "reason"),
    [
        ("proposal", 0.2, Reason.PROPOSAL_STALE),
        ("scan", 0.3, Reason.LIDAR_STALE),
        ("odometry", 0.25, Reason.ODOMETRY_STALE),
    ],
)
def test_a_source_that_falls_silent_stops_the_vehicle_in_time(name, within, reason):
    drive = Drive(8.0)
    drive.run(0.5)
    last = getattr(drive.inputs(), name)
    silent_since = drive.now
    outputs = drive.break_input(5.0, **{name: last})
    first = next(k for k, output in enumerate(outputs) if output.control.brake > 0.1)
    assert first * DT <= within + 1e-9
    assert silent_since + first * DT - last.stamp <= within + 1e-9
    assert reason in outputs[first].reasons
    assert drive.speed == 0.0
    if name != "odometry":
        assert outputs[-1].state.state is MrmState.SUCCEEDED
        assert outputs[-1].control.hand_brake
        assert max(-acceleration(output) for output in outputs[:-30]) <= 4.0 + 1e-9
    drive.run(0.5)
    assert drive.output.reasons == ()
    assert drive.output.control.throttle > 0.2


def test_a_stop_that_has_no_room_is_an_emergency():
    drive = Drive(10.0, standing_car(28.0))
    drive.run(0.5, throttle=0.0)
    outputs = drive.break_input(3.0, proposal=None)
    assert outputs[0].state.behaviour.label == "emergency_stop"
    assert drive.x + A.front < 28.0 - 2.25 - 1.0


@pytest.mark.parametrize(
    ("name", "broken", "reason"),
    [
        ("proposal", lambda p: replace(p, steering_angle=math.nan), Reason.PROPOSAL_NOT_FINITE),
        ("proposal", lambda p: replace(p, brake=math.nan), Reason.PROPOSAL_NOT_FINITE),
        ("proposal", lambda p: replace(p, throttle=2.0), Reason.PROPOSAL_OUT_OF_RANGE),
        ("proposal", lambda p: replace(p, stamp=p.stamp + 1.0), Reason.PROPOSAL_FROM_FUTURE),
        ("scan", lambda s: replace(s, points=s.points[:50]), Reason.LIDAR_EMPTY),
        ("scan", lambda s: replace(s, points=s.points * np.float32(np.nan)), Reason.LIDAR_NOT_FINITE),
        ("scan", lambda s: replace(s, stamp=s.stamp + 1.0), Reason.LIDAR_FROM_FUTURE),
        ("scan", lambda s: replace(s, points=s.points[s.points[:, 0] < 0]), Reason.LIDAR_BLIND_SECTOR),
        ("odometry", lambda o: replace(o, speed=math.nan), Reason.ODOMETRY_NOT_FINITE),
        ("odometry", lambda o: replace(o, orientation=(0.0, 0.0, 0.0, 0.0)), Reason.ODOMETRY_QUATERNION),
        ("odometry", lambda o: replace(o, speed=100.0), Reason.ODOMETRY_OUT_OF_RANGE),
        ("odometry", lambda o: replace(o, stamp=o.stamp + 1.0), Reason.ODOMETRY_FROM_FUTURE),
    ],
)
def test_a_broken_input_stops_the_vehicle_and_a_good_one_releases_it(name, broken, reason):
    drive = Drive(8.0)
    drive.run(0.3)
    inputs = drive.inputs()
    output = drive.step(replace(inputs, **{name: broken(getattr(inputs, name))}))
    assert reason in output.reasons
    assert output.control.brake > 0.1
    assert output.state.active
    drive.run(1.5)
    assert drive.output.reasons == ()


def test_before_the_first_scan_no_room_is_known():
    drive = Drive(8.0)
    assert drive.step(replace(drive.inputs(), scan=None)).state.behaviour.label == "emergency_stop"


def test_a_pose_that_jumps_is_no_reason_for_full_brake_and_no_place_on_the_route():
    drive = Drive(8.0)
    drive.run(0.3)
    inputs = drive.inputs()
    x, _, z = inputs.odometry.position
    output = drive.step(replace(inputs, odometry=replace(inputs.odometry, position=(x, 2.0, z))))
    assert output.reasons == (Reason.ODOMETRY_JUMP,)
    assert output.state.behaviour.label == "comfortable_stop"
    assert output.control.brake == pytest.approx(0.5)


def test_after_a_jump_the_place_is_not_believed_before_the_vehicle_has_stood():
    drive, states = Drive(8.0), []
    drive.run(0.3)
    drive.y += 2.5
    while drive.speed > 0.05:
        output = drive.step()
        assert output.reasons == (Reason.ODOMETRY_JUMP,)
        assert abs(output.control.steering_angle) < 0.01  # not back to where the route seems to be
        states.append(output.state.behaviour.label)
        assert len(states) < 200
    assert set(states) == {"comfortable_stop"}
    drive.run(1.0)
    assert not drive.output.state.active


def test_a_route_that_comes_back_beside_itself_is_read_where_the_ego_was():
    there_and_back = Route(np.array([[-10, 0], [150, 0], [150, 1], [-10, 1]], float), np.full(4, 5.0))
    drive = Drive(8.0, route=there_and_back)
    drive.step()
    drive.y = 0.6  # nearer to the way back, which would be none of its own
    assert Reason.SPEED_LIMIT in drive.step().reasons


def test_a_frozen_lidar_stops_a_moving_vehicle():
    drive = Drive(8.0)
    drive.run(0.3)
    points = drive.inputs().scan.points
    for _ in range(3):
        inputs = drive.inputs()
        drive.step(replace(inputs, scan=replace(inputs.scan, points=points)))
    assert Reason.LIDAR_FROZEN in drive.output.reasons


def test_frozen_odometry_stops_a_vehicle_that_is_told_to_go():
    drive = Drive(0.0)
    frozen = drive.inputs().odometry
    outputs = [
        drive.step(replace(drive.inputs(), odometry=replace(frozen, stamp=drive.now))) for _ in range(round(0.6 / DT))
    ]
    assert Reason.ODOMETRY_FROZEN in outputs[-1].reasons
    assert 1.0 in [output.control.brake for output in outputs]
    assert outputs[-1].control.throttle == 0.0


def test_an_older_odometry_changes_nothing():
    drive = Drive(8.0)
    drive.run(0.2)
    inputs = drive.inputs()
    old = replace(inputs.odometry, stamp=inputs.odometry.stamp - 0.06, position=(99.0, 0.0, 0.0))
    assert drive.step(replace(inputs, odometry=old)).reasons == ()


@pytest.mark.parametrize("jump", [-0.5, 2.0])
def test_a_clock_that_jumps_stops_the_vehicle_for_a_moment(jump):
    drive = Drive(8.0)
    drive.run(0.3)
    drive.now += jump
    assert Reason.CLOCK_JUMP in drive.step().reasons
    drive.run(1.0)
    assert drive.output.reasons == ()


def test_a_collision_latches_until_it_is_cleared():
    drive = Drive(5.0)
    drive.run(0.2)
    output = drive.step(replace(drive.inputs(), collision=True))
    assert output.control.brake == 1.0
    assert output.reasons[0] is Reason.COLLISION
    drive.run(3.0)
    assert drive.output.state.latched
    assert drive.output.control.hand_brake
    drive.shield.clear()
    assert drive.run(0.1)[-1].reasons == ()


def test_clearing_counts_for_the_tick_at_hand_too():
    drive = Drive(0.0)
    drive.run(0.2)
    inputs = drive.inputs()
    drive.shield.step(replace(inputs, collision=True), drive.now)
    drive.shield.step(replace(inputs, collision=True), drive.now + 0.02)
    assert drive.shield.step(inputs, drive.now + 0.02).state.latched
    drive.shield.clear()
    assert not drive.shield.step(inputs, drive.now + 0.02).state.latched


def test_a_fault_of_the_shield_itself_latches():
    drive = Drive(5.0)
    drive.run(0.2)
    assert Reason.SHIELD_FAULT in drive.step(replace(drive.inputs(), shield_fault=True)).reasons
    assert drive.output.state.latched


def test_interventions_are_counted_when_they_begin():
    drive = Drive(8.0)
    drive.run(0.2)
    assert drive.shield.interventions == 0
    drive.break_input(0.5, proposal=None)
    assert drive.shield.interventions == 1
    drive.run(1.0)
    drive.break_input(0.1, proposal=None)
    assert drive.shield.interventions == 2


# What is too low to be seen


@pytest.mark.parametrize("jump", ["place", "place after silence", "clock"])
def test_after_a_jump_it_does_not_drive_into_what_is_too_low_to_be_seen(jump):
    y = 0.0
    drive = Drive(5.0, lambda t: ((30.0, y, 0.0, 0.8, 0.8, 0.6),), route=None)
    for x in np.arange(15.0, 25.5, 5.0 * DT):  # it rolls on until 0.4 m before it, whatever it is told
        drive.x, drive.speed = x, 5.0
        drive.step()
    drive.x, drive.speed = 25.5, 0.0
    if jump == "place":
        y = drive.y = 2.5  # it was wrong, and with it that of all around
    elif jump == "clock":
        drive.now += 2.0
    else:
        drive.break_input(0.5, odometry=None)
        drive.y = 1.05  # it slid to the side
    drive.run(4.0, throttle=1.0)
    assert drive.x + A.front < 29.6


# Repeatability


def test_more_ticks_at_the_same_time_change_nothing():
    once, often = Drive(8.0, standing_car(30.0)), Drive(8.0, standing_car(30.0))
    for k in range(60):
        inputs = once.inputs(steering=0.2 * math.sin(k), throttle=0.8)
        stale = replace(inputs, proposal=once.output and inputs.proposal)
        often.rng = np.random.default_rng(0)
        often.shield.step(replace(stale, proposal=None), once.now)
        often.shield.step(stale, once.now)
        expected = once.step(inputs)
        assert often.shield.step(inputs, often.now).control == expected.control
        often.now = once.now
    assert often.shield.interventions == once.shield.interventions


def test_the_pose_between_two_odometries_is_extrapolated():
    drive = Drive(10.0, standing_car(20.0), route=None)
    drive.run(0.1, throttle=0.0)
    inputs = drive.inputs(throttle=0.0)
    early = drive.shield.step(inputs, drive.now)
    late = drive.shield.step(inputs, drive.now + 0.15)
    assert acceleration(late) < acceleration(early)
