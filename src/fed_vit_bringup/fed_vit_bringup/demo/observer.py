"""Watches the demo's vehicles from outside: an annotated video and a record of every command, for the report."""

import csv
from collections import deque
from pathlib import Path
from typing import Any

import msgspec
from rclpy.node import Node
from rclpy.qos import QoSProfile

from fed_vit_autorl.data.sample import CameraModel, base_from_optical
from fed_vit_autorl.edge.topics import TOPICS
from fed_vit_autorl.files import write_file
from fed_vit_bringup.demo.painter import VideoPainter
from fed_vit_bringup.graph import carla_sensors
from fed_vit_common.conversions import camera_model, rgb_image, seconds
from fed_vit_common.node import run
from fed_vit_common.overlay import overlay_of
from fed_vit_common.qos import PROFILES, message_class
from fed_vit_sim.record import Recorder

IMAGES_KEPT = 8
FRAMES_PER_VIDEO_FRAME = 2
VIDEO_RATE = 10
BASE_FROM_CAMERA = base_from_optical(1.2, 0.0, 1.5)  # as the embedded world mounts it


class ReleaseSeen(msgspec.Struct):
    """What a vehicle's perception did with one release."""

    version: int
    active: bool
    reason: str
    frames_dropped_by_swap: int


class Observed(msgspec.Struct):
    """What was seen of one vehicle; written beside its commands as ``observed.json``, at every release and at the
    end.
    """

    frames: int = 0
    commands: int = 0
    interventions: dict[str, int] = {}
    releases: list[ReleaseSeen] = []


class VehicleObserver:
    """One vehicle's topics, its video and its commands (``commands.csv``: stamp [s], latency [ms], speed, reason …)."""

    def __init__(self, node: Node, vehicle: str, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._images: deque = deque(maxlen=IMAGES_KEPT)
        self._vehicle = vehicle
        self._camera: CameraModel | None = None
        self._proposal: Any = None
        self._command: Any = None
        self._speed = 0.0
        self._model = ""
        self._answered = -1.0
        self._seen = Observed()
        self._video = VideoPainter(folder / "camera.mp4", VIDEO_RATE)
        self._file = (folder / "commands.csv").open("w", newline="")
        self._rows = csv.writer(self._file)
        self._rows.writerow(["stamp", "latency_ms", "speed", "steering_angle", "throttle", "brake", "reason", "model"])
        sensors = carla_sensors(vehicle)
        for topic, callback in (
            ("camera/image", self._on_image),
            ("camera/camera_info", self._on_camera),
            ("odometry", self._on_odometry),
            ("policy/proposal", self._on_proposal),
            ("perception/fed_vit", self._on_scene),
            ("control/commands", self._on_command),
            ("model/status", self._on_status),
        ):
            edge = TOPICS[topic]
            name = sensors.get(topic, f"/{vehicle}/{topic}")
            node.create_subscription(message_class(edge.type), name, callback, PROFILES[edge.qos])

    def _on_image(self, message: Any) -> None:
        self._images.append(message)

    def _on_camera(self, message: Any) -> None:
        if self._camera is None:
            self._camera = camera_model(message, BASE_FROM_CAMERA)

    def _on_proposal(self, message: Any) -> None:
        self._proposal = message

    def _on_odometry(self, message: Any) -> None:
        self._speed = message.twist.twist.linear.x

    def _on_scene(self, scene: Any) -> None:
        self._seen.frames += 1
        self._model = scene.model_id
        if self._seen.frames % FRAMES_PER_VIDEO_FRAME:
            return
        image = next((kept for kept in self._images if kept.header.stamp == scene.header.stamp), None)
        if image is not None and self._camera is not None:
            title = f"{self._vehicle}  {self._model}"
            overlay = overlay_of(scene, self._proposal, self._command, self._camera, self._speed, title)
            self._video.add(rgb_image(image), overlay)

    def _on_command(self, command: Any, info: dict) -> None:
        self._command = command
        stamp = seconds(command.header.stamp)
        if not command.trace or stamp == self._answered:
            return  # the shield repeats a command on its own clock; a frame's latency is that of its first one
        self._answered = stamp
        latency_ms = (info["received_timestamp"] - command.trace[0].sent_ns) * 1e-6
        self._seen.commands += 1
        if command.reason:
            self._seen.interventions[command.reason] = self._seen.interventions.get(command.reason, 0) + 1
        controls = (command.steering_angle, command.throttle, command.brake)
        values = (f"{value:.4f}" for value in (stamp, latency_ms, self._speed, *controls))
        self._rows.writerow([*values, command.reason, self._model])

    def _on_status(self, status: Any) -> None:
        if status.node == "perception":
            self._seen.releases.append(
                ReleaseSeen(status.version, status.active, status.reason, status.frames_dropped_by_swap)
            )
            self._record()

    def _record(self) -> None:
        write_file(self._folder / "observed.json", msgspec.json.encode(self._seen))

    def close(self) -> None:
        """Completes the video and writes the record."""
        self._video.close()
        self._file.close()
        self._record()


class Observer(Node):
    """One node for all of the demo's vehicles; parameters ``vehicles``, ``output``, ``record`` (a bag of each)."""

    def __init__(self) -> None:
        super().__init__("observer")
        vehicles = self.declare_parameter("vehicles", ["vehicle_1"]).value
        output = Path(self.declare_parameter("output", "out/demo").value)
        self._observers = [VehicleObserver(self, vehicle, output / vehicle) for vehicle in vehicles]
        if self.declare_parameter("record", False).value:
            self._observers += [Recorder(self, output / vehicle / "bag", _recorded(vehicle)) for vehicle in vehicles]

    def destroy_node(self) -> None:
        """Completes what the observers write."""
        for observer in self._observers:
            observer.close()
        super().destroy_node()


def _recorded(vehicle: str) -> list[tuple[str, type, QoSProfile]]:
    """The vehicle's inputs and its commands: what a replay needs and what it is compared with."""
    sensors = carla_sensors(vehicle)
    topics = [*sensors, "traffic_lights", "route/command", "control/commands"]
    edges = [(sensors.get(topic, f"/{vehicle}/{topic}"), TOPICS[topic]) for topic in topics]
    return [(name, message_class(edge.type), PROFILES[edge.qos]) for name, edge in edges]


def main() -> None:
    """Entry point of the ``observer`` executable."""
    run(Observer)
