"""Real processes of a vehicle, and a road in lockstep around them."""

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from diagnostic_msgs.msg import DiagnosticArray
from fed_vit_msgs.msg import ControlCommand
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rosgraph_msgs.msg import Clock

from fed_vit_autorl.edge.topics import Qos
from fed_vit_bringup.domain import free_domain
from fed_vit_bringup.graph import Arguments, vehicle_graph
from fed_vit_bringup.stimulus import Stimulus
from fed_vit_bringup.supervisor import Supervisor
from fed_vit_common.qos import PROFILES

NAMESPACE = "/car"
START_NS = 1_000 * 10**9
FRAME_NS = 50_000_000
ANSWER_S = 10.0
PATIENCE_S = 30.0
FULL_THROTTLE, FULL_BRAKE, TOP_SPEED = 3.5, 8.0, 8.0


class Road:
    """A straight road for the nodes in ``NAMESPACE``; its vehicle goes and stops as it is told.

    In lockstep: the clock moves by a frame when the last one was answered.
    """

    def __init__(self, supervisor: Supervisor, domain_id: int) -> None:
        self.supervisor = supervisor
        self._context = Context()
        self._context.init(domain_id=domain_id)
        self.node = Node("road", namespace=NAMESPACE, context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._clock = self.node.create_publisher(Clock, "/clock", PROFILES[Qos.EVENT])
        self.sensors = Stimulus(self.node, 320, 192)
        self.now_ns = START_NS
        self.command: ControlCommand | None = None
        self.reasons: set[str] = set()
        self.refusals: dict[str, int] = {}
        self.node.create_subscription(ControlCommand, "control/commands", self._on_command, PROFILES[Qos.STATE])
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, PROFILES[Qos.EVENT])

    def _on_command(self, command: ControlCommand) -> None:
        self.command = command
        self.reasons.update(filter(None, command.reason.split(",")))

    def _on_diagnostics(self, array: DiagnosticArray) -> None:
        for status in array.status:
            for value in status.values:
                if value.key.startswith("refused."):
                    self.refusals[value.key.removeprefix("refused.")] = int(value.value)

    def spin(self, seconds: float) -> None:
        """Lets messages come for at most that long, and the supervisor look."""
        self._executor.spin_once(timeout_sec=seconds)

    def step(self, instead: Mapping[str, Any] | None = None, wait: bool = True) -> None:
        """One frame; with ``wait`` until a command answers it."""
        self.now_ns += FRAME_NS
        if self.command is not None:
            push = FULL_THROTTLE * self.command.throttle - FULL_BRAKE * self.command.brake
            self.sensors.speed = min(max(self.sensors.speed + push * FRAME_NS * 1e-9, 0.0), TOP_SPEED)
        clock = Clock()
        clock.clock.sec, clock.clock.nanosec = divmod(self.now_ns, 10**9)
        self._clock.publish(clock)
        self.sensors.frame(self.now_ns, instead)
        end = time.monotonic() + (ANSWER_S if wait else 0.05)
        while time.monotonic() < end and not (wait and self._is_answered()):
            self.spin(0.02)

    def _is_answered(self) -> bool:
        command = self.command
        if command is None or not command.trace:
            return False
        return command.header.stamp.sec * 10**9 + command.header.stamp.nanosec == self.now_ns

    def until(self, condition: Callable[[], Any], instead: Mapping[str, Any] | None = None, wait: bool = True) -> bool:
        """Steps until the condition holds; False when it does not within a minute."""
        end = time.monotonic() + PATIENCE_S
        while not condition() and time.monotonic() < end:
            self.step(instead, wait)
        return bool(condition())

    @property
    def driving(self) -> bool:
        """The vehicle goes, is let go on, and nothing is wrong."""
        command = self.command
        return command is not None and self.sensors.speed > 2.0 and command.brake == 0.0 and not command.reason

    @property
    def braking(self) -> bool:
        """The last command brakes, and says why."""
        return self.command is not None and self.command.brake > 0.0 and bool(self.command.reason)

    def close(self) -> None:
        """Leaves the ROS graph."""
        self._executor.shutdown()
        self.node.destroy_node()
        self._context.shutdown()


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Road]:
    """The vehicle's nodes without the client, driving."""
    domain_id = free_domain()
    logs = tmp_path_factory.mktemp("logs")
    graph = vehicle_graph(Arguments(namespace=NAMESPACE, use_sim_time=True, learning=False))
    with Supervisor(graph, Path(logs), domain_id) as supervisor:
        supervisor.start()
        made = Road(supervisor, domain_id)
        try:
            made.until(lambda: made.sensors.heard, wait=False)
            made.sensors.route()
            assert made.until(lambda: made.driving), f"never drove: {made.command}"
            yield made
        finally:
            made.close()
