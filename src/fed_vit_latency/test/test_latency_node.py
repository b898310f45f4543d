"""The latency monitor on real commands."""

import random
import time

import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from fed_vit_msgs.msg import ControlCommand, LatencyReport, StageStamp
from rclpy.executors import SingleThreadedExecutor

from fed_vit_autorl.edge.topics import TOPICS
from fed_vit_common.conversions import stamp_of
from fed_vit_common.qos import PROFILES
from fed_vit_latency.node import LatencyNode, middleware_advice

DOMAIN = random.randint(1, 100)
PATIENCE_S = 20.0


class Commands:
    """An active latency node, and a peer that publishes commands."""

    def __init__(self) -> None:
        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=DOMAIN)
        self.node = LatencyNode(context=self.context)
        self.peer = rclpy.create_node("peer", context=self.context)
        self.reports, self.diagnostics = [], []
        self.publisher = self.peer.create_publisher(
            ControlCommand, "control/commands", PROFILES[TOPICS["control/commands"].qos]
        )
        self.peer.create_subscription(
            LatencyReport, "latency/report", self.reports.append, PROFILES[TOPICS["latency/report"].qos]
        )
        self.peer.create_subscription(DiagnosticArray, "/diagnostics", self.diagnostics.append, 10)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.executor.add_node(self.peer)
        self.node.trigger_configure()
        self.node.trigger_activate()
        self.until(self.publisher.get_subscription_count)

    def until(self, condition) -> None:
        end = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < end, "it did not happen in time"
            self.executor.spin_once(timeout_sec=0.05)

    def send(self, stages: int = 1, compute_ms: float = 4.0) -> ControlCommand:
        """A command whose stages were done just now."""
        now = time.time_ns()
        begin = now - round(compute_ms * 1e6)
        command = ControlCommand()
        command.header.stamp = stamp_of((begin - 2_000_000) * 1e-9)
        command.trace = [
            StageStamp(stage=f"stage_{k}", sent_ns=begin, received_ns=begin, started_ns=begin, done_ns=now)
            for k in range(stages)
        ]
        self.publisher.publish(command)
        return command

    def close(self) -> None:
        self.executor.shutdown()
        self.node.trigger_deactivate()
        self.node.trigger_cleanup()
        self.node.destroy_node()
        self.peer.destroy_node()
        rclpy.shutdown(context=self.context)


@pytest.fixture
def commands():
    commands = Commands()
    yield commands
    commands.close()


def test_a_command_is_reported_by_stage_and_end_to_end(commands):
    command = commands.send()
    commands.until(lambda: commands.reports and commands.reports[-1].frames == 1)
    commands.publisher.publish(command)  # a repeated command is no second frame
    heard = len(commands.reports)
    commands.until(lambda: len(commands.reports) > heard)
    report = commands.reports[-1]
    assert report.frames == 1
    assert report.stages[0].stage == "stage_0"
    assert report.stages[0].compute.p50 == pytest.approx(4.0, abs=0.01)
    assert report.end_to_end.min >= 6.0  # 2 ms from stamp to publication, 4 ms of compute, and the way here
    assert report.deadline_ms == 100.0


def test_an_endless_trace_is_refused_and_counted(commands):
    commands.send(stages=40)
    commands.until(lambda: commands.node.refusals["trace_too_long"] == 1)
    commands.until(
        lambda: any(value.key == "refused.trace_too_long" for d in commands.diagnostics for value in d.status[0].values)
    )


def test_it_notices_that_the_middlewares_profile_is_not_in_force(monkeypatch, tmp_path):
    monkeypatch.setenv("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp")
    monkeypatch.setenv("FASTRTPS_DEFAULT_PROFILES_FILE", str(tmp_path / "absent.xml"))
    assert "FASTRTPS_DEFAULT_PROFILES_FILE" in middleware_advice()
    (tmp_path / "absent.xml").touch()
    assert middleware_advice() == ""
    monkeypatch.setenv("RMW_IMPLEMENTATION", "rmw_cyclonedds_cpp")
    monkeypatch.delenv("FASTRTPS_DEFAULT_PROFILES_FILE")
    assert middleware_advice() == ""
