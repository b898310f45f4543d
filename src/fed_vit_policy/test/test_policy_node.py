"""The policy node answers every scene: with an action, or by braking for a reason that the message carries."""

import math
import random

import numpy as np
import pytest
import rclpy
import safetensors.numpy
import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fed_vit_msgs.msg import (
    ControlProposal,
    ModelRelease,
    ModelStatus,
    RouteCommand,
    Scene,
    SceneObject,
    StageStamp,
    TrafficLight,
    TrafficLights,
)
from geometry_msgs.msg import Point
from nav_msgs.msg import Odometry
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter

from fed_vit_autorl.deployment import keys, release
from fed_vit_autorl.edge import runtime
from fed_vit_autorl.edge.topics import TOPICS
from fed_vit_autorl.models.export import export_graph, weights_of
from fed_vit_autorl.reinforcement.policy import VisionPolicy, example_inputs
from fed_vit_autorl.reinforcement.policy_io import OUTPUTS
from fed_vit_common.conversions import path_points, stamp_of
from fed_vit_common.qos import PROFILES
from fed_vit_policy.node import PolicyNode

WIDTH = 8


@pytest.fixture(scope="module")
def signing_key(tmp_path_factory):
    key = Ed25519PrivateKey.generate()
    folder = tmp_path_factory.mktemp("keys")
    keys.save_public_key(key.public_key(), folder / "test.pub")
    return key, folder


@pytest.fixture(scope="module")
def make_release(tmp_path_factory, signing_key):
    def make(version: int, perceived: int = WIDTH):
        """A release whose policy takes `WIDTH` features and whose perception gives `perceived`."""
        torch.manual_seed(version)
        policy = VisionPolicy(WIDTH).eval()
        graph, weights = export_graph(policy, example_inputs(WIDTH), OUTPUTS, "policy.safetensors"), weights_of(policy)
        inputs = {name: array.numpy() for name, array in example_inputs(WIDTH).items()}
        engine = runtime.create(graph, weights)
        seen = {}, {"features": np.zeros((1, perceived), np.float32)}
        golden = release.pack_golden({"policy": (inputs, runtime.golden_outputs(engine, inputs)), "perception": seen})
        files = {"policy.onnx": graph, "policy.safetensors": safetensors.numpy.save(weights), release.GOLDEN: golden}
        folder = tmp_path_factory.mktemp("releases") / str(version)
        return folder, release.write_release(folder, files, signing_key[0], version=version, architecture={})

    return make


class Drive:
    """The node and a test's end of its topics, spun together."""

    def __init__(self, folder, trusted):
        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=random.randint(1, 100))
        parameters = [Parameter("release", value=str(folder)), Parameter("trusted_keys", value=str(trusted))]
        self.node = PolicyNode(context=self.context, parameter_overrides=parameters)
        self.peer = rclpy.create_node("peer", context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.executor.add_node(self.peer)
        self.configured = self.node.trigger_configure().name
        self.node.trigger_activate()
        self.proposals: list[ControlProposal] = []
        self.statuses: list[ModelStatus] = []
        self._receive(ControlProposal, "policy/proposal", self.proposals)
        self._receive(ModelStatus, "model/status", self.statuses)
        kinds = {
            "perception/fed_vit": Scene,
            "odometry": Odometry,
            "traffic_lights": TrafficLights,
            "route/command": RouteCommand,
            "model/active": ModelRelease,
        }
        self.publishers = {
            name: self.peer.create_publisher(kind, name, PROFILES[TOPICS[name].qos]) for name, kind in kinds.items()
        }
        self.spin_until(lambda: all(publisher.get_subscription_count() for publisher in self.publishers.values()))
        self.time = 100.0

    def _receive(self, kind, topic, into):
        self.peer.create_subscription(kind, topic, into.append, PROFILES[TOPICS[topic].qos])

    def spin_until(self, done, rounds: int = 400):
        for _ in range(rounds):
            if done():
                return
            self.executor.spin_once(timeout_sec=0.05)
        raise AssertionError("it did not happen")

    def send(self, topic, message, at=None):
        message.header.stamp = stamp_of(self.time if at is None else at)
        self.publishers[topic].publish(message)
        for _ in range(6):
            self.executor.spin_once(timeout_sec=0.01)

    def odometry(self, x=5.0, y=0.0, speed=6.0, at=None):
        message = Odometry()
        message.pose.pose.position.x, message.pose.pose.position.y = x, y
        message.pose.pose.orientation.w = 1.0
        message.twist.twist.linear.x = speed
        self.send("odometry", message, at)

    def lights(self, *lights, at=None):
        self.send("traffic_lights", TrafficLights(lights=[TrafficLight(state=s, distance=d) for s, d in lights]), at)

    def route(self, points):
        self.send("route/command", RouteCommand(path=path_points(np.asarray(points, float))))

    def scene(self, *objects, features=None):
        """Send one scene and return the answer."""
        self.time += 0.05
        before = len(self.proposals)
        values = [0.0] * WIDTH if features is None else features
        message = Scene(features=values, trace=[StageStamp(stage="perception")])
        message.objects = [SceneObject(score=0.9, has_position=True, position=Point(x=x, y=y)) for x, y in objects]
        self.send("perception/fed_vit", message)
        self.spin_until(lambda: len(self.proposals) > before)
        assert len(self.proposals) == before + 1
        return self.proposals[-1]

    def close(self):
        self.node.trigger_deactivate()
        self.node.trigger_cleanup()
        self.executor.shutdown()
        self.node.destroy_node()
        self.peer.destroy_node()
        rclpy.shutdown(context=self.context)


@pytest.fixture
def drive(make_release, signing_key):
    folder, _ = make_release(3)
    drive = Drive(folder, signing_key[1])
    yield drive
    drive.close()


def ready(drive: Drive) -> None:
    drive.route([[0, 0], [100, 0]])
    drive.lights()
    drive.odometry()


def stops_for(answer: ControlProposal, reason: str) -> bool:
    return answer.reason == reason and answer.brake > 0.0 and answer.throttle == 0.0 and len(answer.path) == 20


def test_a_complete_input_is_answered_with_an_action_and_a_path(drive):
    ready(drive)
    answer = drive.scene((30.0, 0.0))
    assert answer.reason == ""
    assert len(answer.path) == 20
    assert answer.path[-1].x == pytest.approx(40.0, abs=0.5)
    assert [stamp.stage for stamp in answer.trace] == ["perception", "policy"]
    assert answer.trace[-1].done_ns >= answer.trace[-1].started_ns > 0
    assert answer.model_id.startswith("3-")


def test_what_is_missing_is_named(drive):
    assert stops_for(drive.scene(), "odometry_missing")
    drive.odometry()
    assert stops_for(drive.scene(), "route_missing")
    drive.route([[0, 0], [100, 0]])
    assert stops_for(drive.scene(), "traffic_lights_missing")
    drive.lights()
    assert drive.scene().reason == ""


def test_what_is_stale_is_named(drive):
    ready(drive)
    drive.time += 0.4
    assert stops_for(drive.scene(), "odometry_stale")
    drive.odometry()
    drive.time += 0.1
    assert stops_for(drive.scene(), "traffic_lights_stale")


@pytest.mark.parametrize(
    ("points", "reason"),
    [
        ([[0, 0]], "route_too_short"),
        ([[0, 0], [math.nan, 1]], "route_not_finite"),
        ([[0, 0], [9e9, 1]], "route_broken"),
    ],
)
def test_a_garbage_route_stops_the_vehicle_until_a_good_one_comes(drive, points, reason):
    ready(drive)
    drive.route(points)
    assert stops_for(drive.scene(), reason)
    assert drive.node.refusals[reason] >= 1
    ready(drive)
    assert drive.scene().reason == ""


def test_wrong_numbers_are_refused(drive):
    ready(drive)
    assert stops_for(drive.scene(features=[math.nan] * WIDTH), "scene_not_finite")
    assert stops_for(drive.scene(features=[0.0] * 3), "features_shape")
    assert stops_for(drive.scene((math.inf, 0.0)), "scene_not_finite")
    drive.odometry()
    drive.lights((TrafficLight.RED, math.nan))
    assert stops_for(drive.scene(), "traffic_lights_not_finite")
    drive.lights()
    drive.odometry(y=30.0)
    assert stops_for(drive.scene(), "off_route")
    drive.odometry(x=math.nan)
    assert drive.node.refusals["odometry_not_finite"] == 1


def test_a_new_release_takes_over_between_two_scenes(drive, make_release):
    ready(drive)
    folder, manifest = make_release(4)
    drive.send("model/active", ModelRelease(version=4, digest=manifest.digest, path=str(folder)))

    def swapped():
        ready(drive)
        return drive.scene().model_id == manifest.model_id

    drive.spin_until(swapped)
    drive.spin_until(lambda: drive.statuses)
    status = drive.statuses[-1]
    assert (status.node, status.version, status.active, status.frames_dropped_by_swap) == ("policy", 4, True, 0)
    assert all(answer.reason == "" for answer in drive.proposals)


@pytest.mark.parametrize(
    ("version", "perceived", "damage", "reason"),
    [(2, WIDTH, False, "version_not_newer"), (5, WIDTH, True, "bad_digest"), (6, WIDTH + 4, False, "bad_inputs")],
)
def test_a_release_that_must_not_run_is_refused_and_the_old_one_drives_on(
    drive, make_release, version, perceived, damage, reason
):
    ready(drive)
    folder, manifest = make_release(version, perceived)
    if damage:
        (folder / "policy.safetensors").write_bytes(b"\0" * manifest.files["policy.safetensors"].size)
    drive.send("model/active", ModelRelease(version=version, digest=manifest.digest, path=str(folder)))

    def answered():
        ready(drive)
        drive.scene()
        return drive.statuses

    drive.spin_until(answered)
    assert (drive.statuses[-1].active, drive.statuses[-1].reason) == (False, reason)
    ready(drive)
    assert drive.scene().model_id.startswith("3-")


def test_without_a_release_it_is_not_configured(tmp_path, signing_key):
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=random.randint(1, 100))
    values = [Parameter("release", value=str(tmp_path)), Parameter("trusted_keys", value=str(signing_key[1]))]
    node = PolicyNode(context=context, parameter_overrides=values)
    assert node.trigger_configure().name == "FAILURE"
    node.destroy_node()
    rclpy.shutdown(context=context)


def test_a_route_that_was_published_before_activation_is_known_after_it(drive):
    drive.node.trigger_deactivate()
    drive.route([[0, 0], [100, 0]])
    drive.node.trigger_activate()
    drive.lights()
    drive.odometry()
    assert drive.scene().reason == ""
