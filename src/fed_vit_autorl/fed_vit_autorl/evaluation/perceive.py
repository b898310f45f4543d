"""The vehicle's own perception, image to objects and masks, as what `PerceptionEvaluator` calls."""

from __future__ import annotations

from fed_vit_autorl.data.sample import Sample
from fed_vit_autorl.edge.perceiver import Perceiver
from fed_vit_autorl.edge.runtime import ModelRuntime

from .perception import Perceive, Perceived

EVALUATION_THRESHOLD = 0.01
"""Average precision wants the uncertain detections too."""


def perceive_with(runtime: ModelRuntime) -> Perceive:
    """Samples through a perception model; boxes come in pixels of the sample's image."""
    perceiver = Perceiver(runtime, EVALUATION_THRESHOLD)

    def perceive(sample: Sample) -> Perceived:
        seen = perceiver(sample.image, sample.returns_in_base)
        found = seen.detections
        return Perceived(found.boxes, found.scores, found.classes, seen.masks, seen.semantic)

    return perceive
