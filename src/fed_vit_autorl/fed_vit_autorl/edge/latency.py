"""Where the time goes between sensor and command: per stage transport, queueing and compute, drops, and the deadline.

Works on the trace that every command carries (see fed_vit_msgs/StageStamp), without ROS. Durations in milliseconds.
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from .topics import END_TO_END_DEADLINE_S, STAGE_BUDGETS_S

WINDOW = 1200
PROFILES = ("full", "light")
MISSES_TO_LIGHTEN = 3
REPORTS_TO_RESTORE = 10
ROOM = 0.6
JUMP_S = 10.0


@dataclass(frozen=True, slots=True)
class Stamp:
    """One stage's passage of one frame, in nanoseconds of one clock; 0 where unknown."""

    stage: str
    sent_ns: int
    received_ns: int
    started_ns: int
    done_ns: int


@dataclass(frozen=True, slots=True)
class Statistics:
    """Distribution of one duration [ms]; all 0 without a sample."""

    count: int = 0
    mean: float = 0.0
    std: float = 0.0
    min: float = 0.0
    p50: float = 0.0
    p95: float = 0.0
    p99: float = 0.0
    max: float = 0.0

    @classmethod
    def of(cls, values: Sequence[float]) -> "Statistics":
        """Of any number of values; percentiles are linearly interpolated."""
        if not len(values):
            return cls()
        array = np.asarray(values, np.float64)
        p50, p95, p99 = np.percentile(array, (50, 95, 99))
        summary = (array.mean(), array.std(), array.min(), p50, p95, p99, array.max())
        return cls(len(array), *(float(value) for value in summary))


@dataclass(frozen=True, slots=True)
class StageReport:
    """One stage: `transport` into it, `queueing` in it, `compute` by it, and whether that keeps its budget at p99."""

    transport: Statistics
    queueing: Statistics
    compute: Statistics
    within_budget: bool


@dataclass(frozen=True, slots=True)
class Report:
    """What the monitor publishes; `sensor` is the time from the camera's stamp to its publication, where known."""

    stages: dict[str, StageReport]
    sensor: Statistics
    end_to_end: Statistics
    frames: int
    dropped: int
    clock_jumps: int
    deadline_met: bool
    profile: str


@dataclass
class _Durations:
    transport: deque = field(default_factory=lambda: deque(maxlen=WINDOW))
    queueing: deque = field(default_factory=lambda: deque(maxlen=WINDOW))
    compute: deque = field(default_factory=lambda: deque(maxlen=WINDOW))


class LatencyStatistics:
    """Collects traces over a sliding window of 1,200 frames (a minute at 20 Hz).

    A trace with an interval that is negative or longer than 10 s was cut by a clock's jump: counted, and left out.
    """

    def __init__(self, rate_hz: float, deadline_s: float = END_TO_END_DEADLINE_S) -> None:
        """`rate_hz` is the nominal rate of the frames, from which dropped ones are counted."""
        self._period_ns, self._deadline_ms = 1e9 / rate_hz, 1e3 * deadline_s
        self._stages: dict[str, _Durations] = {}
        self._sensor: deque[float] = deque(maxlen=WINDOW)
        self._end_to_end: deque[float] = deque(maxlen=WINDOW)
        self._last_frame_ns = 0
        self.frames = self.dropped = self.clock_jumps = 0
        self._profile = ProfileRequest()

    def add(self, frame_ns: int, trace: Sequence[Stamp], received_ns: int, wall_stamps: bool) -> None:
        """Takes in one command.

        Args:
            frame_ns: the sensor's stamp.
            trace: the stages that the frame went through, in their order.
            received_ns: when the command reached the monitor, on the trace's clock.
            wall_stamps: whether `frame_ns` is on the trace's clock, so that the sensor's own time can be told.
        """
        self._count(frame_ns)
        spans = {stamp.stage: _spans(stamp) for stamp in trace}
        sensor = (trace[0].sent_ns - frame_ns) / 1e6 if wall_stamps and trace[0].sent_ns else math.nan
        begin = frame_ns if wall_stamps else trace[0].sent_ns or trace[0].received_ns or trace[0].started_ns
        whole = (received_ns - begin) / 1e6
        every = [value for parts in spans.values() for value in parts] + [sensor, whole]
        if any(value < 0.0 or value > 1e3 * JUMP_S for value in every):
            self.clock_jumps += 1
            return
        for stage, (transport, queueing, compute) in spans.items():
            durations = self._stages.setdefault(stage, _Durations())
            _keep(durations.transport, transport)
            _keep(durations.queueing, queueing)
            _keep(durations.compute, compute)
        _keep(self._sensor, sensor)
        self._end_to_end.append(whole)

    def report(self) -> Report:
        """The window's distributions; asks for a lighter model, or the full one again, as the deadline is kept."""
        end_to_end = Statistics.of(self._end_to_end)
        met = end_to_end.p99 <= self._deadline_ms
        if end_to_end.count:
            self._profile.update(met, end_to_end.p99 <= ROOM * self._deadline_ms)
        return Report(
            stages={name: _stage_report(name, durations) for name, durations in self._stages.items()},
            sensor=Statistics.of(self._sensor),
            end_to_end=end_to_end,
            frames=self.frames,
            dropped=self.dropped,
            clock_jumps=self.clock_jumps,
            deadline_met=met,
            profile=self._profile.name,
        )

    def _count(self, frame_ns: int) -> None:
        """Frames by their stamps: a gap of n periods is n - 1 dropped frames; a stamp that goes back starts anew."""
        self.frames += 1
        gap = frame_ns - self._last_frame_ns
        if self._last_frame_ns and 0 < gap < 1e9 * JUMP_S:
            self.dropped += max(round(gap / self._period_ns) - 1, 0)
        self._last_frame_ns = frame_ns


class ProfileRequest:
    """Which model profile to ask for: a lighter one after three reports over the deadline, full after ten with room."""

    def __init__(self) -> None:
        self.name = PROFILES[0]
        self._misses = self._roomy = 0

    def update(self, met: bool, room: bool) -> None:
        """One report: whether the deadline was met, and whether with room to spare (p99 within 60 % of it)."""
        self._misses = 0 if met else self._misses + 1
        self._roomy = self._roomy + 1 if room else 0
        if self._misses >= MISSES_TO_LIGHTEN:
            self.name = PROFILES[1]
        elif self._roomy >= REPORTS_TO_RESTORE:
            self.name = PROFILES[0]


def _spans(stamp: Stamp) -> tuple[float, float, float]:
    """Transport, queueing and compute [ms]; NaN where a time is unknown."""
    times = (stamp.sent_ns, stamp.received_ns, stamp.started_ns, stamp.done_ns)
    sent, received, started, done = (time / 1e6 if time else math.nan for time in times)
    return received - sent, started - received, done - started


def _keep(values: deque, value: float) -> None:
    if not math.isnan(value):
        values.append(value)


def _stage_report(name: str, durations: _Durations) -> StageReport:
    compute = Statistics.of(durations.compute)
    within = compute.p99 <= 1e3 * STAGE_BUDGETS_S.get(name, math.inf)
    return StageReport(Statistics.of(durations.transport), Statistics.of(durations.queueing), compute, within)
