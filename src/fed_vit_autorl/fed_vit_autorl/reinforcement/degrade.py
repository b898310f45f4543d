"""What a small perception model would have seen of the truth: a cheap stand-in for it while driving data is collected.

Road users in view and not hidden behind nearer ones are found with a probability that falls with distance; their
nearest points carry noise, scores are random, and there are ghosts. There are no features (zeros)
and no free distances.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from fed_vit_autorl.reinforcement.expert import RoadUser
from fed_vit_autorl.reinforcement.policy_io import SceneView
from fed_vit_autorl.reinforcement.route import Pose, to_local


@dataclass(frozen=True)
class PerceptionErrors:
    """How perception errs: view [rad] and range [m]; detection rate near and at the range; noise [m, and per metre of
    distance]; rates per frame of a ghost and of a wrong class.
    """

    field_of_view: float = 1.4
    range_m: float = 60.0
    rate_near: float = 0.95
    rate_far: float = 0.25
    noise_m: float = 0.15
    noise_per_m: float = 0.01
    ghosts: float = 0.02
    confusion: float = 0.03


class DegradedPerception:
    """Scenes made from the truth by `PerceptionErrors`; the same generator gives the same scenes."""

    def __init__(self, feature_width: int, rng: np.random.Generator, errors: PerceptionErrors | None = None):
        self.feature_width, self.rng, self.errors = feature_width, rng, errors or PerceptionErrors()

    def __call__(self, pose: Pose, users: Iterable[RoadUser]) -> SceneView:
        """The scene from `pose` of `base_link`."""
        found, classes = [], []
        for point, width, class_id in self._visible(pose, list(users)):
            distance = float(np.linalg.norm(point))
            fade = min(distance / self.errors.range_m, 1.0)
            if self.rng.random() > self.errors.rate_near + fade**2 * (self.errors.rate_far - self.errors.rate_near):
                continue
            noise = self.errors.noise_m + self.errors.noise_per_m * distance
            # Range is measured better than bearing: the point lies somewhere on the side that is seen.
            across = np.array([-point[1], point[0]]) / max(distance, 1e-6)
            found.append(point + self.rng.normal(0.0, noise, 2) + across * self.rng.normal(0.0, 0.15 * width))
            classes.append(int(self.rng.integers(3)) if self.rng.random() < self.errors.confusion else class_id)
        if self.rng.random() < self.errors.ghosts:
            bearing = self.rng.uniform(-0.5, 0.5) * self.errors.field_of_view
            found.append(self.rng.uniform(5.0, self.errors.range_m) * np.array([np.cos(bearing), np.sin(bearing)]))
            classes.append(int(self.rng.integers(3)))
        return SceneView(
            features=np.zeros(self.feature_width, np.float32),
            positions=np.array(found).reshape(-1, 2),
            classes=np.array(classes, np.int64),
            scores=self.rng.uniform(0.3, 1.0, len(found)),
        )

    def _visible(self, pose: Pose, users: list[RoadUser]) -> Iterable[tuple[np.ndarray, float, int]]:
        """(nearest point (2,) in `base_link` [m], apparent width [m], class) of who is in view and half uncovered."""
        seen = []
        for user in users:
            corners = to_local(_outline(user), pose)
            nearest = corners[np.argmin(np.linalg.norm(corners, axis=1))]
            bearings = np.arctan2(corners[:, 1], corners[:, 0])
            distance = float(np.linalg.norm(nearest))
            in_view = np.abs(bearings).min() < 0.5 * self.errors.field_of_view
            if nearest[0] > 0.5 and in_view and distance < self.errors.range_m:
                seen.append((distance, bearings.min(), bearings.max(), nearest, user.class_id))
        seen.sort(key=lambda entry: entry[0])
        covered: list[tuple[float, float]] = []
        for distance, low, high, nearest, class_id in seen:
            hidden = sum(max(min(high, right) - max(low, left), 0.0) for left, right in covered)
            if hidden < 0.5 * (high - low):
                yield nearest, float(high - low) * distance, class_id
            covered.append((low, high))


def _outline(user: RoadUser) -> np.ndarray:
    """Corners and middles of the sides (8, 2) of a road user in `map`."""
    grid = np.array([(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if i or j]) * 0.5 * (user.length, user.width)
    cos, sin = np.cos(user.yaw), np.sin(user.yaw)
    return grid @ np.array([[cos, sin], [-sin, cos]]) + (user.x, user.y)
