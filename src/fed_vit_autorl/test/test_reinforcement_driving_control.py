import numpy as np
import pytest

from fed_vit_autorl.reinforcement.control import (
    LATERAL_CONTROLLERS,
    PID,
    PurePursuit,
    SpeedPID,
    path_errors,
    point_at_distance,
)
from fed_vit_autorl.reinforcement.route import Pose, Route, wrap
from fed_vit_autorl.reinforcement.vehicle import pedals
from fed_vit_autorl.simulation.vehicle import Control, VehicleParameters, VehicleState, step

S_CURVE = Route(np.array([[x, 4.0 * np.sin(x / 15.0)] for x in np.arange(0.0, 120.0, 1.0)]))


def drive(controller, route: Route, pose: Pose, speed: float, seconds: float, dt: float = 0.05) -> np.ndarray:
    """Lateral errors of a kinematic bicycle under the controller."""
    wheelbase, errors, s = 2.7, [], 0.0
    for _ in range(int(seconds / dt)):
        projection = route.project(pose, near=s)
        s = projection.s
        errors.append(projection.lateral)
        angle = controller.steer(route.local(pose, s, 20, 2.0), speed, dt)
        yaw = wrap(pose.yaw + speed / wheelbase * np.tan(angle) * dt)
        pose = Pose(pose.x + speed * np.cos(yaw) * dt, pose.y + speed * np.sin(yaw) * dt, yaw)
    return np.array(errors)


@pytest.mark.parametrize("name", LATERAL_CONTROLLERS)
def test_every_lateral_controller_returns_to_the_route_and_stays(name):
    errors = drive(
        LATERAL_CONTROLLERS[name](VehicleParameters()), S_CURVE, Pose(0.0, 1.0, 0.2), speed=7.0, seconds=14.0
    )
    assert np.abs(errors[100:]).max() < 0.6


def test_pure_pursuit_steers_the_circle_through_its_target():
    # A circle of radius 10 m to the left: δ = atan(L / R).
    angle = np.linspace(0.05, 2.0, 60)
    path = 10.0 * np.stack((np.sin(angle), 1.0 - np.cos(angle)), axis=-1)
    assert PurePursuit(VehicleParameters()).steer(path, 5.0, 0.05) == pytest.approx(np.arctan(2.7 / 10.0), rel=1e-3)


@pytest.mark.parametrize("name", LATERAL_CONTROLLERS)
def test_steering_stays_within_the_vehicles_range(name):
    sideways = np.stack((np.zeros(20), np.arange(1.0, 21.0)), axis=-1)
    assert (
        abs(LATERAL_CONTROLLERS[name](VehicleParameters()).steer(sideways, 20.0, 0.05))
        <= VehicleParameters().max_steering_angle + 1e-9
    )


def test_pid_matches_the_sum_written_by_hand():
    pid = PID(1.0, 0.1, 0.1, (-10.0, 10.0))
    assert pid.step(1.0, 0.1) == pytest.approx(1.0 + 0.1 * 0.1)
    assert pid.step(2.0, 0.1) == pytest.approx(2.0 + 0.1 * (0.1 + 0.2) + 0.1 * 10.0)


def test_pid_does_not_wind_up_while_it_saturates():
    pid = PID(1.0, 1.0, 0.0, (-1.0, 1.0))
    for _ in range(1000):
        assert pid.step(5.0, 0.1) == 1.0
    assert pid.step(-0.5, 0.1) < 0.0


def test_speed_pid_reaches_and_holds_its_target():
    pid, speed = SpeedPID(), 0.0
    for _ in range(600):
        speed = max(speed + pid.acceleration(8.0, speed, 0.05) * 0.05, 0.0)
    assert speed == pytest.approx(8.0, abs=0.2)


def test_point_at_distance_lies_on_the_path_at_that_distance():
    path = np.array([[2.0, 0.0], [4.0, 2.0], [4.0, 6.0]])
    point = point_at_distance(path, 5.0)
    assert point[0] == pytest.approx(4.0)
    assert point[1] == pytest.approx(3.0)
    np.testing.assert_allclose(point_at_distance(path, 50.0), path[-1])


def test_path_errors_of_a_parallel_path():
    path = np.stack((np.arange(2.0, 42.0, 2.0), np.full(20, 1.5)), axis=-1)
    error, heading, curvature = path_errors(path, 0.0)
    assert (error, heading, curvature) == pytest.approx((1.5, 0.0, 0.0))


@pytest.mark.parametrize("acceleration", [-4.0, -1.0, 0.0, 1.5])
def test_pedals_give_the_acceleration_that_was_asked_for(acceleration):
    vehicle, state = VehicleParameters(), VehicleState(speed=10.0)
    for _ in range(10):
        throttle, brake = pedals(acceleration, state.speed, vehicle)
        state = step(state, Control(0.0, throttle, brake), 0.05, vehicle)
    assert state.speed == pytest.approx(10.0 + 0.5 * acceleration, abs=0.15 * abs(acceleration) + 0.01)


def test_a_standing_vehicle_is_held():
    assert pedals(-1.0, 0.0, VehicleParameters()) == (0.0, 0.3)
