"""Varied samples for training, and fixed corruptions for measuring robustness."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from ..sample import Sample
from . import appearance, geometry

Augmentation = Callable[[Sample, np.random.Generator], Sample]


def _crop(sample: Sample, random: np.random.Generator, smallest: float, largest: float) -> Sample:
    scale = random.uniform(smallest, largest)
    width, height = round(sample.camera.width * scale), round(sample.camera.height * scale)
    left = int(random.integers(0, sample.camera.width - width + 1))
    top = int(random.integers(0, sample.camera.height - height + 1))
    return geometry.crop(sample, left, top, width, height)


AUGMENTATIONS: dict[str, Augmentation] = {
    "crop": lambda sample, random: _crop(sample, random, 0.7, 1.0),
    "zoom": lambda sample, random: _crop(sample, random, 0.45, 0.75),
    "flip": lambda sample, random: geometry.flip(sample),
    "rotation": lambda sample, random: geometry.rotate(sample, random.uniform(-0.05, 0.05)),
    "colour": lambda sample, random: appearance.colour(sample, random.uniform(-20, 20), random.uniform(0.6, 1.4)),
    "light": lambda sample, random: appearance.light(sample, random.uniform(0.5, 1.3), random.uniform(0.7, 1.5)),
    "noise": lambda sample, random: appearance.noise(sample, random.uniform(2, 12), random),
    "rain": lambda sample, random: appearance.rain(sample, int(random.integers(40, 200)), random),
    "fog": lambda sample, random: appearance.fog(sample, random.uniform(40, 200)),
    "sun": lambda sample, random: appearance.sun(
        sample, random.uniform(0, 1), random.uniform(0, 0.5), random.uniform(0.3, 0.8)
    ),
    "camera_dropout": lambda sample, random: appearance.camera_dropout(sample),
    "lidar_dropout": lambda sample, random: appearance.lidar_dropout(sample),
}
"""Name → random variation; the ranges stand here."""

CORRUPTIONS: dict[str, Augmentation] = {
    "noise": lambda sample, random: appearance.noise(sample, 20.0, random),
    "blur": lambda sample, random: appearance.blur(sample, 2.0),
    "fog": lambda sample, random: appearance.fog(sample, 60.0),
    "rain": lambda sample, random: appearance.rain(sample, 150, random),
    "occlusion": lambda sample, random: appearance.occlusion(sample, 0.1, random),
    "camera_dropout": lambda sample, random: appearance.camera_dropout(sample),
}
"""Name → fixed severity, for `evaluation.perception.robustness`."""

PROBABILITIES: dict[str, float] = {
    "crop": 0.5,
    "flip": 0.5,
    "rotation": 0.3,
    "colour": 0.5,
    "light": 0.5,
    "noise": 0.3,
    "rain": 0.1,
    "fog": 0.1,
    "sun": 0.1,
}
"""Defaults for a model that sees by its camera alone."""

FUSION_PROBABILITIES: dict[str, float] = PROBABILITIES | {"camera_dropout": 0.1, "lidar_dropout": 0.05}
"""Defaults for a model that has a LiDAR too, so that it learns to do without either."""


@dataclass(frozen=True)
class Augmenter:
    """Applies each augmentation with its probability, in the order of `AUGMENTATIONS`.

    Raises ValueError for a name that is not registered or a probability outside [0, 1].
    """

    probabilities: dict[str, float] = field(default_factory=lambda: dict(PROBABILITIES))

    def __post_init__(self) -> None:
        for name, probability in self.probabilities.items():
            if name not in AUGMENTATIONS:
                raise ValueError(f"no augmentation {name!r}; there are: {', '.join(AUGMENTATIONS)}")
            if not 0 <= probability <= 1:
                raise ValueError(f"probability of {name} is {probability}, not in [0, 1]")

    def __call__(self, sample: Sample, random: np.random.Generator) -> Sample:
        for name, augmentation in AUGMENTATIONS.items():
            if random.random() < self.probabilities.get(name, 0.0):
                sample = augmentation(sample, random)
        return sample
