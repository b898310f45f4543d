"""CARLA's left-handed frames (x forward, y right, degrees) and this project's (x forward, y left, radians).

CARLA places a vehicle by the middle of its body on the ground, this project by its rear axle (`base_link`).
"""

from __future__ import annotations

from math import atan2, cos, degrees, hypot, radians, sin
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.classes import CYCLIST, PEDESTRIAN, VEHICLE
from ..reinforcement.expert import RoadUser
from .actors import EGO_KIND
from .vehicle import Control, VehicleParameters

MIDDLE_AHEAD_M = 0.5 * EGO_KIND.length - VehicleParameters.rear_overhang
"""From the rear axle to the middle of the body."""
LIGHT_NAMES = {"Red": "red", "Yellow": "yellow", "Green": "green", "Off": "green", "Unknown": "red"}
"""A light that is off rules nobody; one that is unknown is taken for red."""
BICYCLES = ("crossbike", "century", "omafiets")


def planar(transform: Any) -> tuple[float, float, float]:
    """x, y [m] and yaw [rad] in `map` of a `carla.Transform`."""
    location = transform.location
    return location.x, -location.y, -radians(transform.rotation.yaw)


def base_pose(transform: Any) -> tuple[float, float, float]:
    """x, y, yaw of `base_link` of a vehicle at a `carla.Transform`."""
    x, y, yaw = planar(transform)
    return x - MIDDLE_AHEAD_M * cos(yaw), y - MIDDLE_AHEAD_M * sin(yaw), yaw


def steer(control: Control, full_lock: float) -> float:
    """CARLA's steer in [-1, 1], + right, of a road-wheel angle [rad], + left."""
    return min(max(-control.steering_angle / full_lock, -1.0), 1.0)


def along(vector: Any, yaw: float) -> float:
    """The component of a `carla.Vector3D` along the direction `yaw` [rad] of `map`."""
    return vector.x * cos(yaw) - vector.y * sin(yaw)


def yaw_rate(angular_velocity: Any) -> float:
    """rad/s, + left, of CARLA's angular velocity in degrees per second, + right."""
    return -radians(angular_velocity.z)


def rgb(image: Any) -> NDArray[np.uint8]:
    """(H, W, 3) of a `carla.Image`, whose bytes are bgra8."""
    pixels = np.frombuffer(image.raw_data, np.uint8).reshape(image.height, image.width, 4)
    return np.ascontiguousarray(pixels[..., 2::-1])


def cloud(scan: Any) -> NDArray[np.float32]:
    """(N, 4) x, y, z, intensity of a `carla.LidarMeasurement`."""
    points = np.frombuffer(scan.raw_data, np.float32).reshape(-1, 4).copy()
    points[:, 1] *= -1.0
    return points


def road_user(actor: Any) -> RoadUser:
    """The truth about a vehicle or walker of CARLA's."""
    x, y, yaw = planar(actor.get_transform())
    extent, velocity = actor.bounding_box.extent, actor.get_velocity()
    if actor.type_id.startswith("walker"):
        label = PEDESTRIAN
    else:
        label = CYCLIST if any(name in actor.type_id for name in BICYCLES) else VEHICLE
    return RoadUser(x, y, yaw, hypot(velocity.x, velocity.y), 2 * extent.x, 2 * extent.y, label)


def impulse(vector: Any) -> tuple[float, float, float]:
    """A collision's impulse [N s] in `map`."""
    return vector.x, -vector.y, vector.z


def bearing(x: float, y: float, pose: tuple[float, float, float]) -> float:
    """Direction [rad] of a point seen from the middle of a vehicle whose `base_link` is at `pose`."""
    middle_x, middle_y = pose[0] + MIDDLE_AHEAD_M * cos(pose[2]), pose[1] + MIDDLE_AHEAD_M * sin(pose[2])
    angle = atan2(y - middle_y, x - middle_x) - pose[2]
    return (angle + np.pi) % (2 * np.pi) - np.pi


def field_of_view(angle: float) -> str:
    """An angle [rad] as CARLA's attribute in degrees."""
    return f"{degrees(angle):.3f}"
