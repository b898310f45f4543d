"""The perception node: one scene for every image, by a model that can be replaced in flight."""

import sys
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from fed_vit_msgs.msg import LatencyReport, ModelRelease, ModelStatus, Scene, StageStamp
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

from fed_vit_autorl.data.sample import CameraModel, base_from_optical
from fed_vit_autorl.edge.hot_swap import Outcome
from fed_vit_autorl.edge.perceiver import Seen
from fed_vit_autorl.edge.scene import Ground, object_positions
from fed_vit_autorl.edge.topics import TOPICS
from fed_vit_common.conversions import camera_model, points, rgb_image, seconds
from fed_vit_common.node import InputRefused, VehicleNode, run
from fed_vit_common.parameters import Bounds, parameter
from fed_vit_common.trace import close_stamp, open_stamp
from fed_vit_perception.gaps import GapCounter
from fed_vit_perception.messages import scene_message
from fed_vit_perception.sight import Sight

OK, WARN, ERROR = 0, 1, 2
RESOURCES_PERIOD_S = 1.0


class SceneReason(StrEnum):
    """Why there is no scene although the image was good."""

    OUTPUT_NOT_FINITE = "perception_output_not_finite"


@dataclass(frozen=True)
class Parameters:
    """See `config/perception.yaml`."""

    release: str = parameter("releases/base", "folder of the release that the node starts with")
    trusted_keys: str = parameter("releases/keys", "public keys (*.pub) that may sign releases: a folder or a file")
    provider: str = parameter("cpu", "what runs the model: cpu, cuda or tensorrt")
    profile: str = parameter("full", "precision: full, int8, int4, half (GPU), or dynamic: by the scene's complexity")
    light_profile: str = parameter("int8", "precision while the latency monitor asks for a lighter one")
    fallback_release: str = parameter("", "release with a small model (tiny_vit) for when the other can't be used")
    min_confidence: float = parameter(0.7, "scenes below it are reported on /diagnostics", Bounds(0.0, 1.0))
    max_memory: float = parameter(8.0, "memory that the node may use [GB]", Bounds(0.1, 1024.0))
    max_power: float = parameter(15.0, "power that the board may take, where it tells it [W]", Bounds(1.0, 1000.0))
    target_fps: float = parameter(20.0, "the camera's rate, to keep up with [1/s]", Bounds(1.0, 240.0))
    threads: int = parameter(1, "threads of one inference", Bounds(1, 64))
    score_threshold: float = parameter(0.3, "objects below this score are not reported", Bounds(0.01, 0.99))
    sectors: int = parameter(16, "sectors of the view for free_distance", Bounds(1, 256))
    camera_position: list = parameter([1.2, 0.0, 1.5], "x, y, z of the camera in base_link [m]")
    camera_pitch: float = parameter(0.0, "pitch of the camera, down is positive [rad]", Bounds(-1.5, 1.5))
    lidar_position: list = parameter([1.0, 0.0, 1.9], "x, y, z of the LiDAR in base_link [m]")
    lidar_yaw: float = parameter(0.0, "rotation of the LiDAR about z [rad]", Bounds(-3.15, 3.15))


class PerceptionNode(VehicleNode):
    """Image and latest LiDAR scan in; objects, masks, free distance and features out.

    A release named on `model/active` loads beside the running model and takes over between two images; one that is
    wrong is refused on `model/status` and the old one stays.
    """

    PARAMETERS = Parameters

    def __init__(self, **options: Any) -> None:
        super().__init__("perception", **options)
        self._sight: Sight | None = None

    def setup(self, parameters: Parameters) -> None:
        """Loads the release and makes the handles."""
        self._sectors, self._min_confidence = parameters.sectors, parameters.min_confidence
        self._sight = Sight(parameters)
        self._base_from_camera = base_from_optical(*parameters.camera_position, parameters.camera_pitch)
        self._base_from_lidar = _base_from_lidar(parameters.lidar_position, parameters.lidar_yaw)
        self._camera: CameraModel | None = None
        self._ground: Ground | None = None
        self._cloud: tuple[float, np.ndarray] | None = None
        self._frames = self._left_out = 0
        self._confidence = 1.0
        self._gaps = GapCounter()
        self._scenes = self.publish_on("perception/fed_vit")
        self._status = self.publish_on("model/status")
        self.listen("camera/camera_info", self._on_camera)
        self.listen("lidar/points", self._on_cloud)
        self.listen("model/active", self._on_release)
        self.listen("latency/report", self._on_latency)
        self.listen("camera/image", self._on_image)
        self.every(RESOURCES_PERIOD_S, self._sight.watch_resources)

    def teardown(self) -> None:
        """Frees the models."""
        if self._sight is not None:
            self._sight.close()
            self._sight = None

    def diagnose(self) -> tuple[int, str, dict[str, Any]]:
        """The model, how many images it has seen, how many a swap has cost, and what is wrong."""
        sight = self._sight
        active, profile = sight.chosen()
        values = {
            "model": active.manifest.model_id,
            "profile": profile,
            "confidence": round(self._confidence, 3),
            "frames": self._frames,
            "frames_left_out": self._left_out,
            "frames_dropped_by_swap": self._gaps.dropped,
        }
        if sight.refusal:
            return ERROR, f"seeing with the fallback: {sight.refusal}", values
        if sight.resources.shortages:
            return WARN, ", ".join(sight.resources.shortages), values
        if self._confidence < self._min_confidence:
            return WARN, "confidence_below_minimum", values
        return OK, f"seeing with {active.manifest.model_id}", values

    def _on_latency(self, message: LatencyReport, info: dict) -> None:
        self._sight.light_requested = message.requested_profile != "full"

    def _on_camera(self, message: CameraInfo, info: dict) -> None:
        self._see_with(camera_model(message, self._base_from_camera))

    def _see_with(self, camera: CameraModel) -> None:
        known = self._camera
        same_size = known is not None and (known.width, known.height) == (camera.width, camera.height)
        if not same_size or not np.array_equal(known.intrinsics, camera.intrinsics):
            self._camera, self._ground = camera, None

    def _on_cloud(self, message: PointCloud2, info: dict) -> None:
        cloud = points(message)
        cloud[:, :3] = cloud[:, :3] @ self._base_from_lidar[:3, :3].T + self._base_from_lidar[:3, 3]
        self._cloud = seconds(message.header.stamp), cloud

    def _on_release(self, message: ModelRelease, info: dict) -> None:
        swap = self._sight.swap
        if message.digest != swap.active.manifest.digest:
            swap.request(Path(message.path), message.version, message.digest)

    def _on_image(self, message: Image, info: dict) -> None:
        stamp = open_stamp("perception", info)
        outcome = self._sight.swap.swap()
        now = seconds(message.header.stamp)
        if self._sight.leaves_out():
            self._left_out += 1
        else:
            self._see(message, now, stamp)
        self._gaps.frame(now, swapping=self._sight.swap.loading or outcome is not None)
        if outcome is not None:
            self._report(outcome)

    def _see(self, message: Image, now: float, stamp: StageStamp) -> None:
        recent = self._cloud is not None and abs(now - self._cloud[0]) <= TOPICS["lidar/points"].deadline_s
        cloud = self._cloud[1] if recent else None
        seen, manifest, profile = self._sight.see(rgb_image(message), cloud)
        scene = self._scene(seen, cloud, (message.width, message.height))
        scene.header, scene.model_id, scene.profile = message.header, manifest.model_id, profile
        scene.trace = close_stamp([], stamp)
        self._scenes.publish(scene)
        self._frames += 1
        self._confidence = seen.confidence

    def _scene(self, seen: Seen, cloud: np.ndarray | None, size: tuple[int, int]) -> Scene:
        arrays = (seen.features, *seen.masks.values())
        if not all(np.isfinite(array).all() for array in arrays):
            raise InputRefused(SceneReason.OUTPUT_NOT_FINITE)
        if self._camera is None or (self._camera.width, self._camera.height) != size:
            self._see_with(CameraModel.nominal(*size))
        if self._ground is None:
            self._ground = Ground.seen_by(self._camera, *seen.masks["free_space"].shape)
        positions = object_positions(
            seen.detections, self._camera, None if cloud is None else cloud[:, :3], self._base_from_lidar[:3, 3]
        )
        free = self._ground.free_distance(seen.masks["free_space"], self._sectors)
        return scene_message(seen, positions, free, size)

    def _report(self, outcome: Outcome) -> None:
        status = ModelStatus(
            node="perception", version=outcome.version, digest=outcome.digest, active=not outcome.reason
        )
        status.header.stamp = self.get_clock().now().to_msg()
        status.reason, status.frames, status.frames_dropped_by_swap = outcome.reason, self._frames, self._gaps.dropped
        self._status.publish(status)
        if outcome.reason:
            self.refusals[outcome.reason] += 1
            self.get_logger().error(f"release {outcome.version} refused: {outcome.reason}: {outcome.detail}")


def _base_from_lidar(position: list[float], yaw: float) -> np.ndarray:
    transform = np.eye(4)
    cosine, sine = np.cos(yaw), np.sin(yaw)
    transform[:2, :2] = (cosine, -sine), (sine, cosine)
    transform[:3, 3] = position
    return transform


def main() -> None:
    """Entry point of `perception_node`."""
    sys.setswitchinterval(0.0005)  # while a model loads beside it, an image waits for the interpreter at most this long
    run(PerceptionNode)
