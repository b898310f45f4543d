"""LiDAR labels against what the release sees: where they disagree nobody is sure, and nothing is learnt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fed_vit_autorl.data.sample import Labels, Sample
from fed_vit_autorl.data.store import Key, SampleFolder
from fed_vit_autorl.edge.perceiver import Perceiver

AGREEMENT_IOU = 0.3


def denied(labels: Labels, boxes: np.ndarray) -> np.ndarray:
    """Those of the `boxes` (N, 4) xyxy that no labelled box overlaps with an IoU of 0.3: float32 (M, 4).

    A sparse LiDAR misses people that a camera shows; taking them for background would unlearn them.
    """
    low = np.maximum(boxes[:, None, :2], labels.boxes[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], labels.boxes[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    areas = [(group[:, 2:] - group[:, :2]).prod(axis=1) for group in (boxes, labels.boxes)]
    iou = shared / np.maximum(areas[0][:, None] + areas[1][None] - shared, 1e-6)
    return boxes[iou.max(axis=1, initial=0.0) < AGREEMENT_IOU].astype(np.float32)


class ReconciledSamples:
    """Samples as a trainer reads them; what the release detects and the labels deny is ignored."""

    def __init__(self, samples: SampleFolder, keys: Sequence[Key], perceiver: Perceiver) -> None:
        self._samples = samples
        self._denied: dict[Key, np.ndarray] = {}
        for key in keys:
            sample = samples.get(key)
            if sample is not None and sample.labels is not None:
                self._denied[key] = denied(sample.labels, perceiver(sample.image).detections.boxes)

    def get(self, key: Key) -> Sample | None:
        """The sample, None where it cannot be read any more."""
        sample = self._samples.get(key)
        if sample is None or key not in self._denied:
            return sample
        ignored = np.concatenate([sample.labels.ignored, self._denied[key]])
        return replace(sample, labels=replace(sample.labels, ignored=ignored))
