"""RSS distances against the ad_rss library, and the closed-form safe acceleration against its own definition."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fed_vit_autorl.safety import rss

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import ad_rss

CASES = 10_000
KEEP_SPEED = 100.0  # ad_rss's own bound on the speed reached within the response time


def state(longitudinal, lateral, response, acceleration, brake_max, brake_min, brake_correct, lat_accel, lat_brake, mu):
    """An object of ad_rss with these speeds and dynamics."""
    physics = ad_rss.physics
    s = ad_rss.rss.core.RelativeObjectState()
    s.object_type = ad_rss.rss.world.ObjectType.EgoVehicle
    velocity = s.structured_object_state.velocity
    velocity.speed_lon_min = velocity.speed_lon_max = physics.Speed(longitudinal)
    velocity.speed_lat_min = velocity.speed_lat_max = physics.Speed(lateral)
    s.structured_object_state.is_in_correct_lane = True
    s.structured_object_state.distance_to_enter_intersection = physics.Distance(10.0)
    s.structured_object_state.distance_to_leave_intersection = physics.Distance(20.0)
    _fill_in_what_structured_rss_does_not_use(s)
    d = s.dynamics
    d.response_time = physics.Duration(response)
    d.max_speed_on_acceleration = physics.Speed(KEEP_SPEED)
    d.alpha_lon.accel_max = physics.Acceleration(acceleration)
    d.alpha_lon.brake_max = physics.Acceleration(-brake_max)
    d.alpha_lon.brake_min = physics.Acceleration(-brake_min)
    d.alpha_lon.brake_min_correct = physics.Acceleration(-brake_correct)
    d.alpha_lat.accel_max = physics.Acceleration(lat_accel)
    d.alpha_lat.brake_min = physics.Acceleration(-lat_brake)
    d.lateral_fluctuation_margin = physics.Distance(mu)
    return s


def _fill_in_what_structured_rss_does_not_use(s):
    """ad_rss refuses an object with a NaN anywhere, used or not."""
    physics, unused = ad_rss.physics, s.dynamics.unstructured_settings
    unused.pedestrian_turning_radius = unused.vehicle_min_radius = physics.Distance(2.0)
    unused.drive_away_max_angle = physics.Angle(1.0)
    unused.vehicle_yaw_rate_change = physics.AngularAcceleration(0.3)
    unused.vehicle_trajectory_calculation_step = physics.Duration(0.2)
    body = s.unstructured_object_state
    body.yaw = body.steering_angle = physics.Angle(0.0)
    body.yaw_rate = physics.AngularVelocity(0.0)
    body.dimension.length = body.dimension.width = physics.Distance(2.0)
    body.center_point.x = body.center_point.y = physics.Distance(0.0)
    body.speed_range.minimum = body.speed_range.maximum = physics.Speed(0.0)


def oracle(function, *states):
    distance = ad_rss.physics.Distance(0.0)
    assert function(*states, distance)
    return float(distance / ad_rss.physics.Distance(1.0))


def test_the_published_example():
    # 20 m/s behind 15 m/s, response 1 s, 3.5, 4 and 8 m/s²: 20 + 1.75 + 23.5²/8 - 15²/16 = 76.7188 m.
    assert rss.longitudinal_same_direction(20.0, 15.0, 1.0, 3.5, 4.0, 8.0) == pytest.approx(76.71875)


def test_longitudinal_distances_are_ad_rss():
    rng = np.random.default_rng(0)
    structured = ad_rss.rss.structured
    for _ in range(CASES):
        v1, v2 = rng.uniform(0.05, 40.0, 2)  # ad_rss takes what is within its precision as 0
        response, acceleration = rng.uniform(0.05, 2.0), rng.uniform(0.01, 4.0)
        correct, minimum, maximum = np.sort(rng.uniform(1.0, 9.0, 3))
        own = state(v1, 0.0, response, acceleration, maximum, minimum, correct, 0.2, 0.8, 0.1)
        other = state(v2, 0.0, response, acceleration, maximum, minimum, correct, 0.2, 0.8, 0.1)
        same = oracle(structured.calculateSafeLongitudinalDistanceSameDirection, other, own)
        assert rss.longitudinal_same_direction(v1, v2, response, acceleration, minimum, maximum) == pytest.approx(
            same, abs=1e-6
        )
        towards = oracle(structured.calculateSafeLongitudinalDistanceOppositeDirection, own, other)
        assert rss.longitudinal_opposite_direction(v1, v2, response, acceleration, correct, minimum) == pytest.approx(
            towards, abs=1e-6
        )


def test_lateral_distances_are_ad_rss():
    rng = np.random.default_rng(1)
    for _ in range(CASES):
        left, right = rng.uniform(-5.0, 5.0, 2)
        times, acceleration = rng.uniform(0.05, 2.0, 2), rng.uniform(0.0, 1.0)
        brake, fluctuation = rng.uniform(0.3, 2.0), rng.uniform(0.0, 0.5)
        one = state(0.0, left, times[0], 0.0, 8.0, 4.0, 3.0, acceleration, brake, fluctuation)
        two = state(0.0, right, times[1], 0.0, 8.0, 4.0, 3.0, acceleration, brake, fluctuation)
        expected = oracle(ad_rss.rss.structured.calculateSafeLateralDistance, one, two)
        found = rss.lateral(left, right, tuple(times), acceleration, brake, fluctuation)
        assert found == pytest.approx(expected, abs=1e-6)


speeds = st.floats(0.0, 40.0)


@given(speeds, st.floats(0.01, 200.0), st.floats(0.05, 1.0), st.floats(1.0, 9.0))
def test_the_safe_acceleration_uses_the_distance_up_and_not_more(speed, distance, response, brake):
    acceleration = rss.safe_acceleration(speed, distance, response, brake)
    after = speed + acceleration * response
    if after > 1e-9:
        way = 0.5 * (speed + after) * response + after**2 / (2.0 * brake)
    else:
        way = speed**2 / (-2.0 * acceleration) if speed > 0.0 else 0.0
    assert way == pytest.approx(distance, rel=1e-6) if speed > 0.0 else way <= distance * (1 + 1e-6)


@given(speeds, st.floats(0.01, 200.0), st.floats(0.0, 50.0), st.floats(0.05, 1.0), st.floats(1.0, 9.0))
def test_more_room_never_allows_less(speed, distance, more, response, brake):
    near = rss.safe_acceleration(speed, distance, response, brake)
    assert rss.safe_acceleration(speed, distance + more, response, brake) >= near - 1e-6


@pytest.mark.parametrize("distance", [0.0, -1.0])
def test_without_distance_nothing_is_safe(distance):
    assert rss.safe_acceleration(5.0, distance, 0.3, 5.0) == -math.inf


def test_too_late_for_the_response_time_means_stopping_within_it():
    # 10 m/s and 1 m: 10² / (2 · 1) = 50 m/s².
    assert rss.safe_acceleration(10.0, 1.0, 0.3, 5.0) == pytest.approx(-50.0)
