"""``fedvit bench graph``: latency of the real node graph, beside the same processes without their work."""

import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from fed_vit_msgs.msg import ControlCommand
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from fed_vit_autorl.edge.topics import TOPICS
from fed_vit_bringup.domain import free_domain
from fed_vit_bringup.graph import Arguments, Graph, vehicle_graph
from fed_vit_bringup.stimulus import Stimulus
from fed_vit_bringup.supervisor import Supervisor
from fed_vit_common.qos import PROFILES

RATE_HZ = 20.0
DURATION_S = 60.0
WARM_UP_FRAMES = 40
WIDTH, HEIGHT = 640, 384
LATE_S = 2.0  # an answer that comes later is a drop
CONNECT_S = 30.0
NAMESPACE = "/bench"


class Camera:
    """Sends frames at a fixed rate and receives the commands that answer them."""

    def __init__(self, domain_id: int) -> None:
        self._context = Context()
        self._context.init(domain_id=domain_id)
        self._node = Node("camera", namespace=NAMESPACE, context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._stimulus = Stimulus(self._node, WIDTH, HEIGHT)
        self._sent: dict[int, int] = {}
        self._received: dict[int, int] = {}
        edge = TOPICS["control/commands"]
        self._node.create_subscription(ControlCommand, edge.name, self._on_command, PROFILES[edge.qos])

    def _on_command(self, command: ControlCommand, info: dict) -> None:
        stamp = command.header.stamp
        self._received.setdefault(stamp.sec * 10**9 + stamp.nanosec, info["received_timestamp"])

    def connect(self) -> None:
        """Waits until the nodes listen, then publishes the route."""
        end = time.monotonic() + CONNECT_S
        while time.monotonic() < end and not self._stimulus.heard:
            self._executor.spin_once(timeout_sec=0.05)
        self._stimulus.route()
        self._spin(1.0)

    def run(self, frames: int) -> np.ndarray:
        """Sends that many frames; latencies [ms] from each image's publication to its command, NaN for a drop."""
        self._sent.clear()
        self._received.clear()
        due = time.monotonic()
        for _ in range(frames):
            due += 1.0 / RATE_HZ
            self._spin(due - time.monotonic())
            stamp_ns = time.time_ns()
            self._sent[stamp_ns] = self._stimulus.frame(stamp_ns)
        self._spin(LATE_S)
        return np.array([(self._received.get(stamp, np.nan) - sent) * 1e-6 for stamp, sent in self._sent.items()])

    def _spin(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=left)

    def close(self) -> None:
        """Leaves the ROS graph."""
        self._executor.shutdown()
        self._node.destroy_node()
        self._context.shutdown()


def relay_graph(graph: Graph) -> Graph:
    """The same processes and edges with nodes that pass on at once."""
    driving = [node for node in graph.nodes if node.name in ("perception", "policy", "safety")]
    return Graph(
        tuple(
            replace(node, package="fed_vit_bringup", executable="relay_node", parameters_files=()) for node in driving
        )
    )


def measure(graph: Graph, seconds: float) -> dict:
    """Runs a graph and measures it for ``seconds``."""
    domain_id = free_domain()
    with tempfile.TemporaryDirectory() as logs, Supervisor(graph, Path(logs), domain_id) as supervisor:
        supervisor.start()
        camera = Camera(domain_id)
        try:
            camera.connect()
            camera.run(WARM_UP_FRAMES)
            latencies = camera.run(round(seconds * RATE_HZ))
        finally:
            camera.close()
    answered = latencies[np.isfinite(latencies)]
    if not answered.size:
        raise RuntimeError("no frame was answered with a command")
    p50, p95, p99 = np.percentile(answered, (50, 95, 99))
    return {
        "p50_ms": round(float(p50), 2),
        "p95_ms": round(float(p95), 2),
        "p99_ms": round(float(p99), 2),
        "max_ms": round(float(answered.max()), 2),
        "drops": int(np.isnan(latencies).sum()),
        "frames": len(latencies),
    }


def bench_graph(arguments: Arguments | None = None, seconds: float = DURATION_S) -> dict:
    """The real graph, the pass-through graph (the floor), and the ratio of their medians."""
    arguments = arguments or Arguments(namespace=NAMESPACE, learning=False)
    graph = vehicle_graph(arguments)
    real, floor = measure(graph, seconds), measure(relay_graph(graph), seconds)
    return {
        **real,
        "pass_through": floor,
        "ratio": round(real["p50_ms"] / floor["p50_ms"], 2),
        "image": f"{WIDTH}x{HEIGHT} rgb8",
        "rate_hz": RATE_HZ,
        "nodes": [node.name for node in graph.nodes],
    }
