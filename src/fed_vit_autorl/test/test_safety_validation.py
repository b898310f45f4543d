"""Inputs that can't be used, each with its reason."""

import math
from dataclasses import replace

import numpy as np
import pytest

from fed_vit_autorl.safety.assumptions import Assumptions
from fed_vit_autorl.safety.reasons import Reason
from fed_vit_autorl.safety.types import Odometry, Proposal, Scan
from fed_vit_autorl.safety.validation import odometry_fault, path_fault, proposal_fault, scan_fault, stamp_fault, yaw

A = Assumptions()
PATH = np.stack((2.0 * np.arange(1, 21), np.zeros(20)), axis=-1)
PROPOSAL = Proposal(10.0, 0.1, 0.5, 0.0, PATH)
ODOMETRY = Odometry(10.0, (1.0, 2.0, 0.0), (0.0, 0.0, 0.0, 1.0), 5.0, 0.1)
SCAN = Scan(10.0, np.ones((200, 4), np.float32))
NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("change", "now", "reason"),
    [
        ({}, 10.0, None),
        ({}, 10.149, None),
        ({}, 10.151, Reason.PROPOSAL_STALE),
        ({}, 9.96, None),
        ({}, 9.94, Reason.PROPOSAL_FROM_FUTURE),
        ({"stamp": NAN}, 10.0, Reason.PROPOSAL_NOT_FINITE),
        ({"steering_angle": NAN}, 10.0, Reason.PROPOSAL_NOT_FINITE),
        ({"throttle": INF}, 10.0, Reason.PROPOSAL_NOT_FINITE),
        ({"brake": -INF}, 10.0, Reason.PROPOSAL_NOT_FINITE),
        ({"throttle": 1.0005}, 10.0, None),
        ({"throttle": -0.0005}, 10.0, None),
        ({"throttle": 1.01}, 10.0, Reason.PROPOSAL_OUT_OF_RANGE),
        ({"throttle": -0.01}, 10.0, Reason.PROPOSAL_OUT_OF_RANGE),
        ({"brake": 1.0005}, 10.0, None),
        ({"brake": 1.01}, 10.0, Reason.PROPOSAL_OUT_OF_RANGE),
        ({"brake": -0.0005}, 10.0, None),
        ({"brake": -0.01}, 10.0, Reason.PROPOSAL_OUT_OF_RANGE),
        ({"steering_angle": 1.5}, 10.0, None),
        ({"steering_angle": -1.6}, 10.0, Reason.PROPOSAL_OUT_OF_RANGE),
    ],
)
def test_proposals(change, now, reason):
    assert proposal_fault(replace(PROPOSAL, **change), now, A) is reason


def test_what_never_came_is_missing():
    assert proposal_fault(None, 0.0, A) is Reason.PROPOSAL_MISSING
    assert odometry_fault(None, 0.0, A) is Reason.ODOMETRY_MISSING
    assert scan_fault(None, 0.0, A) is Reason.LIDAR_MISSING


@pytest.mark.parametrize(
    ("change", "now", "reason"),
    [
        ({}, 10.0, None),
        ({}, 10.2, None),
        ({}, 10.21, Reason.ODOMETRY_STALE),
        ({}, 9.96, None),
        ({}, 9.94, Reason.ODOMETRY_FROM_FUTURE),
        ({"speed": NAN}, 10.0, Reason.ODOMETRY_NOT_FINITE),
        ({"yaw_rate": NAN}, 10.0, Reason.ODOMETRY_NOT_FINITE),
        ({"stamp": INF}, 10.0, Reason.ODOMETRY_NOT_FINITE),
        ({"position": (NAN, 0.0, 0.0)}, 10.0, Reason.ODOMETRY_NOT_FINITE),
        ({"orientation": (0.0, 0.0, NAN, 1.0)}, 10.0, Reason.ODOMETRY_NOT_FINITE),
        ({"orientation": (0.0, 0.0, 0.0, 0.0)}, 10.0, Reason.ODOMETRY_QUATERNION),
        ({"orientation": (0.0, 0.0, 0.0, 1.009)}, 10.0, None),
        ({"orientation": (0.0, 0.0, 0.0, 1.011)}, 10.0, Reason.ODOMETRY_QUATERNION),
        ({"orientation": (0.5, 0.5, 0.5, 0.5)}, 10.0, None),
        ({"speed": 45.0}, 10.0, None),
        ({"speed": 45.1}, 10.0, Reason.ODOMETRY_OUT_OF_RANGE),
        ({"speed": -1.0}, 10.0, None),
        ({"speed": -1.1}, 10.0, Reason.ODOMETRY_OUT_OF_RANGE),
        ({"yaw_rate": 3.0}, 10.0, None),
        ({"yaw_rate": -3.1}, 10.0, Reason.ODOMETRY_OUT_OF_RANGE),
        ({"position": (0.0, -1e7, 0.0)}, 10.0, None),
        ({"position": (0.0, -1.1e7, 0.0)}, 10.0, Reason.ODOMETRY_OUT_OF_RANGE),
    ],
)
def test_odometry(change, now, reason):
    assert odometry_fault(replace(ODOMETRY, **change), now, A) is reason


def cloud(finite, lost=0):
    points = np.ones((finite + lost, 4), np.float32)
    points[finite:, 1] = np.nan
    return points


@pytest.mark.parametrize(
    ("scan", "now", "reason"),
    [
        (SCAN, 10.0, None),
        (SCAN, 10.25, None),
        (SCAN, 10.26, Reason.LIDAR_STALE),
        (SCAN, 9.96, None),
        (SCAN, 9.94, Reason.LIDAR_FROM_FUTURE),
        (Scan(NAN, cloud(200)), 10.0, Reason.LIDAR_NOT_FINITE),
        (Scan(10.0, cloud(200, 1)), 10.0, Reason.LIDAR_NOT_FINITE),
        (Scan(10.0, cloud(200, 1), dense=False), 10.0, None),
        (Scan(10.0, cloud(100)), 10.0, None),
        (Scan(10.0, cloud(99)), 10.0, Reason.LIDAR_EMPTY),
        (Scan(10.0, cloud(99, 500), dense=False), 10.0, Reason.LIDAR_EMPTY),
        (Scan(10.0, cloud(0)), 10.0, Reason.LIDAR_EMPTY),
    ],
)
def test_scans(scan, now, reason):
    assert scan_fault(scan, now, A) is reason


@pytest.mark.parametrize(
    ("now", "reason"),
    [(10.0, None), (10.25, None), (10.26, Reason.LIDAR_STALE), (9.96, None), (9.94, Reason.LIDAR_FROM_FUTURE)],
)
def test_the_age_of_a_scan(now, reason):
    assert stamp_fault(10.0, now, A) is reason


def line(count, start=2.0, step=2.0):
    return np.stack((start + step * np.arange(count), np.zeros(count)), axis=-1)


@pytest.mark.parametrize(
    ("path", "valid"),
    [
        (PATH, True),
        (line(2), True),
        (line(1), False),
        (line(100), True),
        (line(101), False),
        (np.zeros((20, 3)), False),
        (np.zeros(20), False),
        (np.full((20, 2), np.nan), False),
        (np.zeros((20, 2)), False),
        (line(5, start=15.0), True),
        (line(5, start=15.1), False),
        (line(5, step=10.0), True),
        (line(5, step=10.1), False),
    ],
)
def test_paths(path, valid):
    assert path_fault(path) is (None if valid else Reason.PATH_INVALID)


@pytest.mark.parametrize("angle", [-3.0, -0.4, 0.0, 0.7, 3.1])
def test_heading_of_a_quaternion(angle):
    assert yaw((0.0, 0.0, math.sin(angle / 2), math.cos(angle / 2))) == pytest.approx(angle)


def test_heading_of_a_tilted_quaternion():
    # Rotation by 90° about z, then by 0.2 rad about the new x axis: the x axis still points to y.
    h, t = math.sqrt(0.5), 0.1
    rolled = (h * math.sin(t), h * math.sin(t), h * math.cos(t), h * math.cos(t))
    assert yaw(rolled) == pytest.approx(math.pi / 2)
    pitched = (-h * math.sin(t), h * math.sin(t), h * math.cos(t), h * math.cos(t))
    assert yaw(pitched) == pytest.approx(math.pi / 2)
