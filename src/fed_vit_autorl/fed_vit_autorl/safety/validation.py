"""Whether one input can be used: pure functions that answer with a reason code, or None for a good input."""

import math

import numpy as np

from fed_vit_autorl.compiled import compiled

from .assumptions import Assumptions
from .lidar import MAX_POINTS
from .reasons import Reason
from .types import Odometry, Proposal, Scan

QUATERNION_TOLERANCE = 1e-2
RANGE_TOLERANCE = 1e-3
MAX_PATH_POINTS = 100
MAX_PATH_START_M = 15.0
MAX_PATH_GAP_M = 10.0
MAX_COORDINATE_M = 1e7
MAX_YAW_RATE = 3.0
MAX_REVERSE_SPEED = 1.0
SPEED_FACTOR = 1.5


def proposal_fault(proposal: Proposal | None, now: float, a: Assumptions) -> Reason | None:
    """Missing, not finite, out of range, from the future or stale. The path is judged apart, by `path_fault`."""
    if proposal is None:
        return Reason.PROPOSAL_MISSING
    values = (proposal.stamp, proposal.steering_angle, proposal.throttle, proposal.brake)
    if not all(map(math.isfinite, values)):
        return Reason.PROPOSAL_NOT_FINITE
    pedals = -RANGE_TOLERANCE <= proposal.throttle <= 1.0 + RANGE_TOLERANCE
    pedals = pedals and -RANGE_TOLERANCE <= proposal.brake <= 1.0 + RANGE_TOLERANCE
    if not pedals or abs(proposal.steering_angle) > math.pi / 2:
        return Reason.PROPOSAL_OUT_OF_RANGE
    if proposal.stamp > now + a.future_tolerance:
        return Reason.PROPOSAL_FROM_FUTURE
    return Reason.PROPOSAL_STALE if now - proposal.stamp > a.proposal_deadline else None


@compiled("UniTuple(float64, 2)(Array(float64, 2, 'A', readonly=True))")
def _steps(path):
    """The longest step [m] of a path (M, 2), and the length of all."""
    longest, length = 0.0, 0.0
    for i in range(1, len(path)):
        step = np.hypot(path[i, 0] - path[i - 1, 0], path[i, 1] - path[i - 1, 1])
        longest, length = max(longest, step), length + step
    return longest, length


def path_fault(path: np.ndarray) -> Reason | None:
    """A path (M, 2) [m] in `base_link`: finite, 2 to 100 points, near the ego and without gaps, or invalid."""
    if path.ndim != 2 or path.shape[1] != 2 or not 2 <= len(path) <= MAX_PATH_POINTS or not np.isfinite(path).all():
        return Reason.PATH_INVALID
    longest, length = _steps(np.asarray(path, np.float64))
    near = math.hypot(*path[0]) <= MAX_PATH_START_M
    return None if near and longest <= MAX_PATH_GAP_M and length > 0.0 else Reason.PATH_INVALID


def odometry_fault(odometry: Odometry | None, now: float, a: Assumptions) -> Reason | None:
    """Missing, not finite, orientation without norm 1, out of range, from the future or stale."""
    if odometry is None:
        return Reason.ODOMETRY_MISSING
    o = odometry
    if not all(map(math.isfinite, (o.stamp, *o.position, *o.orientation, o.speed, o.yaw_rate))):
        return Reason.ODOMETRY_NOT_FINITE
    if abs(math.hypot(*o.orientation) - 1.0) > QUATERNION_TOLERANCE:
        return Reason.ODOMETRY_QUATERNION
    far = max(abs(value) for value in o.position) > MAX_COORDINATE_M
    fast = not -MAX_REVERSE_SPEED <= o.speed <= SPEED_FACTOR * a.max_speed or abs(o.yaw_rate) > MAX_YAW_RATE
    if far or fast:
        return Reason.ODOMETRY_OUT_OF_RANGE
    if o.stamp > now + a.future_tolerance:
        return Reason.ODOMETRY_FROM_FUTURE
    return Reason.ODOMETRY_STALE if now - o.stamp > a.odometry_deadline else None


@compiled("int64(Array(float32, 2, 'A', readonly=True))")
def _finite(points):
    """How many points (N, ≥3) are finite."""
    count = 0
    for i in range(len(points)):
        count += np.isfinite(points[i, 0] + points[i, 1] + points[i, 2])
    return count


def scan_fault(scan: Scan | None, now: float, a: Assumptions) -> Reason | None:
    """Missing, not finite (a dense scan with NaN, or a stamp that is none), empty, from the future or stale."""
    if scan is None:
        return Reason.LIDAR_MISSING
    finite = _finite(scan.points[:MAX_POINTS].astype(np.float32, copy=False))
    broken = scan.dense and finite < min(len(scan.points), MAX_POINTS)
    if not math.isfinite(scan.stamp) or broken:
        return Reason.LIDAR_NOT_FINITE
    if finite < a.min_returns:
        return Reason.LIDAR_EMPTY
    return stamp_fault(scan.stamp, now, a)


def stamp_fault(stamp: float, now: float, a: Assumptions) -> Reason | None:
    """A scan's age alone, for the ticks between two scans."""
    if stamp > now + a.future_tolerance:
        return Reason.LIDAR_FROM_FUTURE
    return Reason.LIDAR_STALE if now - stamp > a.scan_deadline else None


def yaw(orientation: tuple[float, float, float, float]) -> float:
    """Heading [rad] of a quaternion x, y, z, w."""
    x, y, z, w = orientation
    return math.atan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z))
