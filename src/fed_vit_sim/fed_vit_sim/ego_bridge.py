"""One ego's topics below ``/carla/<role>``: what the CARLA ROS bridge publishes and takes."""

import math
from typing import Any

from carla_msgs.msg import (
    CarlaCollisionEvent,
    CarlaEgoVehicleControl,
    CarlaEgoVehicleInfo,
    CarlaEgoVehicleStatus,
    CarlaLaneInvasionEvent,
)
from derived_object_msgs.msg import ObjectArray
from nav_msgs.msg import Odometry, Path
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image, Imu, NavSatFix, PointCloud2
from std_msgs.msg import Float32

from fed_vit_autorl.edge.topics import Qos
from fed_vit_autorl.simulation.events import Collision, LaneInvasion
from fed_vit_autorl.simulation.observation import Observation
from fed_vit_autorl.simulation.routes import PlannedRoute
from fed_vit_autorl.simulation.vehicle import FULL_BRAKE, Control, ControlRefused
from fed_vit_autorl.simulation.world import World
from fed_vit_common.conversions import seconds
from fed_vit_common.qos import PROFILES
from fed_vit_sim import world_messages as messages

SPEED_LIMIT_CHANGE = 0.01
STAMP_TOLERANCE_S = 1e-6


class EgoBridge:
    """Publishes observations of the ego ``role`` and keeps the last control it was given.

    As in the bridge a vehicle keeps its last control; before the first one it brakes. ``refused`` counts controls that
    were not finite.
    """

    def __init__(self, node: Node, role: str, world: World) -> None:
        self.role = role
        self.control: Control = FULL_BRAKE
        self.controlled_at = -math.inf
        self.refused = 0
        self._world = world
        self._vehicle = world.config.vehicle
        self._speed_limit = 0.0
        self._node = node
        latched = PROFILES[Qos.LATCHED]
        self._image = self._publisher(Image, "rgb_front/image")
        self._camera_info = self._publisher(CameraInfo, "rgb_front/camera_info")
        self._cloud = self._publisher(PointCloud2, "lidar")
        self._imu = self._publisher(Imu, "imu")
        self._gnss = self._publisher(NavSatFix, "gnss")
        self._odometry = self._publisher(Odometry, "odometry")
        self._speedometer = self._publisher(Float32, "speedometer")
        self._status = self._publisher(CarlaEgoVehicleStatus, "vehicle_status")
        self._objects = self._publisher(ObjectArray, "objects")
        self._collision = self._publisher(CarlaCollisionEvent, "collision")
        self._lane_invasion = self._publisher(CarlaLaneInvasionEvent, "lane_invasion")
        self._info = self._publisher(CarlaEgoVehicleInfo, "vehicle_info", latched)
        self._waypoints = self._publisher(Path, "waypoints", latched)
        self._limit = self._publisher(Float32, "speed_limit", latched)
        topic = f"/carla/{role}/vehicle_control_cmd"
        node.create_subscription(CarlaEgoVehicleControl, topic, self._on_control, PROFILES[Qos.EVENT])
        self._info.publish(messages.vehicle_info(role, world.actor_id(role), self._vehicle))

    def publish_route(self, route: PlannedRoute, stamp: float) -> None:
        """The route's waypoints, latched."""
        self._waypoints.publish(messages.waypoints(route, stamp))

    def publish(self, seen: Observation) -> None:
        """One frame; the picture comes last, because it starts the vehicle's work."""
        for event in seen.events:
            if isinstance(event, Collision):
                self._collision.publish(messages.collision(event, self._world.actor_id(event.other)))
            elif isinstance(event, LaneInvasion):
                self._lane_invasion.publish(messages.lane_invasion(event))
        if abs(seen.speed_limit - self._speed_limit) > SPEED_LIMIT_CHANGE:
            self._speed_limit = seen.speed_limit
            self._limit.publish(Float32(data=seen.speed_limit))
        if self._objects.get_subscription_count():
            numbers = {name: self._world.actor_id(name) for name in seen.truth.users}
            self._objects.publish(messages.objects(seen.truth.users, numbers, seen.stamp))
        self._status.publish(messages.status(seen, self._vehicle.max_steering_angle))
        self._speedometer.publish(Float32(data=float(seen.ego.speed)))
        self._imu.publish(messages.imu(seen, f"{self.role}/imu"))
        self._gnss.publish(messages.gnss(seen, f"{self.role}/gnss"))
        self._odometry.publish(messages.odometry(seen, self.role))
        if seen.points is not None:
            self._cloud.publish(messages.cloud(seen, f"{self.role}/lidar"))
        if seen.image is not None:
            self._camera_info.publish(messages.camera_info(seen, f"{self.role}/rgb_front"))
            self._image.publish(messages.image(seen, f"{self.role}/rgb_front"))

    def is_answered(self, stamp: float) -> bool:
        """Whether the control of the frame at ``stamp`` [s], or of a later one, has come."""
        return self.controlled_at >= stamp - STAMP_TOLERANCE_S

    def _on_control(self, message: CarlaEgoVehicleControl) -> None:
        try:
            self.control = messages.control_of(message, self._vehicle.max_steering_angle)
        except ControlRefused as refusal:
            self.refused += 1
            self._node.get_logger().warning(f"{self.role}: {refusal}", throttle_duration_sec=1.0)
            return
        self.controlled_at = seconds(message.header.stamp)

    def _publisher(self, kind: Any, name: str, qos: Any = PROFILES[Qos.EVENT]) -> Any:
        return self._node.create_publisher(kind, f"/carla/{self.role}/{name}", qos)
