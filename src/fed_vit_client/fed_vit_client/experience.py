"""From the vehicle's streams to labelled samples in the bounded store. No ROS in here."""

from __future__ import annotations

import queue
import threading
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from fed_vit_autorl.data.auto_label import LANE_REACH_M, auto_label
from fed_vit_autorl.data.sample import CameraModel, EgoState, Sample
from fed_vit_autorl.data.store import ExperienceStore

HORIZON_S = 8.0  # how long a sample waits for the track that labels its lane
MAX_WAITING = 64
MAX_EGO_AGE_S = 0.2
STANDSTILL_PERIOD_S = 5.0
MIN_DISTANCE_M = 1.0
WORTH, WORTH_OF_INTERVENTION = 0.5, 0.9
INTERVENTION_REACH_S = 1.0


class Skipped(StrEnum):
    """Why an image did not become a sample."""

    NO_CAMERA_INFO = "no_camera_info"
    NO_ODOMETRY = "no_odometry"
    TOO_SOON = "too_soon"
    STANDING = "standing"
    LABELLER_BUSY = "labeller_busy"


@dataclass(frozen=True)
class _Waiting:
    sample: Sample
    ego: EgoState


class ExperienceCollector:
    """Takes one sample per `period_s` while the vehicle moves, one per 5 s while it stands; waits until the track that
    it then drove is known. `skipped` counts what was left out.
    """

    def __init__(self, source: str, domain: str, period_s: float, base_from_lidar: np.ndarray) -> None:
        self.skipped: Counter[str] = Counter()
        self._source, self._domain, self._period_s, self._base_from_lidar = source, domain, period_s, base_from_lidar
        self._clear()

    def on_ego(self, ego: EgoState) -> None:
        """The vehicle's motion; a stamp that goes back (a simulation that restarts) begins afresh."""
        if self._track and ego.stamp < self._track[-1].stamp:
            self._clear()
        self._track.append(ego)
        while self._track[0].stamp < ego.stamp - HORIZON_S - 2.0:
            self._track.popleft()

    def on_cloud(self, stamp: float, points: np.ndarray) -> None:
        """LiDAR points float32 (N, 4) in the sensor's frame."""
        self._cloud = stamp, points

    def on_intervention(self, stamp: float) -> None:
        """The shield changed a command: what is seen about then is worth more."""
        self._interventions.append(stamp)

    def wants(self, stamp: float) -> bool:
        """Whether an image of that stamp would be taken; asks before the image is converted."""
        if not self._track or abs(self._track[-1].stamp - stamp) > MAX_EGO_AGE_S:
            self.skipped[Skipped.NO_ODOMETRY] += 1
            return False
        if self._last is None:
            return True
        elapsed = stamp - self._last.stamp
        if 0 <= elapsed < self._period_s:
            self.skipped[Skipped.TOO_SOON] += 1
            return False
        moved = np.hypot(*(np.subtract(self._track[-1].position, self._last.position)[:2]))
        if moved < MIN_DISTANCE_M and 0 <= elapsed < STANDSTILL_PERIOD_S:
            self.skipped[Skipped.STANDING] += 1
            return False
        return True

    def on_image(self, stamp: float, image: np.ndarray, camera: CameraModel) -> None:
        """An image that `wants` asked for."""
        ego = self._track[-1]
        recent = self._cloud is not None and abs(self._cloud[0] - stamp) <= MAX_EGO_AGE_S
        sample = Sample(
            image=image,
            camera=camera,
            points=self._cloud[1] if recent else None,
            base_from_lidar=self._base_from_lidar if recent else None,
            ego=ego,
            stamp=stamp,
            source=self._source,
            domain=self._domain,
        )
        self._last = ego
        self._waiting.append(_Waiting(sample, ego))

    def ready(self) -> list[tuple[Sample, list[EgoState], float]]:
        """(sample, the track after it, its worth) of those whose future is known."""
        found = []
        while self._waiting and self._future_known(self._waiting[0]):
            first = self._waiting.popleft()
            after = [ego for ego in self._track if ego.stamp > first.ego.stamp]
            touched = any(abs(stamp - first.ego.stamp) <= INTERVENTION_REACH_S for stamp in self._interventions)
            found.append((first.sample, after, WORTH_OF_INTERVENTION if touched else WORTH))
        return found

    def _future_known(self, first: _Waiting) -> bool:
        now = self._track[-1]
        driven = np.hypot(*(np.subtract(now.position, first.ego.position)[:2]))
        return now.stamp - first.ego.stamp >= HORIZON_S or driven >= LANE_REACH_M

    def _clear(self) -> None:
        self._track: deque[EgoState] = deque()
        self._waiting: deque[_Waiting] = deque(maxlen=MAX_WAITING)
        self._interventions: deque[float] = deque(maxlen=MAX_WAITING)
        self._cloud: tuple[float, np.ndarray] | None = None
        self._last: EgoState | None = None


class Labeller:
    """Labels and stores samples on a thread of its own, so that no callback waits for it; when it is behind, samples
    are dropped.
    """

    def __init__(self, store: ExperienceStore) -> None:
        self.store = store
        self.skipped: Counter[str] = Counter()
        self._jobs: queue.Queue[tuple[Sample, Sequence[EgoState], float] | None] = queue.Queue(8)
        self._thread = threading.Thread(target=self._run, name="labeller", daemon=True)
        self._thread.start()

    def put(self, sample: Sample, track: Sequence[EgoState], worth: float) -> None:
        """Hands a sample over."""
        try:
            self._jobs.put_nowait((sample, track, worth))
        except queue.Full:
            self.skipped[Skipped.LABELLER_BUSY] += 1

    def close(self) -> None:
        """Ends the thread after what it was given."""
        self._jobs.put(None)
        self._thread.join(10)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            sample, track, worth = job
            # The points have done their work in the labels; without them a sample takes a fifth of the room.
            labelled = replace(sample, labels=auto_label(sample, track), points=None, base_from_lidar=None)
            self.store.add(labelled, worth)
