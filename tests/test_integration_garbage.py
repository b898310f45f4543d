"""Garbage on every input of the real nodes: a reason is told, the vehicle is safe, no process dies, and it goes on."""

import math
from array import array

import numpy as np
import pytest
from fed_vit_msgs.msg import RouteCommand, TrafficLight, TrafficLights
from geometry_msgs.msg import Point
from nav_msgs.msg import Odometry
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

from fed_vit_bringup.stimulus import street_scan
from fed_vit_common.conversions import quaternion_of


def truncated_image() -> Image:
    return Image(height=192, width=320, encoding="rgb8", step=960, data=bytes(1000))


def odd_encoding() -> Image:
    return Image(height=4, width=4, encoding="32FC1", step=16, data=bytes(64))


def blank_camera_info() -> CameraInfo:
    return CameraInfo(height=192, width=320)


def nan_cloud() -> PointCloud2:
    cloud = street_scan()
    cloud.data = array("B", np.full(len(cloud.data) // 4, np.nan, np.float32).tobytes())
    return cloud


def torn_cloud() -> PointCloud2:
    cloud = street_scan()
    cloud.data = cloud.data[: len(cloud.data) // 2]
    return cloud


def nan_odometry() -> Odometry:
    odometry = Odometry()
    odometry.pose.pose.orientation = quaternion_of(0.0)
    odometry.twist.twist.linear.x = math.nan
    return odometry


def nan_lights() -> TrafficLights:
    return TrafficLights(lights=[TrafficLight(state=TrafficLight.RED, distance=math.nan)])


# (topic, what comes instead, a reason code that is then told, by a node's diagnostics or with the command)
GARBAGE = [
    ("camera/image", truncated_image, "image_truncated"),
    ("camera/image", odd_encoding, "image_encoding"),
    ("camera/camera_info", blank_camera_info, "camera_info_invalid"),
    ("lidar/points", nan_cloud, "cloud_not_finite"),
    ("lidar/points", torn_cloud, "cloud_truncated"),
    ("odometry", nan_odometry, "odometry_not_finite"),
    ("traffic_lights", nan_lights, "lights_not_finite"),
]
HARMLESS = {"camera/camera_info"}  # the last good calibration stays in force


@pytest.mark.parametrize(("topic", "make", "reason"), GARBAGE, ids=lambda value: getattr(value, "__name__", None))
def test_garbage_is_refused_with_a_reason_and_the_vehicle_is_safe(road, topic, make, reason):
    assert road.until(lambda: road.driving)
    pids = {name: status.pid for name, status in road.supervisor.status().items()}
    road.reasons.clear()
    road.refusals.clear()

    def told() -> bool:
        return any(reason in code for code in (*road.refusals, *road.reasons))

    def stamped():
        message = make()
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(road.now_ns, 10**9)
        return {topic: message}

    assert road.until(told, stamped(), wait=False), f"{road.refusals} {road.reasons}"
    if topic not in HARMLESS:
        assert road.until(lambda: road.braking, stamped(), wait=False)
    road.supervisor.poll()
    assert {name: status.pid for name, status in road.supervisor.status().items()} == pids
    assert road.until(lambda: road.driving), road.command


@pytest.mark.parametrize(
    "path",
    [[], [Point(x=math.nan), Point(x=5.0)], [Point(), Point(x=1e6)]],
    ids=["empty", "nan", "broken"],
)
def test_a_route_that_cannot_be_driven_stops_the_vehicle(road, path):
    assert road.until(lambda: road.driving)
    road.refusals.clear()
    road.sensors.route(RouteCommand(route_id="nowhere", path=path))
    assert road.until(lambda: any(code.startswith("route_") for code in road.refusals))
    assert road.until(lambda: road.command.brake > 0.0)
    road.sensors.route()
    assert road.until(lambda: road.driving)


@pytest.mark.parametrize("topic", ["camera/image", "lidar/points", "odometry"])
def test_silence_of_a_sensor_stops_the_vehicle_until_it_speaks_again(road, topic):
    assert road.until(lambda: road.driving)
    assert road.until(lambda: road.braking, {topic: None}, wait=False)
    assert road.until(lambda: road.driving), road.command
