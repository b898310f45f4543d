"""Human driving in a rosbag2: camera pictures paired with what the driver did."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from rosbags.highlevel import AnyReader, AnyReaderError
from rosbags.typesys import Stores, get_typestore

from ..sample import CameraModel, Sample
from .base import DatasetFault, DatasetRefused

IMAGE_TOPIC = "/camera/front/image_raw/compressed"
CONTROL_TOPIC = "/vehicle/control"
MAX_SKEW_S = 0.1
"""Pictures without a command this near in time are left out."""


@dataclass(frozen=True, eq=False)
class Demonstration:
    """A picture and the human's command: `steering` in [-1, 1], positive left, of the full lock; pedals in [0, 1]."""

    sample: Sample
    steering: float
    throttle: float
    brake: float


def read_demonstrations(
    bag: Path, image_topic: str = IMAGE_TOPIC, control_topic: str = CONTROL_TOPIC
) -> Iterator[Demonstration]:
    """Demonstrations of a bag (mcap or sqlite3) in time, one per picture that has a command near it.

    `control_topic` carries carla_msgs/CarlaEgoVehicleControl. Raises `DatasetRefused` for a folder that is no bag, a
    missing topic or a picture that does not decode.
    """
    try:
        with AnyReader([bag], default_typestore=get_typestore(Stores.ROS2_JAZZY)) as reader:
            pictures, controls = (_connections(reader, topic) for topic in (image_topic, control_topic))
            commands = [
                (stamp, reader.deserialize(data, connection.msgtype))
                for connection, stamp, data in reader.messages(controls)
            ]
            stamps = np.array([stamp for stamp, _ in commands], np.int64)
            for connection, stamp, data in reader.messages(pictures):
                nearest = int(np.abs(stamps - stamp).argmin())
                if abs(int(stamps[nearest]) - stamp) <= MAX_SKEW_S * 1e9:
                    picture = reader.deserialize(data, connection.msgtype)
                    yield _demonstration(picture.data, commands[nearest][1], stamp * 1e-9, bag.name)
    except (AnyReaderError, OSError) as error:
        raise DatasetRefused(DatasetFault.LAYOUT, f"{bag} is not a readable rosbag2: {error}") from error


def _connections(reader: AnyReader, topic: str) -> list:
    found = [connection for connection in reader.connections if connection.topic == topic and connection.msgcount]
    if not found:
        there = ", ".join(sorted({connection.topic for connection in reader.connections}))
        raise DatasetRefused(DatasetFault.LAYOUT, f"no messages on {topic}; the bag has: {there}")
    return found


def _demonstration(data: np.ndarray, command, stamp: float, source: str) -> Demonstration:
    picture = cv2.imdecode(data, cv2.IMREAD_COLOR)
    if picture is None:
        raise DatasetRefused(DatasetFault.BAD_FILE, f"the picture at {stamp:.3f} s does not decode")
    height, width = picture.shape[:2]
    sample = Sample(
        image=np.ascontiguousarray(picture[..., ::-1]),
        camera=CameraModel.nominal(width, height),
        stamp=stamp,
        source=source,
        domain="real",
    )
    # CARLA's steer is positive to the right
    return Demonstration(sample, -float(command.steer), float(command.throttle), float(command.brake))
