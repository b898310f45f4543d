"""Responsibility-sensitive safety (Shalev-Shwartz et al. 2017, arXiv:1708.06374): distances, and what they allow.

Speeds in m/s, accelerations and decelerations as magnitudes in m/s², distances in m, times in s.
"""

import math


def stopping_distance(speed: float, response_time: float, acceleration: float, brake: float) -> float:
    """Way of a vehicle that accelerates for its response time and then brakes to standstill."""
    after = speed + response_time * acceleration
    return speed * response_time + 0.5 * acceleration * response_time**2 + after**2 / (2.0 * brake)


def longitudinal_same_direction(
    rear_speed: float,
    front_speed: float,
    response_time: float,
    acceleration: float,
    rear_brake: float,
    front_brake: float,
) -> float:
    """Least safe gap behind a vehicle that may brake at `front_brake` (definition 1)."""
    stop = stopping_distance(rear_speed, response_time, acceleration, rear_brake)
    return max(0.0, stop - front_speed**2 / (2.0 * front_brake))


def longitudinal_opposite_direction(
    correct_speed: float,
    opposite_speed: float,
    response_time: float,
    acceleration: float,
    correct_brake: float,
    brake: float,
) -> float:
    """Least safe gap of two vehicles that approach each other, both speeds ≥ 0 towards the other (definition 3).

    `correct_brake` is what the one on its own side is asked for, `brake` what the other is.
    """
    correct = stopping_distance(correct_speed, response_time, acceleration, correct_brake)
    return correct + stopping_distance(opposite_speed, response_time, acceleration, brake)


def lateral(
    left_speed: float,
    right_speed: float,
    response_times: tuple[float, float],
    acceleration: float,
    brake: float,
    fluctuation: float,
) -> float:
    """Least safe lateral gap (definition 6). Speeds positive to the right, response times of the left and right one.

    In the response time both accelerate towards each other; then both brake laterally to zero.
    """
    left = _lateral_way(left_speed, response_times[0], acceleration, brake)
    right = _lateral_way(-right_speed, response_times[1], acceleration, brake)
    return max(0.0, left + right + fluctuation)


def _lateral_way(speed: float, response_time: float, acceleration: float, brake: float) -> float:
    """Way towards the other one. One that still moves away after the response time is not trusted to go on so."""
    after = max(speed + response_time * acceleration, 0.0)
    return speed * response_time + 0.5 * acceleration * response_time**2 + after**2 / (2.0 * brake)


def safe_acceleration(speed: float, distance: float, response_time: float, brake: float) -> float:
    """The greatest acceleration [m/s²] for the response time after which braking at `brake` ends within `distance`.

    With w the speed after the response time T: (v + w) T / 2 + w² / 2b = d, solved for w; a = (w - v) / T. Where even
    w = 0 comes too late, the deceleration that stops within `distance`; -inf when there is no distance left.
    """
    if distance <= 0.0:
        return -math.inf
    root = 0.25 * response_time**2 + (2.0 / brake) * (distance - 0.5 * speed * response_time)
    after = brake * (math.sqrt(max(root, 0.0)) - 0.5 * response_time)
    if after <= 0.0:
        return -(speed**2) / (2.0 * distance)
    return (after - speed) / response_time
