"""Velocities of what perception sees: detections of single frames, followed over time in `map`."""

from dataclasses import dataclass

import numpy as np

from fed_vit_autorl.data.sample import EgoState

MAX_TRACKS = 64


@dataclass(frozen=True)
class Tracks:
    """Confirmed road users: `positions` [m], `velocities` [m/s] (N, 2) in `map`, `classes`, `scores` (N,)."""

    positions: np.ndarray
    velocities: np.ndarray
    classes: np.ndarray
    scores: np.ndarray


@dataclass
class _Track:
    position: np.ndarray
    velocity: np.ndarray
    class_id: int
    score: float
    seen: float
    hits: int


class Tracker:
    """α-β filter per object with greedy nearest-neighbour association.

    A track counts once it was seen `confirm` times, coasts for `coast_s` seconds without a detection, and takes only a
    detection within `gate_m` metres plus what 15 m/s covers since it was last seen.
    """

    def __init__(
        self, alpha: float = 0.5, beta: float = 0.15, gate_m: float = 2.5, confirm: int = 2, coast_s: float = 0.5
    ):
        self.alpha, self.beta, self.gate_m, self.confirm, self.coast_s = alpha, beta, gate_m, confirm, coast_s
        self._tracks: list[_Track] = []
        self._stamp: float | None = None

    def update(self, ego: EgoState, positions: np.ndarray, classes: np.ndarray, scores: np.ndarray) -> Tracks:
        """Take one frame's detections, (N, 2) [m] in `base_link`, at `ego.stamp`; time going back starts afresh."""
        if self._stamp is not None and ego.stamp < self._stamp:
            self._tracks = []
        dt = 0.0 if self._stamp is None else max(ego.stamp - self._stamp, 0.0)
        self._stamp = ego.stamp
        for track in self._tracks:
            track.position = track.position + track.velocity * dt
        detections = _to_map(ego, positions[:MAX_TRACKS])
        free = self._associate(detections, classes, scores, ego.stamp, dt)
        self._tracks = [track for track in self._tracks if ego.stamp - track.seen <= self.coast_s]
        for index in free:
            if len(self._tracks) < MAX_TRACKS:
                self._tracks.append(
                    _Track(detections[index], np.zeros(2), int(classes[index]), float(scores[index]), ego.stamp, 1)
                )
        return self._confirmed()

    def _associate(
        self, detections: np.ndarray, classes: np.ndarray, scores: np.ndarray, stamp: float, dt: float
    ) -> list[int]:
        """Give each track its nearest detection; the indices of those left over."""
        free = set(range(len(detections)))
        if self._tracks and len(detections):
            distance = np.linalg.norm(np.stack([t.position for t in self._tracks])[:, None] - detections[None], axis=-1)
            for flat in np.argsort(distance, axis=None):
                row, column = divmod(int(flat), len(detections))
                track = self._tracks[row]
                beyond = distance[row, column] > self.gate_m + 15.0 * (stamp - track.seen)
                if beyond or column not in free or track.seen == stamp:
                    continue
                free.discard(column)
                residual = detections[column] - track.position
                track.position = track.position + self.alpha * residual
                if dt > 0.0:
                    track.velocity = track.velocity + self.beta / dt * residual
                track.class_id, track.score = int(classes[column]), float(scores[column])
                track.seen, track.hits = stamp, track.hits + 1
        return sorted(free)

    def _confirmed(self) -> Tracks:
        kept = [track for track in self._tracks if track.hits >= self.confirm]
        return Tracks(
            positions=np.array([t.position for t in kept]).reshape(-1, 2),
            velocities=np.array([t.velocity for t in kept]).reshape(-1, 2),
            classes=np.array([t.class_id for t in kept], np.int64),
            scores=np.array([t.score for t in kept]),
        )


def _to_map(ego: EgoState, points: np.ndarray) -> np.ndarray:
    cos, sin = np.cos(ego.yaw), np.sin(ego.yaw)
    points = np.asarray(points, np.float64).reshape(-1, 2)
    return points @ np.array([[cos, sin], [-sin, cos]]) + ego.position[:2]
