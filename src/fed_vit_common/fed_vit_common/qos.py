"""ROS quality-of-service profiles and message classes for the library's topic table."""

from functools import cache
from importlib import import_module

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

from fed_vit_autorl.edge.topics import Qos


def _keep_last(depth: int, reliability: ReliabilityPolicy, durability: DurabilityPolicy) -> QoSProfile:
    return QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=depth, reliability=reliability, durability=durability)


PROFILES: dict[Qos, QoSProfile] = {
    Qos.SENSOR: _keep_last(1, ReliabilityPolicy.BEST_EFFORT, DurabilityPolicy.VOLATILE),
    Qos.STATE: _keep_last(1, ReliabilityPolicy.RELIABLE, DurabilityPolicy.VOLATILE),
    Qos.LATCHED: _keep_last(1, ReliabilityPolicy.RELIABLE, DurabilityPolicy.TRANSIENT_LOCAL),
    Qos.EVENT: _keep_last(10, ReliabilityPolicy.RELIABLE, DurabilityPolicy.VOLATILE),
}


@cache
def message_class(name: str) -> type:
    """The Python class of an interface named ``package/Message``."""
    package, _, message = name.partition("/")
    return getattr(import_module(f"{package}.msg"), message)
