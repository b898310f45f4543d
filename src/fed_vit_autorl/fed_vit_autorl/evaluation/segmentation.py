"""Masks against labelled masks: intersection over union, accumulated over a whole set."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..data.classes import UNLABELLED


class Confusion:
    """Pixel counts (label, prediction) of `classes` classes; pixels labelled 255 do not count."""

    def __init__(self, classes: int):
        self.counts = np.zeros((classes, classes), np.int64)

    def add(self, predicted: NDArray, label: NDArray[np.uint8]) -> None:
        """Counts one image: `predicted` (H, W) class indices, `label` (H, W). Raises ValueError on a shape mismatch."""
        if predicted.shape != label.shape:
            raise ValueError(f"prediction {predicted.shape}, label {label.shape}")
        classes = len(self.counts)
        known = label != UNLABELLED
        index = label[known].astype(np.int64) * classes + predicted[known]
        self.counts += np.bincount(index, minlength=classes * classes).reshape(classes, classes)

    @property
    def iou(self) -> NDArray[np.float64]:
        """(classes,) intersection over union; NaN of a class that neither labels nor predictions have."""
        hit = np.diag(self.counts).astype(np.float64)
        union = self.counts.sum(axis=0) + self.counts.sum(axis=1) - hit
        return np.divide(hit, union, out=np.full_like(hit, np.nan), where=union > 0)

    @property
    def accuracy(self) -> float:
        """Share of labelled pixels that are right."""
        total = self.counts.sum()
        return float(np.trace(self.counts) / total) if total else float("nan")


def mean_iou(confusion: Confusion, names: Sequence[str]) -> dict:
    """`miou` over the classes that are labelled in the set, `per_class` {name: IoU} and `pixel_accuracy`."""
    labelled = confusion.counts.sum(axis=1) > 0
    iou = confusion.iou
    return {
        "miou": float(iou[labelled].mean()) if labelled.any() else float("nan"),
        "per_class": {name: float(value) for name, value in zip(names, iou, strict=True)},
        "pixel_accuracy": confusion.accuracy,
    }
