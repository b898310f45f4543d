"""Reading a rosbag2 (mcap or sqlite3): which recorded topic plays which part, and the messages in order."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import groupby
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rclpy.serialization import deserialize_message
from rosbags.highlevel import AnyReader, AnyReaderError
from rosbags.interfaces import Connection
from sensor_msgs.msg import CompressedImage, Image

from fed_vit_autorl.edge.topics import TOPICS
from fed_vit_autorl.refusal import Refused
from fed_vit_common.qos import message_class

CAMERA = "camera/image"
RECORDED_CONTROL = "recorded/control"
COMPRESSED = "sensor_msgs/CompressedImage"
MAX_MESSAGE_BYTES = 256 << 20

# What a vehicle's nodes read from outside, and the types in which a bag may hold it. The last is what a driver did.
PARTS: dict[str, tuple[str, ...]] = {
    CAMERA: (TOPICS[CAMERA].type, COMPRESSED),
    **{
        name: (topic.type,)
        for name, topic in TOPICS.items()
        if topic.publisher in ("driver", "adapter") and name not in (CAMERA, "vehicle/events")
    },
    RECORDED_CONTROL: ("carla_msgs/CarlaEgoVehicleControl", "fed_vit_msgs/ControlCommand"),
}


class BagReason(StrEnum):
    """Why a recording can't be played."""

    UNREADABLE = "unreadable"
    NO_CAMERA = "no_camera"
    UNKNOWN_PART = "unknown_part"
    UNKNOWN_TOPIC = "unknown_topic"
    WRONG_TYPE = "wrong_type"


class BagRefused(Refused):
    """A recording that can't be played; the message says what to do."""


@dataclass(frozen=True)
class Recorded:
    """One message of a recording: the part it plays, when it was recorded [ns], its ROS type and serialised bytes."""

    part: str
    recorded_ns: int
    type: str
    raw: bytes

    def message(self) -> Any:
        """The message itself; a compressed image comes decompressed.

        Raises:
            ValueError: the bytes are not such a message, or the picture can't be decoded.
        """
        try:
            message = deserialize_message(self.raw, message_class(self.type))
        except Exception as error:  # rclpy raises a bare error of its C layer
            raise ValueError(f"{self.part}: not a {self.type}") from error
        return _decompressed(message) if isinstance(message, CompressedImage) else message


@dataclass
class Bag:
    """An open recording; use it in a ``with`` block.

    Attributes:
        topics: the recorded topic for each part that the recording has.
        missing: parts that it has not.
    """

    path: Path
    mapping: Mapping[str, str] = field(default_factory=dict)
    topics: dict[str, str] = field(default_factory=dict, init=False)
    missing: list[str] = field(default_factory=list, init=False)

    def __enter__(self) -> "Bag":
        try:
            self._reader = AnyReader([self.path])
            self._reader.open()
        except (AnyReaderError, OSError, ValueError, KeyError) as error:
            raise BagRefused(BagReason.UNREADABLE, f"{self.path} is not a rosbag2 that can be read: {error}") from error
        try:
            self._assign()
        except BagRefused:
            self._reader.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.close()

    @property
    def frames(self) -> int:
        """Number of camera images."""
        return self._reader.topics[self.topics[CAMERA]].msgcount

    @property
    def frames_per_second(self) -> int:
        """Mean rate of the camera's images, at least 1."""
        return max(1, round(self.frames / max(self._reader.duration * 1e-9, 1.0)))

    def messages(self) -> Iterator[Recorded]:
        """The messages of all parts in the order of their recording; of those of one instant the image comes last."""
        parts = {topic: part for part, topic in self.topics.items()}
        chosen = [item for item in self._reader.connections if item.topic in parts]
        for recorded_ns, together in groupby(self._reader.messages(chosen), key=lambda item: item[1]):
            instant = [
                Recorded(parts[connection.topic], recorded_ns, _short(connection), bytes(raw))
                for connection, _, raw in together
                if len(raw) <= MAX_MESSAGE_BYTES
            ]
            yield from sorted(instant, key=lambda item: item.part == CAMERA)

    def _assign(self) -> None:
        by_topic: dict[str, Connection] = {item.topic: item for item in self._reader.connections}
        has = ", ".join(f"{topic} ({_short(item)})" for topic, item in sorted(by_topic.items())) or "nothing"
        for part, topic in self.mapping.items():
            if part not in PARTS:
                raise BagRefused(BagReason.UNKNOWN_PART, f"--map: no topic {part}; there are: {', '.join(PARTS)}")
            if topic not in by_topic:
                raise BagRefused(BagReason.UNKNOWN_TOPIC, f"--map: {topic} is not in the recording, which has: {has}")
            if _short(by_topic[topic]) not in PARTS[part]:
                raise BagRefused(
                    BagReason.WRONG_TYPE,
                    f"--map: {topic} is {_short(by_topic[topic])}; {part} takes {' or '.join(PARTS[part])}",
                )
            self.topics[part] = topic
        for part, types in PARTS.items():
            found = [
                item for item in by_topic.values() if _short(item) in types and item.topic not in self.topics.values()
            ]
            if part not in self.topics and found:
                self.topics[part] = max(found, key=lambda item: _likeness(part, item)).topic
        self.missing = [part for part in PARTS if part not in self.topics]
        if CAMERA not in self.topics:
            raise BagRefused(
                BagReason.NO_CAMERA,
                f"no camera image in {self.path}, which has: {has}; --map {CAMERA}:=TOPIC names one",
            )


def _short(connection: Connection) -> str:
    """``package/Message`` of a recorded type."""
    return connection.msgtype.replace("/msg/", "/")


def _likeness(part: str, connection: Connection) -> tuple[int, int, str]:
    """Which of several topics of a fitting type is meant: one that shares words with the part, then the fullest."""
    words = set(part.split("/")) | {"front"}
    return sum(word in connection.topic for word in words), connection.msgcount, connection.topic


def _decompressed(message: CompressedImage) -> Image:
    pixels = cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_COLOR)
    if pixels is None:
        raise ValueError(f"{CAMERA}: a {message.format or 'compressed'} image that can't be decoded")
    height, width = pixels.shape[:2]
    image = Image(header=message.header, height=height, width=width, encoding="bgr8", step=3 * width)
    image.data = pixels.tobytes()
    return image
