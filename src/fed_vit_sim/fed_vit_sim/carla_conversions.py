"""Between the CARLA ROS bridge's messages and this project's: pure functions.

CARLA steers in [-1, 1] with positive right, reports speed without a sign, and leaves a collision's impulse in its own
left-handed axes (y to the right); here steering is an angle in rad with positive left, and vectors follow REP-103.
"""

import math
from enum import StrEnum

import numpy as np
from carla_msgs.msg import (
    CarlaCollisionEvent,
    CarlaEgoVehicleControl,
    CarlaEgoVehicleInfo,
    CarlaEgoVehicleStatus,
    CarlaLaneInvasionEvent,
    CarlaTrafficLightStatus,
)
from fed_vit_msgs.msg import ControlCommand, RouteCommand, TrafficLight, VehicleEvent
from geometry_msgs.msg import Pose, Vector3
from nav_msgs.msg import Path

from fed_vit_autorl.reinforcement.route import DEFAULT_SPEED_LIMIT, MAX_SPEED_LIMIT, Route, RouteRefused
from fed_vit_common.conversions import path_points, yaw_of
from fed_vit_common.node import InputRefused


class AdapterReason(StrEnum):
    """Why something from or to the vehicle is not used."""

    VEHICLE_INFO_INVALID = "vehicle_info_invalid"
    COMMAND_NOT_FINITE = "command_not_finite"
    STATUS_NOT_FINITE = "status_not_finite"
    SPEED_LIMIT_INVALID = "speed_limit_invalid"


LIGHT_STATES = {
    CarlaTrafficLightStatus.RED: TrafficLight.RED,
    CarlaTrafficLightStatus.YELLOW: TrafficLight.YELLOW,
    CarlaTrafficLightStatus.GREEN: TrafficLight.GREEN,
    CarlaTrafficLightStatus.OFF: TrafficLight.OFF,
}


def max_steering_angle(info: CarlaEgoVehicleInfo) -> float:
    """The largest road-wheel angle of the vehicle [rad].

    Raises:
        InputRefused: no wheel steers.
    """
    largest = max((wheel.max_steer_angle for wheel in info.wheels), default=0.0)
    if not 0.0 < largest < math.pi / 2:
        raise InputRefused(AdapterReason.VEHICLE_INFO_INVALID, f"largest steering angle is {largest} rad")
    return largest


def carla_control(command: ControlCommand, max_angle: float) -> CarlaEgoVehicleControl:
    """The command as CARLA takes it, with the command's header; ``max_angle`` [rad] is the vehicle's full lock.

    Raises:
        InputRefused: a value is NaN or infinite.
    """
    if not all(map(math.isfinite, (command.steering_angle, command.throttle, command.brake))):
        raise InputRefused(AdapterReason.COMMAND_NOT_FINITE)
    return CarlaEgoVehicleControl(
        header=command.header,
        throttle=_clip(command.throttle, 0.0, 1.0),
        steer=_clip(-command.steering_angle / max_angle, -1.0, 1.0),
        brake=_clip(command.brake, 0.0, 1.0),
        hand_brake=command.hand_brake,
    )


def steering_angle(control: CarlaEgoVehicleControl, max_angle: float) -> float:
    """The road-wheel angle that a CARLA control asks for [rad], positive left."""
    return -control.steer * max_angle


def signed_speed(status: CarlaEgoVehicleStatus) -> float:
    """Speed along the vehicle's x axis [m/s]; its sign is that of the gear in use.

    Raises:
        InputRefused: it is NaN or infinite.
    """
    if not math.isfinite(status.velocity):
        raise InputRefused(AdapterReason.STATUS_NOT_FINITE)
    return -status.velocity if status.control.reverse else status.velocity


def collision_event(event: CarlaCollisionEvent) -> VehicleEvent:
    """A collision, its impulse in the right-handed map frame [N s]."""
    impulse = event.normal_impulse
    return VehicleEvent(
        header=event.header,
        kind=VehicleEvent.COLLISION,
        other_actor_id=event.other_actor_id,
        impulse=Vector3(x=impulse.x, y=-impulse.y, z=impulse.z),
    )


def lane_event(event: CarlaLaneInvasionEvent) -> VehicleEvent:
    """A lane marking that was crossed."""
    return VehicleEvent(header=event.header, kind=VehicleEvent.LANE_INVASION)


def route_command(path: Path, speed_limit: float = DEFAULT_SPEED_LIMIT) -> RouteCommand:
    """The bridge's waypoints as a route, with one speed limit [m/s] for all of it and the turns read off its shape.

    Raises:
        InputRefused: points that are not a route, or a speed limit outside (0, 60] m/s.
    """
    if not 0.0 < speed_limit <= MAX_SPEED_LIMIT:
        raise InputRefused(AdapterReason.SPEED_LIMIT_INVALID, f"{speed_limit} m/s")
    points = np.array([(pose.pose.position.x, pose.pose.position.y) for pose in path.poses]).reshape(-1, 2)
    try:
        route = Route(points)
    except RouteRefused as error:
        raise InputRefused(error.reason, str(error)) from error
    options = [int(route.option(s)) for s in route.s]
    return RouteCommand(
        header=path.header,
        route_id=f"{path.header.stamp.sec}.{path.header.stamp.nanosec:09d}",
        path=path_points(route.points),
        options=options,
        speed_limits=[float(speed_limit)] * len(options),
    )


def planar(pose: Pose) -> tuple[float, float, float]:
    """A pose's x [m], y [m] and yaw [rad]."""
    return pose.position.x, pose.position.y, yaw_of(pose.orientation)


def _clip(value: float, lower: float, upper: float) -> float:
    return min(max(value, lower), upper)
