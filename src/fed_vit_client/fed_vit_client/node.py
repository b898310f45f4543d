"""The client node: streams into experience, and the library's client that trains, sends and activates."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from fed_vit_msgs.msg import (
    ControlCommand,
    ModelRelease,
    ModelStatus,
    RouteCommand,
    SafetyState,
    Scene,
    TrafficLights,
)
from nav_msgs.msg import Odometry
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

from fed_vit_autorl.data.sample import CameraModel, base_from_optical
from fed_vit_autorl.data.store import ExperienceStore
from fed_vit_autorl.deployment.identity import Identity
from fed_vit_autorl.federated.vehicle.service import ClientService, ClientSettings
from fed_vit_autorl.federated.vehicle.training_process import TrainerProcess
from fed_vit_autorl.reinforcement.driving_log import FOLDER, DrivingLog
from fed_vit_autorl.reinforcement.policy_io import PolicyRefused
from fed_vit_autorl.reinforcement.route import RouteRefused
from fed_vit_autorl.safety.reasons import Reason
from fed_vit_autorl.simulation.vehicle import Control
from fed_vit_client.experience import ExperienceCollector, Labeller, Skipped
from fed_vit_client.shadow import ShadowTest
from fed_vit_common.conversions import camera_model, ego_state, points, rgb_image, seconds
from fed_vit_common.driving import next_light, route_of, scene_view
from fed_vit_common.node import InputRefused, VehicleNode, run
from fed_vit_common.parameters import Bounds, parameter

PERIOD_S = 0.2


@dataclass(frozen=True)
class Parameters:
    """See `config/client.yaml`."""

    vehicle: str = parameter("", "name of the vehicle in the federation; empty takes it from the certificate")
    region: str = parameter("home", "region of the fleet")
    broker_host: str = parameter("127.0.0.1", "MQTT broker")
    broker_port: int = parameter(8883, "its TLS port", Bounds(1, 65535))
    identity: str = parameter("identity", "folder of the enrolment: key, certificate, and whom the vehicle trusts")
    state: str = parameter("state", "durable folder of the client: outbox, releases, experience")
    release: str = parameter("releases/base", "folder of the release that the vehicle was shipped with")
    domain: str = parameter("", "conditions that the samples are filed under, for instance noon")
    experience_mib: int = parameter(2048, "room for experience [MiB]", Bounds(16, 1 << 20))
    driving_mib: int = parameter(64, "room for what the policy drove [MiB]", Bounds(1, 1 << 16))
    sample_period: float = parameter(0.5, "least time between two samples [s]", Bounds(0.05, 60.0))
    shadow_gate: float = parameter(0.3, "share of a figure that a release may lose on own experience", Bounds(0.0, 1.0))
    camera_position: list = parameter([1.2, 0.0, 1.5], "x, y, z of the camera in base_link [m]")
    camera_pitch: float = parameter(0.0, "pitch of the camera, down is positive [rad]", Bounds(-1.5, 1.5))
    lidar_position: list = parameter([1.0, 0.0, 1.9], "x, y, z of the LiDAR in base_link [m]")
    lidar_yaw: float = parameter(0.0, "rotation of the LiDAR about z [rad]", Bounds(-3.15, 3.15))


class ClientNode(VehicleNode):
    """Sensors, motion and commands in; experience to disk, updates to the aggregator, verified releases out.

    Nothing here is on the driving path: labelling has a thread, training a process, the network its own threads.
    """

    PARAMETERS = Parameters

    def __init__(self, **options: Any) -> None:
        super().__init__("client", **options)
        self._service: ClientService | None = None
        self._labeller: Labeller | None = None
        self._driving: DrivingLog | None = None

    def setup(self, parameters: Parameters) -> None:
        """Opens the state, connects, and listens."""
        identity = Identity(Path(parameters.identity).resolve())
        vehicle = identity.vehicle
        if parameters.vehicle not in ("", vehicle):
            raise ValueError(f"the certificate in {parameters.identity} is {vehicle}'s, not {parameters.vehicle}'s")
        state = Path(parameters.state).resolve()
        experience = state / "experience"
        self._labeller = Labeller(ExperienceStore(experience, parameters.experience_mib << 20))
        self._collector = ExperienceCollector(
            vehicle,
            parameters.domain,
            parameters.sample_period,
            _mounted(parameters.lidar_position, parameters.lidar_yaw),
        )
        self._driving = DrivingLog(experience / FOLDER, parameters.driving_mib << 20)
        self._collided = False
        self._base_from_camera = base_from_optical(*parameters.camera_position, parameters.camera_pitch)
        self._camera: CameraModel | None = None
        self._published = ""
        self._node_reasons: dict[str, str] = {}
        settings = ClientSettings(
            region=parameters.region,
            broker_host=parameters.broker_host,
            broker_port=parameters.broker_port,
            identity=identity.folder,
            state=state,
            initial_release=Path(parameters.release).resolve(),
        )
        command = (sys.executable, "-m", "fed_vit_client.trainer")
        shipped, trusted = settings.initial_release, identity.release_keys_path
        trainer = TrainerProcess(command, vehicle, settings.job, experience, shipped, trusted)
        shadow = ShadowTest(experience, identity, parameters.shadow_gate)
        self._service = ClientService(settings, trainer, shadow)
        self._releases = self.publish_on("model/active")
        self.listen("camera/camera_info", self._on_camera)
        self.listen("lidar/points", self._on_cloud)
        self.listen("odometry", self._on_odometry)
        self.listen("control/commands", self._on_command)
        self.listen("traffic_lights", self._on_lights)
        self.listen("route/command", self._on_route)
        self.listen("perception/fed_vit", self._on_scene)
        self.listen("safety/state", self._on_safety)
        self.listen("model/status", self._on_model_status)
        self.listen("camera/image", self._on_image)
        self.every(PERIOD_S, self._turn)
        self._service.start()

    def teardown(self) -> None:
        """Says goodbye; what was begun goes on at the next start."""
        if self._service is not None:
            self._service.stop()
        if self._labeller is not None:
            self._labeller.close()
        if self._driving is not None:
            self._driving.flush()
        self._service = self._labeller = self._driving = None

    def diagnose(self) -> tuple[int, str, dict[str, Any]]:
        """Connection, release, experience and updates."""
        service = self._service
        connected = service.link.connected.is_set()
        values = {
            "connected": connected,
            "release": service.releases.version,
            "release_refused": service.releases.reason,
            "samples": len(self._labeller.store),
            **{f"updates.{state}": count for state, count in service.outbox.counts().items()},
            **{f"refused.{reason}": count for reason, count in service.core.refusals.items()},
            **{f"release_refused.{reason}": count for reason, count in service.releases.refusals.items()},
            **{f"skipped.{reason}": count for reason, count in self._collector.skipped.items()},
            **{f"driving.{reason}": count for reason, count in self._driving.left.items()},
            **{f"store.{reason}": count for reason, count in self._labeller.store.faults.items()},
            **{f"{node}.release_refused": reason for node, reason in self._node_reasons.items()},
        }
        return (0, "connected", values) if connected else (1, "no connection to the broker", values)

    def _turn(self) -> None:
        for sample, track, worth in self._collector.ready():
            self._labeller.put(sample, track, worth)
        active = self._service.driving
        if active is not None and active[1].digest != self._published:
            folder, manifest = active
            message = ModelRelease(version=manifest.version, digest=manifest.digest, path=str(folder))
            message.header.stamp = self.get_clock().now().to_msg()
            self._releases.publish(message)
            self._published = manifest.digest

    def _on_camera(self, message: CameraInfo, info: dict) -> None:
        if self._camera is None or (message.width, message.height) != (self._camera.width, self._camera.height):
            self._camera = camera_model(message, self._base_from_camera)

    def _on_cloud(self, message: PointCloud2, info: dict) -> None:
        self._collector.on_cloud(seconds(message.header.stamp), points(message))

    def _on_odometry(self, message: Odometry, info: dict) -> None:
        ego = ego_state(message)
        self._collector.on_ego(ego)
        self._driving.on_ego(ego)

    def _on_lights(self, message: TrafficLights, info: dict) -> None:
        try:
            self._driving.on_light(next_light(message))
        except PolicyRefused as refusal:
            raise InputRefused(refusal.reason, str(refusal)) from refusal

    def _on_route(self, message: RouteCommand, info: dict) -> None:
        try:
            self._driving.on_route(route_of(message))
        except RouteRefused as refusal:
            raise InputRefused(refusal.reason, str(refusal)) from refusal

    def _on_scene(self, message: Scene, info: dict) -> None:
        self._driving.on_scene(seconds(message.header.stamp), scene_view(message))

    def _on_command(self, message: ControlCommand, info: dict) -> None:
        stamp = seconds(message.header.stamp)
        if message.reason:
            self._collector.on_intervention(stamp)
        self._driving.on_command(
            stamp, Control(message.steering_angle, message.throttle, message.brake), message.reason
        )

    def _on_safety(self, message: SafetyState, info: dict) -> None:
        collided = Reason.COLLISION in message.reasons
        if collided and not self._collided:
            self._driving.on_contact()
        self._collided = collided

    def _on_model_status(self, message: ModelStatus, info: dict) -> None:
        self._node_reasons[message.node] = message.reason

    def _on_image(self, message: Image, info: dict) -> None:
        stamp = seconds(message.header.stamp)
        if self._camera is None or (self._camera.width, self._camera.height) != (message.width, message.height):
            self._collector.skipped[Skipped.NO_CAMERA_INFO] += 1
        elif self._collector.wants(stamp):
            self._collector.on_image(stamp, np.array(rgb_image(message)), self._camera)


def _mounted(position: list[float], yaw: float) -> np.ndarray:
    """(4, 4) of a sensor at `position` [m], turned by `yaw` [rad]."""
    transform = np.eye(4)
    transform[:2, :2] = (np.cos(yaw), -np.sin(yaw)), (np.sin(yaw), np.cos(yaw))
    transform[:3, 3] = position
    return transform


def main() -> None:
    """Entry point of `client_node`."""
    run(ClientNode)
