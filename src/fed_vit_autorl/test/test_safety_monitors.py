"""What only shows over time."""

import math
from dataclasses import replace

import numpy as np
import pytest

from fed_vit_autorl.data.sample import EgoState
from fed_vit_autorl.reinforcement.route import Pose
from fed_vit_autorl.safety.assumptions import Assumptions
from fed_vit_autorl.safety.lidar import SECTORS
from fed_vit_autorl.safety.monitors import ClockMonitor, LocalisationMonitor, ScanMonitor, blind_sector, dead_reckoned
from fed_vit_autorl.safety.reasons import Reason
from fed_vit_autorl.safety.types import Odometry, Scan

A = Assumptions()
STILL = Odometry(0.0, (0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0), 0.0, 0.0)


@pytest.mark.parametrize(
    ("times", "fault"),
    [
        ((5.0,), None),
        ((5.0, 5.0), None),
        ((5.0, 6.0), None),
        ((5.0, 6.1), Reason.CLOCK_JUMP),
        ((5.0, 4.99), Reason.CLOCK_JUMP),
        ((5.0, 4.0, 4.1), None),
    ],
)
def test_clock(times, fault):
    monitor = ClockMonitor(A)
    assert [monitor.check(now) for now in times][-1] is fault


def drive(monitor, *odometry, pushed=False):
    return [monitor.update(one, pushed) for one in odometry][-1]


def test_the_state_of_a_moving_vehicle():
    heading = (0.0, 0.0, math.sin(0.2), math.cos(0.2))
    first = replace(STILL, stamp=3.0, speed=5.0, orientation=heading)
    then = Odometry(3.1, (0.5 * math.cos(0.4), 0.5 * math.sin(0.4), 0.0), heading, 5.2, 0.3)
    monitor = LocalisationMonitor(A)
    ego, fault = drive(monitor, first, then)
    assert fault is None
    assert (ego.stamp, ego.speed, ego.yaw_rate) == (3.1, 5.2, 0.3)
    assert ego.yaw == pytest.approx(0.4)
    assert ego.acceleration == pytest.approx(2.0)
    assert monitor.at(3.04).stamp == 3.0
    assert monitor.at(3.06).stamp == 3.1
    monitor.reset()
    assert monitor.at(3.0) is None


@pytest.mark.parametrize("restarted", [False, True])
def test_the_last_32_states_are_kept(restarted):
    monitor = LocalisationMonitor(A)
    if restarted:
        monitor.reset()
    drive(monitor, *(replace(STILL, stamp=float(k)) for k in range(100)))
    assert monitor.at(0.0).stamp == 68.0


def test_the_first_odometry_says_nothing_of_acceleration():
    ego, fault = drive(LocalisationMonitor(A), replace(STILL, speed=5.0))
    assert (ego.acceleration, fault) == (0.0, None)


@pytest.mark.parametrize(
    ("x", "y", "fault"), [(1.5, 0.0, None), (1.51, 0.0, Reason.ODOMETRY_JUMP), (0.5, -1.01, Reason.ODOMETRY_JUMP)]
)
def test_a_pose_that_the_speed_does_not_lead_to_is_a_jump(x, y, fault):
    monitor = LocalisationMonitor(A)
    found = drive(monitor, replace(STILL, speed=5.0), replace(STILL, stamp=0.1, speed=5.0, position=(x, y, 0.0)))
    assert found[1] is fault


def test_the_expected_pose_follows_the_heading():
    left = (0.0, 0.0, math.sqrt(0.5), math.sqrt(0.5))
    first = replace(STILL, speed=10.0, orientation=left, position=(3.0, 4.0, 0.0))
    good = replace(first, stamp=0.2, position=(3.0, 6.0, 0.0))
    assert drive(LocalisationMonitor(A), first, good)[1] is None
    assert drive(LocalisationMonitor(A), first, replace(good, position=(5.0, 4.0, 0.0)))[1] is Reason.ODOMETRY_JUMP


def repeat(odometry, until, pushed, step=0.1):
    monitor, fault = LocalisationMonitor(A), None
    for k in range(round(until / step) + 1):
        fault = monitor.update(replace(odometry, stamp=k * step), pushed)[1]
    return fault


@pytest.mark.parametrize(
    ("speed", "pushed", "until", "fault"),
    [
        (0.6, False, 0.4, Reason.ODOMETRY_FROZEN),
        (0.6, False, 0.3, None),
        (0.5, False, 1.0, None),
        (-0.6, False, 0.4, Reason.ODOMETRY_FROZEN),
        (0.0, False, 5.0, None),
        (0.0, True, 0.4, Reason.ODOMETRY_FROZEN),
        (0.0, True, 0.3, None),
    ],
)
def test_odometry_that_repeats_itself_while_moving_or_pushed_is_frozen(speed, pushed, until, fault):
    assert repeat(replace(STILL, speed=speed), until, pushed) is fault


@pytest.mark.parametrize(
    "change",
    [{"position": (0.01, 0.0, 0.0)}, {"speed": 0.71}, {"orientation": (0.0, 0.0, 0.001, 1.0)}],
)
def test_any_change_is_a_sign_of_life(change):
    monitor, moving = LocalisationMonitor(A), replace(STILL, speed=0.7)
    faults = [monitor.update(replace(moving, stamp=0.1 * k, **(change if k == 3 else {})), False)[1] for k in range(8)]
    assert faults[:7] == [None] * 7


def test_a_push_that_ends_in_time_is_forgotten():
    monitor = LocalisationMonitor(A)
    pushes = [True] * 4 + [False] + [True] * 3
    assert all(monitor.update(replace(STILL, stamp=0.1 * k), push)[1] is None for k, push in enumerate(pushes))


def cloud(seed):
    return np.random.default_rng(seed).random((200, 4), np.float32)


@pytest.mark.parametrize(
    ("seeds", "moving", "fault"),
    [
        ((1, 1, 1), True, Reason.LIDAR_FROZEN),
        ((1, 1), True, None),
        ((1, 1, 1), False, None),
        ((1, 1, 2), True, None),
        ((1, 2, 1, 2, 1), True, None),
        ((1, 1, 1, 2, 2), True, None),
    ],
)
def test_a_scan_that_repeats_itself_while_moving_is_frozen(seeds, moving, fault):
    monitor = ScanMonitor(A)
    assert [monitor.update(Scan(0.1 * k, cloud(seed)), moving) for k, seed in enumerate(seeds)][-1] is fault


def test_a_blind_sector_ahead_is_noticed_and_one_behind_is_not():
    counts = np.full(SECTORS, 10)
    assert blind_sector(counts, A) is None
    for sector in range(SECTORS):
        blind = counts.copy()
        blind[sector] = 1
        expected = Reason.LIDAR_BLIND_SECTOR if 24 <= sector < 48 else None  # 60° to either side of straight ahead
        assert blind_sector(blind, A) is expected
        blind[sector] = 2
        assert blind_sector(blind, A) is None


def test_dead_reckoning_follows_the_turn():
    # A quarter of a circle of radius 10 m.
    quarter = dead_reckoned(EgoState(0.0, (1.0, 2.0, 0.0), 0.0, 10.0 * math.pi / 2, math.pi / 2), 1.0)
    assert quarter == Pose(
        pytest.approx(1.0 + 10.0 * math.pi / 2 * math.sqrt(0.5)),
        pytest.approx(2.0 + 10.0 * math.pi / 2 * math.sqrt(0.5)),
        pytest.approx(math.pi / 2),
    )
