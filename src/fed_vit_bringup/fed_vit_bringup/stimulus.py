"""A vehicle on an endless straight road, as messages: what drives the node graph in benchmarks and tests."""

import time
from array import array
from collections.abc import Mapping
from itertools import cycle
from typing import Any

import numpy as np
from fed_vit_msgs.msg import RouteCommand, TrafficLights
from nav_msgs.msg import Odometry
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image, PointCloud2, PointField

from fed_vit_autorl.data.sample import CameraModel
from fed_vit_autorl.edge.topics import TOPICS
from fed_vit_common.conversions import path_points, quaternion_of
from fed_vit_common.qos import PROFILES, message_class

SPEED = 5.0
ROAD_LENGTH_M = 5000.0
LIDAR_HEIGHT_M = 1.9
LIDAR_FORWARD_M = 1.0
WALL_M = 9.0  # house fronts on either side
RINGS, COLUMNS = 16, 360
RANGE_NOISE_M = 0.01
SCANS = 8
DRIVEN = ("camera/image", "camera/camera_info", "lidar/points", "odometry", "traffic_lights", "route/command")


class Stimulus:
    """Publishes one consistent set of sensor messages per frame.

    Args:
        node: publishes, in the vehicle's namespace.
        width, height: of the image.

    ``speed`` [m/s] is the vehicle's, for whoever closes the loop.
    """

    def __init__(self, node: Node, width: int, height: int) -> None:
        self._node = node
        self._publishers = {
            name: node.create_publisher(message_class(TOPICS[name].type), name, PROFILES[TOPICS[name].qos])
            for name in DRIVEN
        }
        pixels = np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)
        self._image = Image(height=height, width=width, encoding="rgb8", step=3 * width)
        self._image.data = array("B", pixels.tobytes())
        camera = CameraModel.nominal(width, height)
        self._info = CameraInfo(height=height, width=width, k=camera.intrinsics.ravel().tolist())
        # A scan that repeats itself to the bit while the vehicle moves is a frozen sensor, and the shield knows.
        self._clouds = cycle([street_scan(seed) for seed in range(SCANS)])
        self.speed = SPEED
        self._position = 10.0
        self._last_ns: int | None = None

    @property
    def heard(self) -> bool:
        """Whether every sensor has a subscriber."""
        needed = ("camera/image", "lidar/points", "odometry")
        return all(self._publishers[name].get_subscription_count() for name in needed)

    def route(self, command: RouteCommand | None = None) -> None:
        """Publishes a route, by default straight ahead."""
        self._publishers["route/command"].publish(command or straight_route())

    def frame(self, stamp_ns: int, instead: Mapping[str, Any] | None = None) -> int:
        """Publishes all sensors with this stamp, the image last; returns when the image went out [ns].

        Args:
            stamp_ns: goes into every header.
            instead: messages by topic that take the place of the good ones, with stamps of their own; None for silence.
        """
        self._position += self.speed * (stamp_ns - (self._last_ns or stamp_ns)) * 1e-9
        self._last_ns = stamp_ns
        odometry = Odometry(child_frame_id="base_link")
        odometry.pose.pose.position.x = self._position
        odometry.pose.pose.orientation = quaternion_of(0.0)
        odometry.twist.twist.linear.x = self.speed
        for name, message in (
            ("odometry", odometry),
            ("traffic_lights", TrafficLights()),
            ("lidar/points", next(self._clouds)),
            ("camera/camera_info", self._info),
            ("camera/image", self._image),
        ):
            message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp_ns, 10**9)
            message = (instead or {}).get(name, message)
            sent_ns = time.time_ns()
            if message is not None:
                self._publishers[name].publish(message)
        return sent_ns


def straight_route() -> RouteCommand:
    """Five kilometres straight ahead at 30 km/h."""
    xs = np.arange(0.0, ROAD_LENGTH_M, 5.0)
    command = RouteCommand(route_id="straight", path=path_points(np.column_stack([xs, np.zeros_like(xs)])))
    command.options = [RouteCommand.LANE_FOLLOW] * len(xs)
    command.speed_limits = [8.3] * len(xs)
    return command


def street_scan(seed: int = 0) -> PointCloud2:
    """A 16 × 360 scan, with noise, of a flat street between two rows of houses, in the sensor's frame."""
    elevation, azimuth = np.meshgrid(
        np.radians(np.linspace(-15, 15, RINGS)), np.radians(np.arange(COLUMNS)), indexing="ij"
    )
    direction = np.stack(
        [np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)], -1
    )
    with np.errstate(divide="ignore"):
        ground = np.where(direction[..., 2] < 0, -LIDAR_HEIGHT_M / direction[..., 2], np.inf)
        wall = WALL_M / np.abs(direction[..., 1])
    reach = np.minimum(ground, wall).reshape(-1, 1)
    near = reach[:, 0] < 60.0
    noise = np.random.default_rng(seed).normal(0.0, RANGE_NOISE_M, (int(near.sum()), 1))
    points = direction.reshape(-1, 3)[near] * (reach[near] + noise)
    cloud = np.column_stack([points, np.full(len(points), 0.5)]).astype(np.float32)
    fields = [
        PointField(name=name, offset=4 * index, datatype=PointField.FLOAT32, count=1)
        for index, name in enumerate(("x", "y", "z", "intensity"))
    ]
    message = PointCloud2(height=1, width=len(cloud), fields=fields, point_step=16, row_step=16 * len(cloud))
    message.data = array("B", cloud.tobytes())
    message.is_dense = True
    return message
