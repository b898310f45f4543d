"""A vehicle on an endless straight road, as messages: what drives the node graph in benchmarks and tests."""

import time
from array import array

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
DRIVEN = ("camera/image", "camera/camera_info", "lidar/points", "odometry", "traffic_lights", "route/command")


class Stimulus:
    """Publishes one consistent set of sensor messages per frame.

    Args:
        node: publishes, in the vehicle's namespace.
        width, height: of the image.
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
        self._cloud = street_scan()
        self._started_ns: int | None = None

    @property
    def heard(self) -> bool:
        """Whether every sensor has a subscriber."""
        needed = ("camera/image", "lidar/points", "odometry")
        return all(self._publishers[name].get_subscription_count() for name in needed)

    def route(self) -> None:
        """Publishes the route: straight ahead."""
        xs = np.arange(0.0, ROAD_LENGTH_M, 5.0)
        command = RouteCommand(route_id="straight", path=path_points(np.column_stack([xs, np.zeros_like(xs)])))
        command.options = [RouteCommand.LANE_FOLLOW] * len(xs)
        command.speed_limits = [8.3] * len(xs)
        self._publishers["route/command"].publish(command)

    def frame(self, stamp_ns: int) -> int:
        """Publishes all sensors with this stamp, the image last; returns when the image went out [ns]."""
        self._started_ns = stamp_ns if self._started_ns is None else self._started_ns
        odometry = Odometry(child_frame_id="base_link")
        odometry.pose.pose.position.x = 10.0 + SPEED * (stamp_ns - self._started_ns) * 1e-9
        odometry.pose.pose.orientation = quaternion_of(0.0)
        odometry.twist.twist.linear.x = SPEED
        for name, message in (
            ("odometry", odometry),
            ("traffic_lights", TrafficLights()),
            ("lidar/points", self._cloud),
            ("camera/camera_info", self._info),
            ("camera/image", self._image),
        ):
            message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp_ns, 10**9)
            sent_ns = time.time_ns()
            self._publishers[name].publish(message)
        return sent_ns


def street_scan() -> PointCloud2:
    """A 16 × 360 scan of a flat street between two rows of houses, in the sensor's frame."""
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
    points = direction.reshape(-1, 3)[near] * reach[near]
    cloud = np.column_stack([points, np.full(len(points), 0.5)]).astype(np.float32)
    fields = [
        PointField(name=name, offset=4 * index, datatype=PointField.FLOAT32, count=1)
        for index, name in enumerate(("x", "y", "z", "intensity"))
    ]
    message = PointCloud2(height=1, width=len(cloud), fields=fields, point_step=16, row_step=16 * len(cloud))
    message.data = array("B", cloud.tobytes())
    message.is_dense = True
    return message
