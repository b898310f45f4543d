"""The world node in its own process, driven by a client that knows only the bridge's topics."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import rclpy
from carla_msgs.msg import CarlaEgoVehicleControl, CarlaTrafficLightInfoList
from nav_msgs.msg import Odometry, Path
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

from fed_vit_autorl.data.store import SampleFolder
from fed_vit_autorl.edge.topics import Qos
from fed_vit_autorl.reinforcement.route import Route
from fed_vit_common.conversions import points, rgb_image, seconds
from fed_vit_common.qos import PROFILES
from fed_vit_sim.carla_lights import stop_lines

DURATION_S = 3.0


class Driver:
    """Answers every picture with half throttle; remembers what came."""

    def __init__(self, node, role):
        self.images, self.odometry, self.clouds, self.info, self.path, self.lights = [], [], [], None, None, None
        event, latched = PROFILES[Qos.EVENT], PROFILES[Qos.LATCHED]
        own = f"/carla/{role}"
        self._control = node.create_publisher(CarlaEgoVehicleControl, f"{own}/vehicle_control_cmd", event)
        for kind, topic, qos, callback in (
            (Image, f"{own}/rgb_front/image", event, self._on_image),
            (CameraInfo, f"{own}/rgb_front/camera_info", event, lambda m: setattr(self, "info", m)),
            (Odometry, f"{own}/odometry", event, self.odometry.append),
            (PointCloud2, f"{own}/lidar", event, self.clouds.append),
            (Path, f"{own}/waypoints", latched, lambda m: setattr(self, "path", m)),
            (CarlaTrafficLightInfoList, "/carla/traffic_lights/info", latched, lambda m: setattr(self, "lights", m)),
        ):
            node.create_subscription(kind, topic, callback, qos)

    def _on_image(self, image):
        self.images.append(image)
        self._control.publish(CarlaEgoVehicleControl(header=image.header, throttle=0.5))


@pytest.fixture
def driven(tmp_path):
    domain = random.SystemRandom().randint(1, 100)
    environment = os.environ | {"ROS_DOMAIN_ID": str(domain)}
    overrides = {"duration": DURATION_S, "speed": 0.0, "cars": 10, "pedestrians": 5, "truth": str(tmp_path)}
    overrides |= {"truth_period": 1.0, "command_timeout": 20.0, "image_width": 160, "image_height": 96}
    arguments = [part for name, value in overrides.items() for part in ("-p", f"{name}:={value}")]
    program = "from fed_vit_sim.world_node import main; main()"
    world = subprocess.Popen([sys.executable, "-c", program, "--ros-args", *arguments], env=environment)
    context = Context()
    rclpy.init(context=context, domain_id=domain)
    node = rclpy.create_node("driver", context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    drivers = [Driver(node, role) for role in ("vehicle_1", "vehicle_2")]
    until = time.monotonic() + 100
    while world.poll() is None and time.monotonic() < until:
        executor.spin_once(timeout_sec=0.1)
    executor.shutdown()
    node.destroy_node()
    rclpy.shutdown(context=context)
    if world.poll() is None:
        world.send_signal(signal.SIGINT)
    assert world.wait(20) == 0
    return drivers, tmp_path


@pytest.mark.parametrize(
    ("override", "hint"), [("town:=atlantis", "spider"), ("twon:=grid", "town"), ("weathers:=[hail]", "rain_dusk")]
)
def test_a_world_that_cannot_be_ends_with_what_there_is(override, hint):
    program = "from fed_vit_sim.world_node import main; main()"
    command = [sys.executable, "-c", program, "--ros-args", "-p", override]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr
    assert hint in ended.stderr


def test_a_run_in_lockstep_speaks_the_bridges_contract(driven):
    drivers, folder = driven
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["simulated_s"] == pytest.approx(DURATION_S)
    for role, driver in zip(("vehicle_1", "vehicle_2"), drivers, strict=True):
        vehicle = summary["vehicles"][role]
        assert vehicle["frames"] == round(DURATION_S / 0.05)
        assert vehicle["timeouts"] == 0, "every frame waited for its control"
        stamps = sorted({seconds(image.header.stamp) for image in driver.images})
        assert np.allclose(np.diff(stamps), 0.05), "no frame was left out"

        image = driver.images[-1]
        assert (image.encoding, image.width, image.height) == ("bgra8", 160, 96)
        assert rgb_image(image).std() > 5
        # 90 degrees across 160 pixels: f = 80 / tan(45°)
        assert driver.info.k[0] == pytest.approx(80.0)
        cloud = points(driver.clouds[-1])
        assert len(cloud) > 2000

        # Half throttle is 1.75 m/s² less resistance: 3 s from rest give at most 5.25 m/s.
        assert 3.0 < driver.odometry[-1].twist.twist.linear.x < 5.25
        route = Route(np.array([(p.pose.position.x, p.pose.position.y) for p in driver.path.poses]))
        start = driver.odometry[0].pose.pose.position
        assert np.hypot(*(route.points[0] - (start.x, start.y))) < 0.5, "the route begins where the vehicle stands"
        assert stop_lines(route, driver.lights.traffic_lights), "the route passes lights"

    dusk = list(SampleFolder(folder / "samples" / "vehicle_2"))
    assert len(dusk) > 0
    assert all(sample.domain == "rain_dusk" and sample.labels is not None for sample in dusk)
