"""What a vehicle keeps of its drives, and that its policy learns from the shield's corrections in them."""

import math

import numpy as np
import pytest
import safetensors.numpy
import torch

from fed_vit_autorl.data.sample import EgoState
from fed_vit_autorl.reinforcement.driving_lessons import LessonSettings, learn, returns, weights_of
from fed_vit_autorl.reinforcement.driving_log import SHARD_ROWS, DrivingLog, load_drives
from fed_vit_autorl.reinforcement.longitudinal import DrivingStyle, stop_at
from fed_vit_autorl.reinforcement.policy import VisionPolicy
from fed_vit_autorl.reinforcement.policy_io import PolicyIO, SceneView
from fed_vit_autorl.reinforcement.policy_release import build
from fed_vit_autorl.reinforcement.route import Route
from fed_vit_autorl.reinforcement.vehicle import acceleration_of, pedals
from fed_vit_autorl.safety.types import Light, LightState
from fed_vit_autorl.simulation.vehicle import Control, VehicleParameters, VehicleState, step

WIDTH = 4
ROUTE = Route(np.array([[0.0, 0.0], [200.0, 0.0]]), np.array([10.0, 10.0]))
EMPTY = SceneView(np.zeros(WIDTH, np.float32))
CAR, LINE_M = VehicleParameters(), 60.0
FRONT_M = 3.7


def ego(stamp: float, x: float, speed: float = 8.0) -> EgoState:
    return EgoState(stamp, (x, 0.0, 0.0), 0.0, speed)


def a_log(folder, **options) -> DrivingLog:
    log = DrivingLog(folder, **options)
    log.on_route(ROUTE)
    return log


def moment(log: DrivingLog, stamp: float, x: float, reason: str = "", throttle: float = 0.2) -> None:
    """One frame of a drive at 8 m/s, and its command."""
    log.on_ego(ego(stamp, x))
    log.on_scene(stamp, EMPTY)
    log.on_command(stamp, Control(0.1, throttle, 0.0), reason)


def test_a_row_holds_what_was_commanded_and_what_came_of_it(tmp_path):
    log = a_log(tmp_path)
    for number in range(4):
        moment(log, 0.2 * number, 1.6 * number, "obstacle,speed_limit" if number == 1 else "")
    log.flush()
    rows = load_drives(tmp_path, WIDTH, 100)
    assert len(rows["reward"]) == 3
    assert rows["control"][0] == pytest.approx([0.1, acceleration_of(0.2, 0.0, 8.0, CAR)])
    assert rows["corrected"].tolist() == [0.0, 1.0, 0.0]
    # 1.6 m of route, no jerk, 8 of 10 m/s: 1.6 + 1.0 + 0.5 · 0.8
    assert rows["reward"] == pytest.approx(3.0)


def test_stops_for_a_fault_teach_nothing_and_a_contact_costs_a_hundred(tmp_path):
    log = a_log(tmp_path)
    moment(log, 0.0, 0.0)
    moment(log, 0.2, 1.6, "lidar_stale")
    moment(log, 0.4, 3.2)
    log.on_contact()
    moment(log, 0.6, 4.8)
    log.flush()
    rows = load_drives(tmp_path, WIDTH, 100)
    assert log.left["no_lesson"] == 1
    assert rows["reward"] == pytest.approx([4.6, 3.0 - 100.0])


def test_without_route_or_odometry_nothing_is_kept(tmp_path):
    log = DrivingLog(tmp_path)
    log.on_scene(0.0, EMPTY)
    log.on_route(ROUTE)
    log.on_scene(0.0, EMPTY)
    log.on_ego(ego(0.0, 0.0))
    log.on_scene(1.0, EMPTY)
    assert log.left == {"no_route": 1, "no_odometry": 2}


def test_the_log_is_bounded_and_goes_on_after_a_restart(tmp_path):
    log = a_log(tmp_path, max_bytes=400_000)
    for number in range(SHARD_ROWS + 1):
        moment(log, 0.2 * number, 0.1 * number)
    shard = next(tmp_path.glob("*.safetensors"))
    size = shard.stat().st_size
    log = a_log(tmp_path, max_bytes=2 * size)
    for number in range(2 * SHARD_ROWS + 1):
        moment(log, 0.2 * number, 0.1 * number)
    kept = sorted(path.name for path in tmp_path.glob("*.safetensors"))
    assert kept == ["00000001.safetensors", "00000002.safetensors"]


def test_broken_and_foreign_shards_are_passed_over(tmp_path):
    log = a_log(tmp_path)
    for number in range(4):
        moment(log, 0.2 * number, 1.6 * number)
    log.flush()
    (tmp_path / "00000001.safetensors").write_bytes(b"\xff" * 64)
    safetensors.numpy.save_file({"reward": np.zeros(3, np.float32)}, tmp_path / "00000002.safetensors")
    assert len(load_drives(tmp_path, WIDTH, 100)["reward"]) == 3
    assert len(load_drives(tmp_path, WIDTH + 1, 100)["reward"]) == 0
    assert len(load_drives(tmp_path, WIDTH, 2)["reward"]) == 2


def test_returns_are_discounted_sums_of_two_seconds():
    reward = np.zeros(30, np.float32)
    reward[15] = 1.0
    found = returns(reward)
    assert found[15] == 1.0
    assert found[6] == pytest.approx(0.99**9)
    assert found[5] == found[16] == 0.0


def test_the_poorest_rows_are_not_imitated_but_every_correction_is():
    reward = np.full(100, 3.0, np.float32)
    reward[50] = -100.0
    corrected = np.zeros(100, np.float32)
    corrected[48] = 1.0
    weight = weights_of({"reward": reward, "corrected": corrected})
    assert weight[48] == 1.0
    assert (weight[[49, 50]] == 0.0).all()
    assert (weight[51:85] == 1.0).all()


def drive_to_the_line(policy: VisionPolicy, log: DrivingLog | None = None, guarded: bool = False) -> float:
    """Way [m] of the bumper beyond a red light's line after 12 s; a guard brakes where the policy would not."""
    io, state, past = PolicyIO(ROUTE, WIDTH), VehicleState(speed=8.0), -math.inf
    if log is not None:
        log.on_route(ROUTE)
    for frame in range(240):
        now = EgoState(0.05 * frame, (state.x, state.y, 0.0), state.yaw, state.speed, 0.0, state.acceleration)
        past = state.x + FRONT_M - LINE_M
        light = Light(LightState.RED, -past)
        inputs = {name: torch.from_numpy(value) for name, value in io.encode(EMPTY, now, light).items()}
        with torch.no_grad():
            steering, acceleration = policy(*inputs.values())[0][0].tolist()
        bound = stop_at(state.speed, -past - 1.0, DrivingStyle()) if guarded else math.inf
        reason = "traffic_light" if bound < acceleration - 0.1 else ""
        throttle, brake = pedals(min(acceleration, bound), state.speed, CAR)
        if log is not None:
            log.on_ego(now)
            log.on_light(light)
            log.on_scene(now.stamp, EMPTY)
            log.on_command(now.stamp, Control(steering, throttle, brake), reason)
        state = step(state, Control(steering, throttle, brake), 0.05, CAR)
    return past


def test_a_policy_that_is_held_back_at_red_lights_learns_to_stop_by_itself(tmp_path):
    torch.manual_seed(0)
    policy = VisionPolicy(WIDTH, 32).eval()
    with torch.no_grad():
        policy.longitudinal.bias[0] = 2.5  # it never brakes enough
    reckless = drive_to_the_line(policy)
    log = DrivingLog(tmp_path)
    assert drive_to_the_line(policy, log, guarded=True) < 0.0
    log.flush()
    drives = load_drives(tmp_path, WIDTH, 1000)
    weights = {name: value.numpy().copy() for name, value in policy.state_dict().items()}
    architecture = {"feature_width": WIDTH, "width": 32}
    delta, figures = learn(
        architecture, weights, drives, LessonSettings(epochs=80, learning_rate=0.01), lambda name: "vision" not in name
    )
    assert set(delta) == {name for name in weights if "vision" not in name}
    assert figures["policy.loss_last"] < figures["policy.loss_first"]
    taught = build(architecture, weights | {name: weights[name] + value for name, value in delta.items()})
    assert reckless > 5.0
    assert drive_to_the_line(taught) < 0.5
