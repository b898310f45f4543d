"""What the embedded world's observations are in the CARLA ROS bridge's messages: pure functions.

The bridge's peculiarities are kept: images are bgra8, steer is positive to the right, speed has no sign, and a
collision's impulse has its y in CARLA's left-handed axes.
"""

import array
import math

import numpy as np
from carla_msgs.msg import (
    CarlaBoundingBox,
    CarlaCollisionEvent,
    CarlaEgoVehicleControl,
    CarlaEgoVehicleInfo,
    CarlaEgoVehicleInfoWheel,
    CarlaEgoVehicleStatus,
    CarlaLaneInvasionEvent,
    CarlaTrafficLightInfo,
    CarlaTrafficLightInfoList,
    CarlaTrafficLightStatus,
    CarlaTrafficLightStatusList,
)
from derived_object_msgs.msg import Object, ObjectArray
from geometry_msgs.msg import Point, Pose, PoseStamped, Vector3
from nav_msgs.msg import Odometry, Path
from sensor_msgs.msg import CameraInfo, Image, Imu, NavSatFix, PointCloud2, PointField
from shape_msgs.msg import SolidPrimitive
from std_msgs.msg import Header

from fed_vit_autorl.data.classes import CYCLIST, PEDESTRIAN, VEHICLE
from fed_vit_autorl.reinforcement.expert import RoadUser
from fed_vit_autorl.simulation.events import Collision, LaneInvasion, LaneMarking
from fed_vit_autorl.simulation.observation import Observation
from fed_vit_autorl.simulation.routes import PlannedRoute
from fed_vit_autorl.simulation.town import Signal
from fed_vit_autorl.simulation.vehicle import Control, VehicleParameters
from fed_vit_common.conversions import quaternion_of, stamp_of
from fed_vit_sim.carla_conversions import steering_angle

ORIGIN = (49.0, 8.0)
"""Latitude and longitude [deg] of the map's origin, as in CARLA's towns nowhere in particular."""
METRES_PER_DEGREE = 111_319.49
TRIGGER_DEPTH_M = 0.5
LIGHTS = {
    "red": CarlaTrafficLightStatus.RED,
    "yellow": CarlaTrafficLightStatus.YELLOW,
    "green": CarlaTrafficLightStatus.GREEN,
}
MARKINGS = {
    LaneMarking.CENTRE: CarlaLaneInvasionEvent.LANE_MARKING_SOLID,
    LaneMarking.EDGE: CarlaLaneInvasionEvent.LANE_MARKING_SOLID,
}
CLASSIFICATIONS = {
    VEHICLE: Object.CLASSIFICATION_CAR,
    PEDESTRIAN: Object.CLASSIFICATION_PEDESTRIAN,
    CYCLIST: Object.CLASSIFICATION_BIKE,
}


def header(stamp: float, frame: str) -> Header:
    """Simulated time [s] and frame."""
    return Header(stamp=stamp_of(stamp), frame_id=frame)


def control_of(message: CarlaEgoVehicleControl, max_angle: float) -> Control:
    """What a CARLA control asks of the vehicle; raises ``ControlRefused`` for NaN. A hand brake brakes fully."""
    brake = 1.0 if message.hand_brake else message.brake
    throttle = 0.0 if message.hand_brake or message.reverse else message.throttle
    return Control(steering_angle(message, max_angle), throttle, brake)


def image(seen: Observation, frame: str) -> Image:
    """The camera's picture as bgra8."""
    height, width = seen.image.shape[:2]
    pixels = np.full((height, width, 4), 255, np.uint8)
    pixels[..., :3] = seen.image[..., ::-1]
    return Image(
        header=header(seen.stamp, frame),
        height=height,
        width=width,
        encoding="bgra8",
        step=4 * width,
        data=array.array("B", pixels.tobytes()),
    )


def camera_info(seen: Observation, frame: str) -> CameraInfo:
    """The camera's intrinsics."""
    k = seen.camera.intrinsics
    projection = np.hstack([k, np.zeros((3, 1))])
    return CameraInfo(
        header=header(seen.stamp, frame),
        height=seen.camera.height,
        width=seen.camera.width,
        distortion_model="plumb_bob",
        d=[0.0] * 5,
        k=k.ravel().tolist(),
        r=np.eye(3).ravel().tolist(),
        p=projection.ravel().tolist(),
    )


def cloud(seen: Observation, frame: str) -> PointCloud2:
    """The LiDAR's returns: x, y, z, intensity as float32."""
    names = ("x", "y", "z", "intensity")
    fields = [PointField(name=n, offset=4 * i, datatype=PointField.FLOAT32, count=1) for i, n in enumerate(names)]
    return PointCloud2(
        header=header(seen.stamp, frame),
        height=1,
        width=len(seen.points),
        fields=fields,
        point_step=16,
        row_step=16 * len(seen.points),
        data=array.array("B", seen.points.tobytes()),
        is_dense=True,
    )


def odometry(seen: Observation, role: str) -> Odometry:
    """Pose of the rear axle's centre in ``map``, twist in the vehicle's frame."""
    message = Odometry(header=header(seen.stamp, "map"), child_frame_id=role)
    message.pose.pose = _pose(*seen.ego.position, seen.ego.yaw)
    message.twist.twist.linear.x = seen.ego.speed
    message.twist.twist.angular.z = seen.ego.yaw_rate
    return message


def imu(seen: Observation, frame: str) -> Imu:
    """Acceleration with gravity and angular velocity."""
    message = Imu(header=header(seen.stamp, frame), orientation=quaternion_of(seen.ego.yaw))
    message.linear_acceleration = Vector3(**dict(zip("xyz", map(float, seen.imu.acceleration), strict=True)))
    message.angular_velocity = Vector3(**dict(zip("xyz", map(float, seen.imu.angular_velocity), strict=True)))
    return message


def gnss(seen: Observation, frame: str) -> NavSatFix:
    """Latitude and longitude on a sphere, exact."""
    x, y, z = seen.ego.position
    latitude = ORIGIN[0] + y / METRES_PER_DEGREE
    longitude = ORIGIN[1] + x / (METRES_PER_DEGREE * math.cos(math.radians(ORIGIN[0])))
    return NavSatFix(header=header(seen.stamp, frame), latitude=latitude, longitude=longitude, altitude=float(z))


def status(seen: Observation, max_angle: float) -> CarlaEgoVehicleStatus:
    """Speed without sign, acceleration, and what was commanded."""
    message = CarlaEgoVehicleStatus(
        header=header(seen.stamp, "map"), velocity=abs(seen.ego.speed), orientation=quaternion_of(seen.ego.yaw)
    )
    message.acceleration.linear.x = seen.ego.acceleration
    message.control = CarlaEgoVehicleControl(
        header=message.header,
        throttle=_clip(seen.control.throttle, 0.0),
        steer=_clip(-seen.control.steering_angle / max_angle, -1.0),
        brake=_clip(seen.control.brake, 0.0),
        gear=1,
    )
    return message


def vehicle_info(role: str, number: int, vehicle: VehicleParameters) -> CarlaEgoVehicleInfo:
    """The vehicle's wheels and mass; positions are relative to the rear axle's centre."""
    wheels = [
        CarlaEgoVehicleInfoWheel(
            tire_friction=vehicle.friction,
            max_steer_angle=vehicle.max_steering_angle if x else 0.0,
            radius=0.33,
            position=Vector3(x=x, y=y, z=0.33),
        )
        for x in (vehicle.wheelbase, 0.0)
        for y in (0.8, -0.8)
    ]
    return CarlaEgoVehicleInfo(
        id=number,
        type="vehicle.embedded.sedan",
        rolename=role,
        wheels=wheels,
        mass=vehicle.mass,
        drag_coefficient=vehicle.drag,
        center_of_mass=Vector3(x=vehicle.rear_axle, y=0.0, z=0.5),
    )


def waypoints(route: PlannedRoute, stamp: float) -> Path:
    """The route's centre line."""
    head = header(stamp, "map")
    headings = route.line.heading(route.line.s)
    poses = zip(route.line.points, headings, strict=True)
    return Path(header=head, poses=[PoseStamped(header=head, pose=_pose(*at, 0.0, yaw)) for at, yaw in poses])


def collision(event: Collision, number: int) -> CarlaCollisionEvent:
    """A collision with actor ``number``."""
    x, y, z = event.impulse
    return CarlaCollisionEvent(
        header=header(event.stamp, "map"), other_actor_id=number, normal_impulse=Vector3(x=x, y=-y, z=z)
    )


def lane_invasion(event: LaneInvasion) -> CarlaLaneInvasionEvent:
    """A marking that was crossed."""
    return CarlaLaneInvasionEvent(header=header(event.stamp, "map"), crossed_lane_markings=[MARKINGS[event.marking]])


def light_infos(signals: list[Signal]) -> CarlaTrafficLightInfoList:
    """Every light with the box at its stop line that it rules."""
    size = TRIGGER_DEPTH_M
    return CarlaTrafficLightInfoList(
        traffic_lights=[
            CarlaTrafficLightInfo(
                id=signal.id,
                transform=_pose(signal.x, signal.y, 0.0, signal.yaw),
                trigger_volume=CarlaBoundingBox(size=Vector3(x=size, y=signal.width, z=2.0)),
            )
            for signal in signals
        ]
    )


def light_states(states: list[str]) -> CarlaTrafficLightStatusList:
    """The state of every light by its id."""
    lights = [CarlaTrafficLightStatus(id=number, state=LIGHTS[state]) for number, state in enumerate(states)]
    return CarlaTrafficLightStatusList(traffic_lights=lights)


def objects(users: dict[str, RoadUser], numbers: dict[str, int], stamp: float) -> ObjectArray:
    """True road users; for evaluation only, as in the bridge."""
    head = header(stamp, "map")
    return ObjectArray(header=head, objects=[_object(user, numbers[name], head) for name, user in users.items()])


def _object(user: RoadUser, number: int, head: Header) -> Object:
    box = SolidPrimitive(type=SolidPrimitive.BOX, dimensions=[user.length, user.width, 1.6])
    message = Object(
        header=head,
        id=number,
        detection_level=Object.OBJECT_TRACKED,
        object_classified=True,
        pose=_pose(user.x, user.y, 0.8, user.yaw),
        shape=box,
        classification=CLASSIFICATIONS[user.class_id],
        classification_certainty=255,
    )
    message.twist.linear = Vector3(x=user.speed * math.cos(user.yaw), y=user.speed * math.sin(user.yaw))
    return message


def _pose(x: float, y: float, z: float, yaw: float) -> Pose:
    return Pose(position=Point(x=float(x), y=float(y), z=float(z)), orientation=quaternion_of(float(yaw)))


def _clip(value: float, lower: float) -> float:
    return min(max(float(value), lower), 1.0)
