"""From a perception model's outputs to objects: thresholding and non-maximum suppression in numpy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True, eq=False)
class Detections:
    """K objects, best first: `boxes` float32 (K, 4) xyxy in pixels, `scores` float32 (K,), `classes` int64 (K,)."""

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray

    def __len__(self) -> int:
        return len(self.scores)

    def scaled(self, x: float, y: float) -> Detections:
        """The same objects in an image that is x times as wide and y times as high."""
        return Detections(self.boxes * np.array([x, y, x, y], np.float32), self.scores, self.classes)


def iou_matrix(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union (K, M) of boxes (K, 4) and (M, 4) xyxy; 0 where both are empty."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    overlap = np.prod(np.clip(high - low, 0, None), -1)
    area = [np.prod(np.clip(boxes[:, 2:] - boxes[:, :2], 0, None), -1) for boxes in (first, second)]
    union = area[0][:, None] + area[1][None] - overlap
    return np.divide(overlap, union, out=np.zeros_like(overlap), where=union > 0)


def decode(
    outputs: Mapping[str, np.ndarray], score_threshold: float = 0.3, iou_threshold: float = 0.5, limit: int = 100
) -> Detections:
    """Objects of one image from `boxes` (1, N, 4) and `scores` (1, N, C).

    Keeps at most `limit` objects with a score of more than `score_threshold`; of two objects of one class that overlap
    by more than `iou_threshold` the better one stays. Non-finite candidates are dropped.
    """
    boxes, scores = outputs["boxes"][0], outputs["scores"][0]
    location, label = np.nonzero(scores >= score_threshold)
    score, box = scores[location, label], boxes[location]
    usable = np.isfinite(box).all(-1) & (box[:, 2:] > box[:, :2]).all(-1)
    score, box, label = score[usable], box[usable], label[usable]
    corner_and_size = np.concatenate((box[:, :2], box[:, 2:] - box[:, :2]), 1)
    kept = cv2.dnn.NMSBoxesBatched(corner_and_size, score, label.astype(np.int32), score_threshold, iou_threshold)
    best = np.asarray(kept, np.int64).reshape(-1)
    best = best[np.argsort(-score[best], kind="stable")][:limit]
    return Detections(box[best].astype(np.float32), score[best].astype(np.float32), label[best].astype(np.int64))
