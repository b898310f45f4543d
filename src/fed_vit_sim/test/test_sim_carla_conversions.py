"""CARLA's conventions against this project's."""

import math

import numpy as np
import pytest
from carla_msgs.msg import (
    CarlaBoundingBox,
    CarlaCollisionEvent,
    CarlaEgoVehicleControl,
    CarlaEgoVehicleInfo,
    CarlaEgoVehicleInfoWheel,
    CarlaEgoVehicleStatus,
    CarlaLaneInvasionEvent,
    CarlaTrafficLightInfo,
    CarlaTrafficLightStatus,
)
from fed_vit_msgs.msg import ControlCommand, RouteCommand, TrafficLight, VehicleEvent
from geometry_msgs.msg import PoseStamped, Vector3
from hypothesis import given
from hypothesis import strategies as st
from nav_msgs.msg import Path
from sensor_msgs.msg import Image

from fed_vit_autorl.reinforcement.route import Route
from fed_vit_common.conversions import quaternion_of, rgb_image
from fed_vit_common.node import InputRefused
from fed_vit_sim.carla_conversions import (
    carla_control,
    collision_event,
    lane_event,
    max_steering_angle,
    route_command,
    signed_speed,
    steering_angle,
)
from fed_vit_sim.carla_lights import lights_ahead, stop_lines


def path(*points: tuple[float, float]) -> Path:
    message = Path()
    for x, y in points:
        pose = PoseStamped()
        pose.pose.position.x, pose.pose.position.y = x, y
        message.poses.append(pose)
    return message


def light(identifier: int, x: float, y: float, yaw: float, length: float = 4.0, width: float = 3.0):
    info = CarlaTrafficLightInfo(id=identifier, trigger_volume=CarlaBoundingBox())
    info.transform.position.x, info.transform.position.y = x, y
    info.transform.orientation = quaternion_of(yaw)
    info.trigger_volume.size = Vector3(x=length, y=width, z=2.0)
    return info


def test_left_is_negative_steer_and_the_stamp_is_kept():
    command = ControlCommand(steering_angle=0.3, throttle=0.25, brake=0.0)
    command.header.stamp.sec = 7
    control = carla_control(command, 0.6)
    assert control.steer == pytest.approx(-0.5)
    assert control.throttle == pytest.approx(0.25)
    assert control.header.stamp.sec == 7
    assert not control.reverse


@given(st.floats(-0.6, 0.6))
def test_steering_survives_the_way_to_carla_and_back(angle):
    assert steering_angle(carla_control(ControlCommand(steering_angle=angle), 0.6), 0.6) == pytest.approx(
        angle, abs=1e-6
    )


def test_what_is_beyond_full_lock_and_full_pedal_is_limited():
    control = carla_control(ControlCommand(steering_angle=-2.0, throttle=3.0, brake=-1.0), 0.6)
    assert (control.steer, control.throttle, control.brake) == (1.0, 1.0, 0.0)


@pytest.mark.parametrize("field", ["steering_angle", "throttle", "brake"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_command_that_is_no_number_is_refused(field, value):
    with pytest.raises(InputRefused, match="command_not_finite"):
        carla_control(ControlCommand(**{field: value}), 0.6)


def test_full_lock_is_the_steering_wheels():
    wheels = [CarlaEgoVehicleInfoWheel(max_steer_angle=angle) for angle in (1.22, 1.22, 0.0, 0.0)]
    assert max_steering_angle(CarlaEgoVehicleInfo(wheels=wheels)) == pytest.approx(1.22)
    with pytest.raises(InputRefused, match="vehicle_info_invalid"):
        max_steering_angle(CarlaEgoVehicleInfo())


def test_the_unsigned_speed_gets_the_gears_sign():
    assert signed_speed(CarlaEgoVehicleStatus(velocity=4.0)) == 4.0
    assert signed_speed(CarlaEgoVehicleStatus(velocity=4.0, control=CarlaEgoVehicleControl(reverse=True))) == -4.0
    with pytest.raises(InputRefused, match="status_not_finite"):
        signed_speed(CarlaEgoVehicleStatus(velocity=math.nan))


def test_the_bridges_bgra_image_becomes_rgb():
    blue = np.zeros((2, 3, 4), np.uint8)
    blue[..., 0], blue[..., 3] = 255, 255
    image = rgb_image(Image(height=2, width=3, encoding="bgra8", step=12, data=blue.tobytes()))
    assert image.shape == (2, 3, 3)
    assert (image == (0, 0, 255)).all()


def test_the_impulses_y_is_flipped_into_the_map_frame():
    event = collision_event(CarlaCollisionEvent(other_actor_id=9, normal_impulse=Vector3(x=1.0, y=2.0, z=3.0)))
    assert (event.impulse.x, event.impulse.y, event.impulse.z) == (1.0, -2.0, 3.0)
    assert (event.kind, event.other_actor_id) == (VehicleEvent.COLLISION, 9)


def test_a_crossed_marking_is_a_lane_invasion():
    assert lane_event(CarlaLaneInvasionEvent(crossed_lane_markings=[2])).kind == VehicleEvent.LANE_INVASION


def test_waypoints_become_a_route_with_its_turn_and_limit():
    arc = [(50 + 10 * math.sin(a), 10 - 10 * math.cos(a)) for a in np.linspace(0, math.pi / 2, 12)]
    command = route_command(path(*((float(x), 0.0) for x in range(0, 50, 2)), *arc, (60.0, 40.0)), 8.0)
    assert set(command.speed_limits) == {8.0}
    assert len(command.options) == len(command.path) == len(command.speed_limits)
    assert command.options[0] == RouteCommand.LANE_FOLLOW
    assert RouteCommand.LEFT in command.options
    assert RouteCommand.RIGHT not in command.options


@pytest.mark.parametrize(
    ("points", "limit", "reason"), [([(0, 0)], 8.0, "route_too_short"), ([(0, 0), (9, 0)], 0.0, "speed_limit")]
)
def test_what_is_no_route_is_refused(points, limit, reason):
    with pytest.raises(InputRefused, match=reason):
        route_command(path(*((float(x), float(y)) for x, y in points)), limit)


def test_a_light_stops_the_route_where_it_enters_the_trigger_volume():
    route = Route(np.array([(0.0, 0.0), (100.0, 0.0)]))
    # Boxes 4 m long in the direction of travel; the second belongs to the opposite lane.
    lines = stop_lines(
        route, [light(1, 40.0, 0.0, 0.0), light(2, 40.0, 3.5, 0.0), light(3, 80.0, 0.0, math.pi / 2, 3.0, 4.0)]
    )
    assert lines == {1: pytest.approx(38.0, abs=0.3), 3: pytest.approx(78.0, abs=0.3)}


def test_the_trigger_volume_lies_relative_to_the_lights_own_pose():
    info = light(1, 30.0, 10.0, -math.pi / 2)
    info.trigger_volume.center = Vector3(x=10.0, y=5.0, z=0.0)
    # 10 m along the light's x (down the map's y) and 5 m along its y (the map's x): the box is around (35, 0).
    lines = stop_lines(Route(np.array([(0.0, 0.0), (60.0, 0.0)])), [info])
    assert lines[1] == pytest.approx(33.5, abs=0.3)


def test_lights_ahead_come_nearest_first_with_the_distance_from_the_front():
    route = Route(np.array([(0.0, 0.0), (300.0, 0.0)]))
    states = {1: CarlaTrafficLightStatus.RED, 2: CarlaTrafficLightStatus.GREEN}
    lights = lights_ahead(route, {2: 60.0, 1: 30.0, 3: 100.0, 4: 250.0, 5: 1.0}, states, front_s=20.0)
    assert [(item.id, item.state) for item in lights] == [
        ("1", TrafficLight.RED),
        ("2", TrafficLight.GREEN),
        ("3", TrafficLight.UNKNOWN),
    ]
    assert [item.distance for item in lights] == [10.0, 40.0, 80.0]
    assert lights[0].stop_line.x == pytest.approx(30.0)
