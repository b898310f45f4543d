"""Makes ``tests/data/drive`` from a recording of ``fedvit demo --record``: two seconds, JPEG, half the scans.

python tests/data/make_bag.py out/demo/vehicle_1/bag START_S
"""

import sys
from pathlib import Path

import cv2
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CompressedImage

from fed_vit_common.conversions import rgb_image
from fed_vit_common.qos import message_class
from fed_vit_sim.bag import CAMERA, Bag
from fed_vit_sim.record import open_writer

SECONDS = 2.0
QUALITY = 85
EVERY = {"lidar/points": 2, "recorded/control": 3}


def main(source: Path, start_s: float) -> None:
    """Copies the two seconds after ``start_s``, and the route before them."""
    first, last = (int(value * 1e9) for value in (start_s, start_s + SECONDS))
    seen: dict[str, int] = {}
    route = None
    with Bag(source) as bag, open_writer(Path(__file__).parent / "drive") as writer:
        for item in bag.messages():
            if item.part == "route/command" and item.recorded_ns < first:
                route = item
            if not first <= item.recorded_ns < last:
                continue
            if route is not None:
                writer.write(bag.topics[route.part], message_class(route.type), item.recorded_ns, route.raw)
                route = None
            seen[item.part] = seen.get(item.part, -1) + 1
            if seen[item.part] % EVERY.get(item.part, 1):
                continue
            if item.part == CAMERA:
                image = item.message()
                bgr = cv2.cvtColor(rgb_image(image), cv2.COLOR_RGB2BGR)
                jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1]
                small = CompressedImage(header=image.header, format="jpeg", data=jpeg.tobytes())
                topic = f"{bag.topics[CAMERA]}/compressed"
                writer.write(topic, CompressedImage, item.recorded_ns, serialize_message(small))
            else:
                writer.write(bag.topics[item.part], message_class(item.type), item.recorded_ns, item.raw)


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))
