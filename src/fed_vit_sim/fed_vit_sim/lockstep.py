"""Plays a recording through a vehicle's nodes in lockstep: a frame goes in, its command comes out, the next follows.

The clock jumps to an image's stamp; then comes of every other input the latest that is not younger, then the image
itself. The shield answers the same ``now`` always alike, so the commands do not depend on how fast the machine is.
"""

import struct
import time
from array import array
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from fed_vit_msgs.msg import ControlCommand, ControlProposal, Scene
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image

from fed_vit_autorl.edge.topics import TOPICS, Qos
from fed_vit_common.conversions import rgb_image
from fed_vit_common.node import InputRefused
from fed_vit_common.qos import PROFILES, message_class
from fed_vit_sim.bag import CAMERA, RECORDED_CONTROL, Bag, Recorded

ANSWER_S = 10.0
RESEND_S = 2.0  # camera images are best effort: one can get lost
CONNECT_S = 60.0
SETTLE_S = 0.5
MAX_WAITING = 1000  # messages younger than the image, of one topic
UNDER_TEST = ("perception", "policy", "safety")
ANSWERS = ("perception/fed_vit", "policy/proposal", "control/commands")


class NodesSilent(RuntimeError):
    """The nodes under test are not there or do not answer."""


@dataclass
class Frame:
    """What became of one recorded image.

    Attributes:
        stamp_ns: the image's stamp.
        image: the picture, None where it was refused.
        refused: reason code of a picture that can't be used.
        scene, proposal, command: the nodes' answers; None where none came.
        camera: the recorded calibration in force.
        recorded: the recorded driver's control in force.
        speed: the recorded odometry's [m/s].
        latency_ms: from the image's publication to the command's reception.
    """

    stamp_ns: int
    image: Image | None = None
    refused: str = ""
    scene: Scene | None = None
    proposal: ControlProposal | None = None
    command: ControlCommand | None = None
    camera: CameraInfo | None = None
    recorded: Any = None
    speed: float | None = None
    latency_ms: float | None = None


@dataclass
class _Answers:
    """The first answer of each kind to each stamp."""

    scenes: dict[int, Scene] = field(default_factory=dict)
    proposals: dict[int, ControlProposal] = field(default_factory=dict)
    commands: dict[int, tuple[ControlCommand, int]] = field(default_factory=dict)

    def complete(self, stamp_ns: int) -> bool:
        """Whether all three are there: a command can overtake the scene that it goes back to."""
        return all(stamp_ns in kind for kind in (self.scenes, self.proposals, self.commands))

    def clear(self) -> None:
        for kind in (self.scenes, self.proposals, self.commands):
            kind.clear()


class Lockstep:
    """The outside world of the nodes under test, in the namespace of ``node``."""

    def __init__(self, node: Node, executor: SingleThreadedExecutor) -> None:
        self._node = node
        self._executor = executor
        self._answers = _Answers()
        self._publishers: dict[str, Any] = {}
        self._clock = node.create_publisher(Clock, "/clock", PROFILES[Qos.EVENT])
        self._in_force: dict[str, Any] = {}
        for name, callback in zip(ANSWERS, (self._on_scene, self._on_proposal, self._on_command), strict=True):
            topic = TOPICS[name]
            node.create_subscription(message_class(topic.type), name, callback, PROFILES[Qos.EVENT])

    def play(self, bag: Bag) -> Iterator[Frame]:
        """Plays the recording; one frame for each of its images.

        Raises:
            NodesSilent: perception or the shield is not there.
        """
        for part in bag.topics:
            if part != RECORDED_CONTROL:
                topic = TOPICS[part]
                qos = PROFILES[Qos.EVENT if topic.qos is Qos.SENSOR else topic.qos]
                self._publishers[part] = self._node.create_publisher(message_class(topic.type), part, qos)
        self._connect()
        # The shield places a scan by the odometry that it has, so that comes first.
        parts = sorted(bag.topics.keys() - {CAMERA}, key=lambda part: (part != "odometry", part))
        recorded = {part: deque(maxlen=MAX_WAITING) for part in parts}
        for item in bag.messages():
            if item.part == CAMERA:
                yield self._step(item, recorded)
                continue
            try:
                recorded[item.part].append(item.message())
            except ValueError as error:
                self._node.get_logger().warning(str(error), throttle_duration_sec=1.0)

    def _step(self, item: Recorded, recorded: dict[str, deque]) -> Frame:
        try:
            image = item.message()
            rgb_image(image)
        except (ValueError, InputRefused) as refusal:
            return Frame(item.recorded_ns, refused=str(getattr(refusal, "reason", "image_undecodable")))
        if _stamp_ns(image) == 0:
            image.header.stamp.sec, image.header.stamp.nanosec = divmod(item.recorded_ns, 10**9)
        stamp_ns = _stamp_ns(image)
        self._answers.clear()
        self._clock.publish(Clock(clock=image.header.stamp))
        for part, waiting in recorded.items():
            message = _latest(waiting, stamp_ns)
            if message is not None:
                self._in_force[part] = message
                if part != RECORDED_CONTROL:
                    self._publishers[part].publish(message)
        image.data = array("B", image.data)  # rclpy takes an array of bytes far faster than bytes
        sent_ns = self._send_until_answered(image, stamp_ns)
        answers, odometry = self._answers, self._in_force.get("odometry")
        command, received_ns = answers.commands.get(stamp_ns, (None, 0))
        return Frame(
            stamp_ns,
            image,
            scene=answers.scenes.get(stamp_ns),
            proposal=answers.proposals.get(stamp_ns),
            command=command,
            camera=self._in_force.get("camera/camera_info"),
            recorded=self._in_force.get(RECORDED_CONTROL),
            speed=odometry.twist.twist.linear.x if odometry else None,
            latency_ms=(received_ns - sent_ns) * 1e-6 if command else None,
        )

    def _send_until_answered(self, image: Image, stamp_ns: int) -> int:
        """Publishes the image until it is answered; returns when it was last sent [ns]."""
        end = time.monotonic() + ANSWER_S
        while True:
            sent_ns = time.time_ns()
            self._publishers[CAMERA].publish(image)
            resend = min(time.monotonic() + RESEND_S, end)
            while time.monotonic() < resend:
                self._executor.spin_once(timeout_sec=resend - time.monotonic())
                if self._answers.complete(stamp_ns):
                    return sent_ns
            if time.monotonic() >= end:
                return sent_ns

    def _connect(self) -> None:
        """Waits until every node under test listens to all that will be published, and to the clock."""
        end = time.monotonic() + CONNECT_S
        while not self._is_connected():
            if time.monotonic() > end:
                raise NodesSilent(f"perception, policy or safety is not in {self._node.get_namespace()}")
            self._executor.spin_once(timeout_sec=0.05)
        settled = time.monotonic() + SETTLE_S
        while time.monotonic() < settled:
            self._executor.spin_once(timeout_sec=0.05)

    def _is_connected(self) -> bool:
        listeners = all(
            publisher.get_subscription_count() >= sum(name in UNDER_TEST for name in TOPICS[part].subscribers)
            for part, publisher in self._publishers.items()
        )
        speakers = all(self._node.count_publishers(TOPICS[name].name) for name in ANSWERS)
        return listeners and speakers and self._clock.get_subscription_count() >= len(UNDER_TEST)

    def _on_scene(self, message: Scene) -> None:
        self._answers.scenes.setdefault(_stamp_ns(message), message)

    def _on_proposal(self, message: ControlProposal) -> None:
        self._answers.proposals.setdefault(_stamp_ns(message), message)

    def _on_command(self, message: ControlCommand, info: dict) -> None:
        if message.trace:  # without one it goes back to no frame
            self._answers.commands.setdefault(_stamp_ns(message), (message, info["received_timestamp"]))


def command_bytes(frame: Frame) -> bytes:
    """A frame's proposal and command as bytes, for comparing two runs to the bit."""
    values = [struct.pack("<q", frame.stamp_ns), frame.refused.encode()]
    for message in (frame.proposal, frame.command):
        if message is not None:
            pedals = (message.steering_angle, message.throttle, message.brake)
            values.append(struct.pack("<3f", *pedals) + message.reason.encode())
    return b"\0".join(values)


def _latest(waiting: deque, stamp_ns: int) -> Any:
    """Takes out what is not younger than the stamp and returns the last of it, None where there is nothing."""
    message = None
    while waiting and _stamp_ns(waiting[0]) <= stamp_ns:
        message = waiting.popleft()
    return message


def _stamp_ns(message: Any) -> int:
    return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
