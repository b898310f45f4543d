"""The vehicle's topics, once: nodes, graph, latency monitor and tests all read this table.

Names are relative to the vehicle's namespace. Rates are nominal; a deadline is the longest silence that is healthy.
"""

from dataclasses import dataclass
from enum import StrEnum


class Qos(StrEnum):
    """Named quality-of-service profiles."""

    SENSOR = "sensor"  # best effort, volatile, keep last 1: a late frame is dropped, never queued
    STATE = "state"  # reliable, volatile, keep last 1
    LATCHED = "latched"  # reliable, transient local, keep last 1
    EVENT = "event"  # reliable, volatile, keep last 10


@dataclass(frozen=True)
class Topic:
    """One edge of the node graph.

    Attributes:
        name: relative topic name.
        type: ROS interface, ``package/Message``.
        qos: profile by name.
        publisher: node that publishes it; "driver" is a sensor driver, the simulator's bridge or a bag.
        subscribers: nodes that read it.
        rate_hz: nominal rate, 0 for events and latched values.
        deadline_s: longest healthy silence, 0 where silence is normal.
    """

    name: str
    type: str
    qos: Qos
    publisher: str
    subscribers: tuple[str, ...]
    rate_hz: float = 0.0
    deadline_s: float = 0.0


TOPICS: dict[str, Topic] = {
    topic.name: topic
    for topic in (
        Topic("camera/image", "sensor_msgs/Image", Qos.SENSOR, "driver", ("perception", "client"), 20.0, 0.2),
        Topic(
            "camera/camera_info", "sensor_msgs/CameraInfo", Qos.SENSOR, "driver", ("perception", "client"), 20.0, 0.2
        ),
        Topic(
            "lidar/points",
            "sensor_msgs/PointCloud2",
            Qos.SENSOR,
            "driver",
            ("perception", "safety", "client"),
            20.0,
            0.2,
        ),
        Topic("odometry", "nav_msgs/Odometry", Qos.STATE, "driver", ("policy", "safety", "client"), 20.0, 0.2),
        Topic(
            "traffic_lights",
            "fed_vit_msgs/TrafficLights",
            Qos.STATE,
            "adapter",
            ("policy", "safety", "client"),
            20.0,
            0.5,
        ),
        Topic("route/command", "fed_vit_msgs/RouteCommand", Qos.LATCHED, "adapter", ("policy", "safety", "client")),
        Topic(
            "perception/fed_vit",
            "fed_vit_msgs/Scene",
            Qos.STATE,
            "perception",
            ("policy", "safety", "client"),
            20.0,
            0.2,
        ),
        Topic("policy/proposal", "fed_vit_msgs/ControlProposal", Qos.STATE, "policy", ("safety",), 20.0, 0.2),
        Topic(
            "control/commands",
            "fed_vit_msgs/ControlCommand",
            Qos.STATE,
            "safety",
            ("adapter", "client", "latency"),
            50.0,
            0.1,
        ),
        Topic("safety/state", "fed_vit_msgs/SafetyState", Qos.LATCHED, "safety", ("client",)),
        Topic("operator/alert", "fed_vit_msgs/OperatorAlert", Qos.EVENT, "safety", ()),
        Topic("latency/report", "fed_vit_msgs/LatencyReport", Qos.STATE, "latency", ("perception",), 1.0, 3.0),
        Topic("model/active", "fed_vit_msgs/ModelRelease", Qos.LATCHED, "client", ("perception", "policy")),
        Topic("model/status", "fed_vit_msgs/ModelStatus", Qos.EVENT, "perception, policy", ("client",)),
        Topic("vehicle/events", "fed_vit_msgs/VehicleEvent", Qos.EVENT, "adapter", ("safety", "client")),
        Topic("/diagnostics", "diagnostic_msgs/DiagnosticArray", Qos.EVENT, "all", ()),
    )
}

VEHICLE_NODES = ("perception", "policy", "safety", "latency", "client")
END_TO_END_DEADLINE_S = 0.100
STAGE_BUDGETS_S = {"sensor": 0.020, "perception": 0.050, "policy": 0.010, "safety": 0.020}
