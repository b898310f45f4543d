"""The perception node on real messages: what it sees, what it refuses, and a swap in flight."""

import time

import numpy as np
import pytest
import rclpy
import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fed_vit_msgs.msg import LatencyReport, ModelRelease, ModelStatus, Scene
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from sensor_msgs.msg import CameraInfo, Image, PointCloud2, PointField

from fed_vit_autorl.data.lidar import FAR
from fed_vit_autorl.deployment import candidate, keys, release
from fed_vit_autorl.edge.topics import TOPICS
from fed_vit_autorl.models.multimodal import MultiModalViT
from fed_vit_autorl.models.packaging import perception_files
from fed_vit_autorl.models.perception import ViTPerception
from fed_vit_common.conversions import stamp_of
from fed_vit_common.qos import PROFILES
from fed_vit_perception.node import PerceptionNode

KEY = Ed25519PrivateKey.generate()
DOMAIN = 63


@pytest.fixture(scope="session")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("releases")
    torch.manual_seed(0)
    model = ViTPerception((64, 96), 16, 0, 48, 1, 3, stem="conv")
    files, golden = perception_files(model, np.random.default_rng(0).integers(0, 255, (2, 64, 96, 3), np.uint8))
    files[release.GOLDEN] = release.pack_golden({"perception": golden})
    architecture = {"perception": model.architecture}
    manifest = release.write_release(folder / "base", files, KEY, version=1, architecture=architecture)
    keys.save_public_key(KEY.public_key(), folder / "release.pub")
    return folder / "base", manifest


class World:
    """The topics around one active perception node."""

    def __init__(self, folder, **given):
        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=DOMAIN)
        options = {"release": str(folder), "trusted_keys": str(folder.parent), "score_threshold": 0.01} | given
        values = [Parameter(name, value=value) for name, value in options.items()]
        self.node = PerceptionNode(context=self.context, parameter_overrides=values)
        self.peer = rclpy.create_node("peer", context=self.context)
        self.scenes, self.statuses = [], []
        self.publishers = {}
        for kind, name in ((Image, "camera/image"), (CameraInfo, "camera/camera_info"), (PointCloud2, "lidar/points"),
                           (ModelRelease, "model/active"), (LatencyReport, "latency/report")):  # fmt: skip
            self.publishers[name] = self.peer.create_publisher(kind, name, PROFILES[TOPICS[name].qos])
        for kind, name, into in (
            (Scene, "perception/fed_vit", self.scenes),
            (ModelStatus, "model/status", self.statuses),
        ):
            self.peer.create_subscription(kind, name, into.append, PROFILES[TOPICS[name].qos])
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.executor.add_node(self.peer)
        assert self.node.trigger_configure().name == "SUCCESS"
        assert self.node.trigger_activate().name == "SUCCESS"
        self.until(lambda: all(publisher.get_subscription_count() for publisher in self.publishers.values()))
        self.clock = 0.0

    def until(self, condition, limit_s=20.0):
        end = time.monotonic() + limit_s
        while not condition():
            assert time.monotonic() < end, "did not happen in time"
            self.executor.spin_once(timeout_sec=0.05)

    def show(self, encoding="rgb8", channels=3, height=64, width=96, keep=None):
        """One image; returns its scene."""
        self.clock += 0.05
        message = Image(height=height, width=width, encoding=encoding, step=width * channels)
        message.header.stamp = stamp_of(self.clock)
        pixels = np.random.default_rng(1).integers(0, 255, height * width * channels, np.uint8)
        message.data = pixels.tobytes()[:keep]
        self.publishers["camera/image"].publish(message)

    def seen(self, **image):
        count = len(self.scenes)
        self.show(**image)
        self.until(lambda: len(self.scenes) > count)
        return self.scenes[-1]

    def refused(self, reason, action):
        action()
        self.until(lambda: self.node.refusals[reason])

    def close(self):
        self.node.trigger_deactivate()
        self.node.trigger_cleanup()
        self.executor.shutdown()
        for node in (self.node, self.peer):
            node.destroy_node()
        rclpy.shutdown(context=self.context)


@pytest.fixture
def world(base):
    world = World(base[0])
    yield world
    world.close()


def test_an_image_becomes_a_scene(world, base):
    scene = world.seen()
    assert scene.model_id == base[1].model_id
    assert (scene.image_width, scene.image_height, scene.mask_width, scene.mask_height) == (96, 64, 24, 16)
    assert len(scene.free_space) == len(scene.lane) == 24 * 16
    assert len(scene.free_distance) == 16
    assert len(scene.features) == 48
    assert 0 <= scene.confidence <= 1
    assert [stamp.stage for stamp in scene.trace] == ["perception"]
    assert scene.trace[0].started_ns <= scene.trace[0].done_ns
    assert scene.header.stamp == stamp_of(world.clock)


@pytest.mark.parametrize(("encoding", "channels"), [("bgr8", 3), ("rgba8", 4), ("bgra8", 4), ("mono8", 1)])
def test_other_encodings_and_sizes_are_seen_too(world, encoding, channels):
    scene = world.seen(encoding=encoding, channels=channels, height=120, width=200)
    assert (scene.image_width, scene.image_height) == (200, 120)
    boxes = np.array([(entry.x_min, entry.y_min, entry.x_max, entry.y_max) for entry in scene.objects]).reshape(-1, 4)
    assert (boxes >= 0).all()
    assert (boxes <= (200, 120, 200, 120)).all()


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        ({"keep": 1000}, "image_truncated"),
        ({"encoding": "mono16", "channels": 2}, "image_encoding"),
        ({"encoding": "16UC1", "channels": 2}, "image_encoding"),
        ({"height": 0}, "image_empty"),
    ],
)
def test_a_bad_image_is_refused_with_its_reason_and_the_next_one_seen(world, image, reason):
    world.refused(reason, lambda: world.show(**image))
    assert world.seen().model_id


def cloud(data, count):
    fields = [PointField(name=name, offset=4 * i, datatype=PointField.FLOAT32, count=1) for i, name in enumerate("xyz")]
    return PointCloud2(height=1, width=count, fields=fields, point_step=12, row_step=12 * count, data=data)


def test_a_bad_cloud_is_refused_and_images_are_still_seen(world):
    publish = world.publishers["lidar/points"].publish
    world.refused("cloud_not_finite", lambda: publish(cloud(np.full(12, np.nan, np.float32).tobytes(), 4)))
    world.refused("cloud_truncated", lambda: publish(cloud(b"\0" * 12, 4)))
    world.refused(
        "camera_info_invalid", lambda: world.publishers["camera/camera_info"].publish(CameraInfo(width=96, height=64))
    )
    assert world.seen().objects is not None


def test_a_release_with_lidar_sees_with_it_and_without(tmp_path):
    torch.manual_seed(0)
    model = MultiModalViT((64, 96), 32, 0, patch_size=16, num_classes=0, embed_dim=48, depth=1, num_heads=3)
    images, scans = np.zeros((1, 64, 96, 3), np.uint8), np.full((1, 32, 4), FAR, np.float32)
    files, golden = perception_files(model, images, golden_points=scans)
    files[release.GOLDEN] = release.pack_golden({"perception": golden})
    architecture = {"perception": model.architecture}
    release.write_release(tmp_path / "fused", files, KEY, version=1, architecture=architecture)
    keys.save_public_key(KEY.public_key(), tmp_path / "release.pub")
    world = World(tmp_path / "fused")
    blind = np.array(world.seen().features)
    message = cloud(np.array([[10, 2, 0]] * 4, np.float32).tobytes(), 4)
    message.header.stamp = stamp_of(world.clock + 0.05)
    world.publishers["lidar/points"].publish(message)
    world.until(lambda: world.node._cloud is not None)
    assert np.abs(np.array(world.seen().features) - blind).max() > 1e-6
    world.close()


def announce(world, folder, manifest):
    message = ModelRelease(version=manifest.version, digest=manifest.digest, path=str(folder))
    world.publishers["model/active"].publish(message)
    world.until(lambda: world.node._sight.swap.loading)


def test_a_new_release_takes_over_without_a_lost_frame(world, base, tmp_path):
    weights = {"perception": {"detection.classes.bias": np.full(3, -2.0)}}
    manifest = candidate.make_candidate(*base, tmp_path / "next", weights, KEY, version=2)
    world.seen()
    announce(world, tmp_path / "next", manifest)
    frames = 1
    while world.scenes[-1].model_id != manifest.model_id:
        world.seen()
        frames += 1
    world.until(lambda: world.statuses)
    status = world.statuses[-1]
    assert (status.node, status.version, status.active, status.reason) == ("perception", 2, True, "")
    assert (status.frames, status.frames_dropped_by_swap) == (frames, 0)
    assert len(world.scenes) == frames


def test_a_release_with_wrong_golden_outputs_is_refused_and_the_old_one_stays(world, base, tmp_path):
    folder, manifest = base
    files = {name: release.read_file(folder, manifest, name) for name in manifest.files}
    inputs, outputs = release.unpack_golden(files[release.GOLDEN], "perception")
    outputs["scores"] = outputs["scores"] + 0.1
    files[release.GOLDEN] = release.pack_golden({"perception": (inputs, outputs)})
    broken = release.write_release(tmp_path / "broken", files, KEY, version=2, architecture=manifest.architecture)
    announce(world, tmp_path / "broken", broken)
    while not world.statuses:
        world.seen()
        world.executor.spin_once(timeout_sec=0.05)
    assert (world.statuses[0].active, world.statuses[0].reason) == (False, "golden_mismatch")
    assert world.seen().model_id == manifest.model_id


def test_a_request_for_a_lighter_profile_is_obeyed_within_five_frames_and_taken_back(world):
    request = world.publishers["latency/report"].publish
    for requested, profile in (("light", "int8"), ("full", "full")):
        request(LatencyReport(requested_profile=requested))
        for _ in range(5):
            if world.seen().profile == profile:
                break
        assert world.scenes[-1].profile == profile


def test_a_profile_by_the_scenes_complexity_changes_without_a_lost_frame(base, tmp_path, monkeypatch):
    monkeypatch.setenv("FEDVIT_CACHE", str(tmp_path))
    world = World(base[0], profile="dynamic")
    profiles = [world.seen().profile for _ in range(4)]
    assert profiles[0] == "full"
    assert len(world.scenes) == 4
    world.close()


def test_a_release_that_cannot_be_used_leaves_the_fallback_seeing(base, tmp_path):
    world = World(base[0], release=str(tmp_path / "nowhere"), fallback_release=str(base[0]))
    assert world.seen().model_id == base[1].model_id
    level, text, _ = world.node.diagnose()
    assert level == 2
    assert "missing_file" in text
    world.close()


def test_too_little_memory_is_said_and_costs_precision_first(base):
    world = World(base[0], max_memory=0.1)
    assert world.seen().profile == "full"
    world.until(lambda: world.seen().profile == "int8")
    assert world.node.diagnose()[1] == "memory_over_limit"
    world.close()


def test_a_wrong_release_at_start_leaves_the_node_unconfigured(base, tmp_path):
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=DOMAIN)
    keys.save_public_key(Ed25519PrivateKey.generate().public_key(), tmp_path / "other.pub")
    options = {"release": str(base[0]), "trusted_keys": str(tmp_path)}
    values = [Parameter(name, value=value) for name, value in options.items()]
    node = PerceptionNode(context=context, parameter_overrides=values)
    assert node.trigger_configure().name == "FAILURE"
    node.destroy_node()
    rclpy.shutdown(context=context)
