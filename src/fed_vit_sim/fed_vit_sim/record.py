"""Recording topics into a rosbag2 that any ROS 2 tool, and ``fedvit replay``, can read."""

import re
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

from ament_index_python.packages import get_package_share_directory
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rosbags.interfaces import Connection
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from fed_vit_common.qos import message_class

STORAGES = {"mcap": StoragePlugin.MCAP, "sqlite3": StoragePlugin.SQLITE3}
BAG_VERSION = 9


class BagWriter:
    """A bag that learns each topic with its first message, and carries the definitions of its types."""

    def __init__(self, path: Path, storage: str) -> None:
        self._writer = Writer(path, version=BAG_VERSION, storage_plugin=STORAGES[storage])
        self._types = get_typestore(Stores.ROS2_JAZZY)
        self._connections: dict[str, Connection] = {}

    def write(self, topic: str, message_type: type, recorded_ns: int, raw: bytes) -> None:
        """Appends a serialised message.

        Args:
            topic: absolute name.
            message_type: its ROS class.
            recorded_ns: time of recording [ns].
            raw: CDR, as ``rclpy.serialization.serialize_message`` or a raw subscription gives it.
        """
        if topic not in self._connections:
            name = self._learn(message_type)
            self._connections[topic] = self._writer.add_connection(topic, name, typestore=self._types)
        self._writer.write(self._connections[topic], recorded_ns, raw)

    def _learn(self, message_type: type) -> str:
        """Registers a type, and those that it is made of, from the definitions in the workspace; returns its name."""
        names = [f"{message_type.__module__.partition('.')[0]}/{message_type.__name__}"]
        for name in names:
            package, _, short = name.partition("/")
            full = f"{package}/msg/{short}"
            if full not in self._types.fielddefs:
                definition = Path(get_package_share_directory(package)) / "msg" / f"{short}.msg"
                self._types.register(get_types_from_msg(definition.read_text(), full))
                fields = message_class(name).get_fields_and_field_types().values()
                names += [part for text in fields for part in re.findall(r"\w+/\w+", text)]
        return names[0].replace("/", "/msg/")

    def __enter__(self) -> "BagWriter":
        self._writer.open()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._writer.close()


def open_writer(path: Path, storage: str = "mcap") -> BagWriter:
    """A new bag in the folder ``path``, which must not exist; use it in a ``with`` block."""
    return BagWriter(path, storage)


class Recorder:
    """Writes what is published on some topics into a bag, stamped with the node's clock.

    Args:
        node: does the subscribing.
        path: folder of the new bag.
        topics: (absolute name, message class, QoS) of what to record.
    """

    def __init__(self, node: Node, path: Path, topics: Iterable[tuple[str, type, QoSProfile]]) -> None:
        self._node = node
        self._writer = open_writer(path).__enter__()
        self.messages = 0
        self._subscriptions = [
            node.create_subscription(kind, topic, self._keeper(topic, kind), qos, raw=True)
            for topic, kind, qos in topics
        ]

    def _keeper(self, topic: str, kind: type) -> Any:
        def keep(raw: bytes) -> None:
            self._writer.write(topic, kind, self._node.get_clock().now().nanoseconds, raw)
            self.messages += 1

        return keep

    def close(self) -> None:
        """Completes the bag."""
        while self._subscriptions:
            self._node.destroy_subscription(self._subscriptions.pop())
        self._writer.__exit__(None, None, None)
