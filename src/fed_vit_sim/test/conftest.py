"""Small recordings, written as ROS 2 would write them."""

from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CompressedImage, Image

from fed_vit_sim.record import open_writer

START_NS = 1_700_000_000 * 10**9
PERIOD_NS = 50_000_000
ENCODERS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "rgb8": lambda rgb: rgb,
    "bgr8": lambda rgb: rgb[..., ::-1],
    "bgra8": lambda rgb: cv2.cvtColor(rgb, cv2.COLOR_RGB2BGRA),
    "mono8": lambda rgb: cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)[..., None],
}


def stamped(message: Any, index: int) -> Any:
    """The message with the stamp of frame ``index``."""
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(START_NS + index * PERIOD_NS, 10**9)
    return message


def picture(index: int, encoding: str, width: int = 96, height: int = 64) -> Image | CompressedImage:
    """A grey road whose brightness tells the frame."""
    rgb = np.full((height, width, 3), 40 + index, np.uint8)
    if encoding == "jpeg":
        return stamped(CompressedImage(format="jpeg", data=cv2.imencode(".jpg", rgb)[1].tobytes()), index)
    pixels = np.ascontiguousarray(ENCODERS[encoding](rgb))
    image = Image(height=height, width=width, encoding=encoding, step=width * pixels.shape[2], data=pixels.tobytes())
    return stamped(image, index)


@pytest.fixture
def recording(tmp_path: Path) -> SimpleNamespace:
    """``picture`` and ``stamped`` make messages; ``write`` turns (topic, message, frame index) triples into a bag."""

    def write(messages: Iterable[tuple[str, Any, int]], storage: str = "mcap") -> Path:
        path = tmp_path / f"bag_{storage}"
        with open_writer(path, storage) as writer:
            for topic, message, index in messages:
                writer.write(topic, type(message), START_NS + index * PERIOD_NS, serialize_message(message))
        return path

    return SimpleNamespace(picture=picture, stamped=stamped, write=write)
