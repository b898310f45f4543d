"""What a replay says about the nodes: plain arithmetic on its frames."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from carla_msgs.msg import CarlaEgoVehicleControl
from fed_vit_msgs.msg import Scene

from fed_vit_autorl.data.classes import OBJECT_CLASSES
from fed_vit_sim.lockstep import Frame, command_bytes

BRAKING = 0.05
STOP_HELD_S = 0.5
START_UP_S = 1.0
NOMINAL_VIEW_RAD = 1.2  # sign and order matter to a correlation, the width of the view does not


@dataclass(frozen=True)
class Row:
    """One frame in numbers; None where there is none.

    ``seen`` is the direction of the free road [rad, left positive], ``driver`` the recorded steering (left positive, in
    the recording's own unit), ``driver_brakes`` whether the recorded driver was not driving on.
    """

    stamp: float
    answered: bool
    reason: str
    latency_ms: float | None
    steering: float | None
    proposed: float | None
    proposed_reason: str
    braking: bool
    seen: float | None
    driver: float | None
    driver_brakes: bool | None


@dataclass
class Metrics:
    """Gathers frames; ``report`` is what is written as report.json."""

    rows: list[Row] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    detections: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    _digest: Any = field(default_factory=hashlib.sha256)

    def add(self, frame: Frame) -> Row:
        """Takes in one frame and returns it in numbers."""
        row = row_of(frame)
        self.rows.append(row)
        self._digest.update(command_bytes(frame))
        if frame.refused:
            self.refused[frame.refused] += 1
        self.reasons.update(filter(None, row.reason.split(",")))
        for item in frame.scene.objects if frame.scene else ():
            known = item.class_id < len(OBJECT_CLASSES)
            self.detections[OBJECT_CLASSES[item.class_id] if known else "unknown"] += 1
        return row

    def report(self) -> dict[str, Any]:
        """The replay's figures."""
        rows = self.rows
        signal, correlation = steering_correlation(rows)
        latencies = [row.latency_ms for row in rows if row.latency_ms is not None]
        return {
            "frames": len(rows),
            "commands": sum(row.answered for row in rows),
            "refused_images": dict(self.refused),
            "commands_sha256": self._digest.hexdigest(),
            "latency_ms": percentiles(latencies),
            "steering_correlation": correlation,
            "steering_signal": signal,
            "time_to_stop_s": time_to_stop(rows),
            "false_stop_rate": false_stop_rate(rows),
            "reasons": dict(self.reasons.most_common()),
            "detections": {name: self.detections[name] for name in OBJECT_CLASSES},
        }


def row_of(frame: Frame) -> Row:
    """A frame in numbers."""
    command, proposal, recorded = frame.command, frame.proposal, frame.recorded
    return Row(
        stamp=frame.stamp_ns * 1e-9,
        answered=command is not None,
        reason=command.reason if command else "",
        latency_ms=frame.latency_ms,
        steering=command.steering_angle if command else None,
        proposed=proposal.steering_angle if proposal else None,
        proposed_reason=proposal.reason if proposal else "",
        braking=command is not None and command.brake > BRAKING,
        seen=free_direction(frame.scene) if frame.scene else None,
        driver=_driver_steering(recorded),
        driver_brakes=None if recorded is None else recorded.brake > BRAKING or recorded.throttle <= 0.0,
    )


def free_direction(scene: Scene) -> float | None:
    """Direction of the free road [rad, left positive]: the sectors' middles weighted by the free distance in them."""
    free = np.array(scene.free_distance, np.float64)
    if free.size == 0 or not free.sum() > 0.0:
        return None
    middles = NOMINAL_VIEW_RAD * (0.5 - (np.arange(free.size) + 0.5) / free.size)
    return float(free @ middles / free.sum())


def steering_correlation(rows: Sequence[Row]) -> tuple[str, float | None]:
    """Pearson's correlation with the recorded driver's steering, and what was correlated.

    The policy's proposals where it drove; where it asked for a stop, for want of odometry or a route, the direction of
    the free road that perception saw. None where nothing was recorded or one side never changes.
    """
    driven = [(row.proposed, row.driver) for row in rows if row.proposed is not None and not row.proposed_reason]
    if sum(driver is not None for _, driver in driven) > len(rows) / 2:
        return "policy_proposal", _pearson(driven)
    return "free_road_direction", _pearson([(row.seen, row.driver) for row in rows])


def time_to_stop(rows: Sequence[Row]) -> float | None:
    """Median time [s] from the recorded driver's stopping to the first braking command; stops are held for 0.5 s."""
    delays = []
    for index, row in enumerate(rows):
        begins = row.driver_brakes and (index == 0 or rows[index - 1].driver_brakes is False)
        if not begins:
            continue
        stop = _while_braking(rows[index:])
        if stop[-1].stamp - row.stamp >= STOP_HELD_S:
            delays += [next((later.stamp - row.stamp for later in stop if later.braking), stop[-1].stamp - row.stamp)]
    return float(np.median(delays)) if delays else None


def false_stop_rate(rows: Sequence[Row]) -> float | None:
    """Share of the frames with a driver who drives on in which the command brakes.

    The first second does not count: the shield starts with its brakes on until it has made sure of its inputs.
    """
    started = rows[0].stamp + START_UP_S if rows else 0.0
    driving = [row.braking for row in rows if row.driver_brakes is False and row.answered and row.stamp >= started]
    return sum(driving) / len(driving) if driving else None


def percentiles(values: Sequence[float]) -> dict[str, float | None]:
    """p50, p95, p99 and maximum."""
    if not values:
        return dict.fromkeys(("p50", "p95", "p99", "max"))
    p50, p95, p99 = np.percentile(values, (50, 95, 99))
    return {"p50": float(p50), "p95": float(p95), "p99": float(p99), "max": float(max(values))}


def _while_braking(rows: Sequence[Row]) -> list[Row]:
    end = next((index for index, row in enumerate(rows) if not row.driver_brakes), len(rows))
    return list(rows[:end])


def _driver_steering(recorded: Any) -> float | None:
    if recorded is None:
        return None
    return -recorded.steer if isinstance(recorded, CarlaEgoVehicleControl) else recorded.steering_angle


def _pearson(pairs: Iterable[tuple[float | None, float | None]]) -> float | None:
    known = np.array([pair for pair in pairs if None not in pair], np.float64).reshape(-1, 2)
    known = known[np.isfinite(known).all(axis=1)]
    if len(known) < 3 or (known.std(axis=0) < 1e-9).any():
        return None
    return float(np.corrcoef(known.T)[0, 1])
