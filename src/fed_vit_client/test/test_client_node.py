"""The client node on real messages: experience is collected and labelled, the shipped release is announced."""

import time

import numpy as np
import pytest
import rclpy
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fed_vit_msgs.msg import ControlCommand, ModelRelease, RouteCommand, SafetyState, Scene
from nav_msgs.msg import Odometry
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from sensor_msgs.msg import CameraInfo, Image, PointCloud2, PointField

from fed_vit_autorl.data.store import SampleFolder
from fed_vit_autorl.deployment import release
from fed_vit_autorl.deployment.broker import free_port
from fed_vit_autorl.deployment.pki import Authority, enrol_locally
from fed_vit_autorl.deployment.tuf_repository import create
from fed_vit_autorl.edge.topics import TOPICS
from fed_vit_autorl.reinforcement.driving_log import FOLDER, load_drives
from fed_vit_client.node import ClientNode
from fed_vit_common.conversions import path_points, stamp_of
from fed_vit_common.qos import PROFILES

KEY = Ed25519PrivateKey.generate()
DOMAIN = 71
HEIGHT, WIDTH = 48, 64
SPEED = 8.0


def straight_on(stamp: float) -> Odometry:
    """The ego on the x axis."""
    odometry = Odometry()
    odometry.header.stamp = stamp_of(stamp)
    odometry.pose.pose.position.x = SPEED * stamp
    odometry.pose.pose.orientation.w = 1.0
    odometry.twist.twist.linear.x = SPEED
    return odometry


class World:
    """The topics around one active client, whose broker is away."""

    def __init__(self, folder):
        manifest = release.write_release(folder / "base", {"a": b"1"}, KEY, version=4, architecture={})
        roles = {role: Ed25519PrivateKey.generate() for role in ("root", "snapshot", "timestamp")}
        root = create(folder / "metadata", {**roles, "targets": KEY}).root_bytes()
        enrol_locally(Authority(folder / "pki"), "v1", folder / "identity", KEY.public_key(), root)
        self.digest = manifest.digest
        self.state = folder / "state"
        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=DOMAIN)
        options = {
            "identity": str(folder / "identity"),
            "state": str(self.state),
            "release": str(folder / "base"),
            "broker_port": free_port(),
            "domain": "noon",
        }
        values = [Parameter(name, value=value) for name, value in options.items()]
        self.node = ClientNode(context=self.context, parameter_overrides=values)
        self.peer = rclpy.create_node("peer", context=self.context)
        self.releases = []
        kinds = {
            "camera/image": Image,
            "camera/camera_info": CameraInfo,
            "lidar/points": PointCloud2,
            "odometry": Odometry,
            "control/commands": ControlCommand,
            "route/command": RouteCommand,
            "perception/fed_vit": Scene,
            "safety/state": SafetyState,
        }
        self.publishers = {
            name: self.peer.create_publisher(kind, name, PROFILES[TOPICS[name].qos]) for name, kind in kinds.items()
        }
        topic = "model/active"
        self.peer.create_subscription(ModelRelease, topic, self.releases.append, PROFILES[TOPICS[topic].qos])
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.executor.add_node(self.peer)
        assert self.node.trigger_configure().name == "SUCCESS"
        assert self.node.trigger_activate().name == "SUCCESS"
        self.until(lambda: all(publisher.get_subscription_count() for publisher in self.publishers.values()))

    def until(self, condition, limit_s=30.0):
        end = time.monotonic() + limit_s
        while not condition():
            assert time.monotonic() < end, "did not happen in time"
            self.executor.spin_once(timeout_sec=0.02)

    def drive(self, stamp: float) -> None:
        """One moment of a straight drive."""
        odometry = straight_on(stamp)
        focal = WIDTH / 2
        info = CameraInfo(width=WIDTH, height=HEIGHT, k=[focal, 0.0, WIDTH / 2, 0.0, focal, HEIGHT / 2, 0.0, 0.0, 1.0])
        image = Image(width=WIDTH, height=HEIGHT, encoding="rgb8", step=3 * WIDTH)
        image.data = np.full(HEIGHT * WIDTH * 3, 90, np.uint8).tobytes()
        fields = [
            PointField(name=name, offset=4 * i, datatype=PointField.FLOAT32, count=1) for i, name in enumerate("xyz")
        ]
        ground = np.mgrid[2:30, -8:9].reshape(2, -1).T
        cloud = np.column_stack([ground, np.full(len(ground), -1.9)]).astype(np.float32)
        scan = PointCloud2(width=len(cloud), height=1, fields=fields, point_step=12, data=cloud.tobytes())
        for message in (info, image, scan):
            message.header.stamp = stamp_of(stamp)
        seen = self.node._collector
        self.publishers["odometry"].publish(odometry)
        self.publishers["lidar/points"].publish(scan)
        self.publishers["camera/camera_info"].publish(info)
        self.until(lambda: seen._track and seen._track[-1].stamp == pytest.approx(stamp))
        self.until(lambda: seen._cloud is not None and seen._cloud[0] == pytest.approx(stamp))
        self.until(lambda: self.node._camera is not None)
        self.publishers["camera/image"].publish(image)
        self.until(lambda: seen._last is not None and seen._last.stamp == pytest.approx(stamp))

    def close(self):
        self.node._release()
        self.executor.shutdown()
        self.node.destroy_node()
        self.peer.destroy_node()
        rclpy.try_shutdown(context=self.context)


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    yield world
    world.close()


def test_a_drive_becomes_labelled_experience(world):
    for step in range(12):
        world.drive(step * 1.0)
    samples = SampleFolder(world.state / "experience")
    world.until(lambda: len(samples) >= 4)
    sample = next(iter(samples))
    assert (sample.source, sample.domain) == ("v1", "noon")
    assert sample.labels is not None
    assert (sample.labels.lane == 1).any()
    assert (sample.labels.free_space == 1).any()


def test_what_the_policy_drove_is_kept_with_its_reward(world):
    """On route, the shield brakes in the second frame, and the vehicle touches something in the third."""
    log, published = world.node._driving, world.publishers
    route = np.array([[0.0, 0.0], [100.0, 0.0]])
    published["route/command"].publish(RouteCommand(path=path_points(route), speed_limits=[10.0, 10.0]))
    world.until(lambda: log._io is not None)
    for number in range(4):
        stamp = 1.0 + 0.25 * number
        scene, command = Scene(features=[0.0] * 4), ControlCommand(throttle=0.2, reason="obstacle" * (number == 1))
        scene.header.stamp = command.header.stamp = stamp_of(stamp)
        published["odometry"].publish(straight_on(stamp))
        world.until(lambda stamp=stamp: log._ego is not None and log._ego.stamp == pytest.approx(stamp))
        published["perception/fed_vit"].publish(scene)
        world.until(lambda: len(log._waiting) == 1)
        if number == 3:
            published["safety/state"].publish(SafetyState(reasons=["collision"]))
            world.until(lambda: world.node._collided)
        published["control/commands"].publish(command)
        world.until(lambda: not log._waiting)
    world.node.trigger_deactivate()
    world.node.trigger_cleanup()
    rows = load_drives(world.state / "experience" / FOLDER, 4, 10)
    assert rows["corrected"].tolist() == [0.0, 1.0, 0.0]
    # 2 m of route, no jerk, 8 of 10 m/s: 2.0 + 1.0 + 0.5 · 0.8
    assert rows["reward"] == pytest.approx([3.4, 3.4, 3.4 - 100.0])


def test_the_shipped_release_is_announced_to_whoever_comes(world):
    world.until(lambda: world.releases)
    assert (world.releases[0].version, world.releases[0].digest) == (4, world.digest)


def test_it_says_that_the_broker_is_away(world):
    level, message, values = world.node.diagnose()
    assert level == 1
    assert message == "no connection to the broker"
    assert values["release"] == 4


def test_a_certificate_of_another_vehicle_is_not_taken(world, tmp_path):
    values = [Parameter("vehicle", value="v2"), Parameter("identity", value=str(tmp_path / "identity"))]
    other = ClientNode(context=world.context, parameter_overrides=values, namespace="other")
    assert other.trigger_configure().name == "FAILURE"
    other.destroy_node()
