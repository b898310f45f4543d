"""The latency monitor: from the commands' traces alone to a report once a second."""

import os
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Any

from fed_vit_msgs.msg import ControlCommand, LatencyReport, LatencyStatistics, StageLatency

from fed_vit_autorl.edge import latency
from fed_vit_autorl.edge.topics import END_TO_END_DEADLINE_S, STAGE_BUDGETS_S, TOPICS
from fed_vit_common.node import InputRefused, VehicleNode, run

REPORT_PERIOD_S = 1.0
MAX_STAGES = 16
OK, WARN = 0, 1


class TraceReason(StrEnum):
    """Why a command's trace is not used."""

    TRACE_TOO_LONG = "trace_too_long"


class LatencyNode(VehicleNode):
    """Listens to `control/commands`; publishes `latency/report` and `/diagnostics`."""

    def __init__(self, **options: Any) -> None:
        super().__init__("latency", **options)

    def setup(self, parameters: Any) -> None:
        """Makes the handles."""
        rate = TOPICS["camera/image"].rate_hz
        self._frame_ns = 0
        self._statistics = latency.LatencyStatistics(rate)
        self._report = self._statistics.report()
        # Stamps of a simulated clock say nothing of the wall clock on which the trace is.
        self._wall_stamps = not self.get_parameter("use_sim_time").value
        self._reports = self.publish_on("latency/report")
        self.listen("control/commands", self._on_command)
        self.every(REPORT_PERIOD_S, self._publish)

    def diagnose(self) -> tuple[int, str, dict[str, Any]]:
        """The deadline, the budgets, and whether the middleware's profile is in force."""
        report = self._report
        over = [name for name, stage in report.stages.items() if not stage.within_budget]
        values = {
            "p50_ms": f"{report.end_to_end.p50:.1f}",
            "p99_ms": f"{report.end_to_end.p99:.1f}",
            "frames": report.frames,
            "dropped": report.dropped,
            "clock_jumps": report.clock_jumps,
            "requested_profile": report.profile,
        }
        profile = middleware_advice()
        if profile:
            return WARN, profile, values
        if not report.deadline_met:
            slow = f"; over its budget: {', '.join(over)}" if over else ""
            return (
                WARN,
                f"p99 {report.end_to_end.p99:.0f} ms, deadline {1e3 * END_TO_END_DEADLINE_S:.0f} ms{slow}",
                values,
            )
        if over:
            return (
                WARN,
                "over its budget: " + ", ".join(f"{n} ({1e3 * STAGE_BUDGETS_S[n]:.0f} ms)" for n in over),
                values,
            )
        return OK, "within the deadline", values

    def _on_command(self, message: ControlCommand, info: dict) -> None:
        stamp = message.header.stamp
        frame_ns = stamp.sec * 1_000_000_000 + stamp.nanosec
        if not message.trace or frame_ns == self._frame_ns:
            return  # between two proposals the shield repeats itself
        self._frame_ns = frame_ns
        if len(message.trace) > MAX_STAGES:
            raise InputRefused(TraceReason.TRACE_TOO_LONG, f"{len(message.trace)} stages, at most {MAX_STAGES}")
        trace = [latency.Stamp(s.stage, s.sent_ns, s.received_ns, s.started_ns, s.done_ns) for s in message.trace]
        self._statistics.add(frame_ns, trace, int(info["received_timestamp"]), self._wall_stamps)

    def _publish(self) -> None:
        self._report = report = self._statistics.report()
        message = LatencyReport(
            window_s=latency.WINDOW / TOPICS["camera/image"].rate_hz,
            stages=[
                StageLatency(
                    stage=name,
                    transport=_statistics(stage.transport),
                    queueing=_statistics(stage.queueing),
                    compute=_statistics(stage.compute),
                )
                for name, stage in report.stages.items()
            ],
            end_to_end=_statistics(report.end_to_end),
            frames=report.frames,
            dropped=report.dropped,
            clock_jumps=report.clock_jumps,
            deadline_ms=1e3 * END_TO_END_DEADLINE_S,
            deadline_met=report.deadline_met,
            requested_profile=report.profile,
        )
        message.header.stamp = self.get_clock().now().to_msg()
        self._reports.publish(message)


def middleware_advice() -> str:
    """What to do where Fast DDS runs without the project's profile and so drops large images; empty if all is well."""
    if "fastrtps" not in os.environ.get("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp"):
        return ""
    if Path(os.environ.get("FASTRTPS_DEFAULT_PROFILES_FILE", "")).is_file():
        return ""
    return (
        "Fast DDS profile not in force, large images get lost: set FASTRTPS_DEFAULT_PROFILES_FILE to config/fastdds.xml"
    )


def _statistics(statistics: latency.Statistics) -> LatencyStatistics:
    return LatencyStatistics(**asdict(statistics))


def main() -> None:
    """Entry point of `latency_node`."""
    run(LatencyNode)
