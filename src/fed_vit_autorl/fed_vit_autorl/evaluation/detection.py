"""Detections against labelled boxes: COCO average precision, matching at one threshold, calibration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster
from numpy.typing import NDArray

from ..data.classes import OBJECT_CLASSES
from ..models.detection import iou_matrix

MAX_DETECTIONS = 100
"""Detections counted per image, the best ones (COCO's)."""


@dataclass(frozen=True, eq=False)
class Frame:
    """One image's detections and labels: boxes (K, 4) xyxy in pixels, `classes` (K,), `scores` (K,) in [0, 1].

    `ignored` (M, 4): a detection mostly inside one counts neither as right nor as wrong.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    classes: NDArray[np.int64]
    true_boxes: NDArray[np.float32]
    true_classes: NDArray[np.int64]
    ignored: NDArray[np.float32]


def average_precision(frames: Sequence[Frame], names: Sequence[str] = OBJECT_CLASSES) -> dict:
    """COCO's `map` (IoU 0.50:0.95, 101 points), `map50`, `map75` and `per_class` {name: {map, map50}}.

    A class that is nowhere labelled has no figure (NaN) and is left out of the mean.
    """
    annotations, detections = [], []
    for number, frame in enumerate(frames, start=1):
        labelled = [(box, int(label), 0) for box, label in zip(frame.true_boxes, frame.true_classes, strict=True)]
        labelled += [(box, label, 1) for box in frame.ignored for label in range(len(names))]
        for box, label, crowd in labelled:
            entry = _entry(number, box, label) | {"iscrowd": crowd, "id": len(annotations) + 1}
            annotations.append(entry | {"area": entry["bbox"][2] * entry["bbox"][3]})
        best = np.argsort(-frame.scores, kind="stable")[:MAX_DETECTIONS]
        detections += [
            _entry(number, frame.boxes[i], int(frame.classes[i])) | {"score": float(frame.scores[i])} for i in best
        ]
    if not any(not entry["iscrowd"] for entry in annotations):
        nothing = dict.fromkeys(("map", "map50", "map75"), float("nan"))
        return nothing | {"per_class": {name: {"map": float("nan"), "map50": float("nan")} for name in names}}
    images = [{"id": number} for number in range(1, len(frames) + 1)]
    categories = [{"id": label + 1, "name": name} for label, name in enumerate(names)]
    truth = COCO({"images": images, "annotations": annotations, "categories": categories})
    found = (
        truth.loadRes(detections)
        if detections
        else COCO({"images": images, "annotations": [], "categories": categories})
    )
    evaluation = COCOeval_faster(truth, found, iouType="bbox", print_function=lambda *_: None)
    evaluation.params.maxDets = [1, 10, MAX_DETECTIONS]
    evaluation.evaluate()
    evaluation.accumulate()
    # precision: (IoU thresholds, recall points, classes, areas, limits of detections); -1 where nothing is labelled
    precision = evaluation.eval["precision"][..., 0, -1]
    precision = np.where(precision < 0, np.nan, precision).mean(axis=1)
    per_class = {
        name: {"map": float(precision[:, label].mean()), "map50": float(precision[0, label])}
        for label, name in enumerate(names)
    }
    whole = np.nanmean(precision, axis=1)
    return {"map": float(whole.mean()), "map50": float(whole[0]), "map75": float(whole[5]), "per_class": per_class}


def _entry(image: int, box: NDArray[np.float32], label: int) -> dict:
    x0, y0, x1, y1 = (float(value) for value in box)
    return {"image_id": image, "category_id": label + 1, "bbox": [x0, y0, x1 - x0, y1 - y0]}


def match(frame: Frame, threshold: float = 0.5) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Which detections count (K,), which of them are right (K,), which labels are found: best score first, each label
    matched once, same class, IoU ≥ `threshold`. Unmatched detections mostly in an ignored region do not count.
    """
    iou = iou_matrix(frame.boxes, frame.true_boxes)
    iou[frame.classes[:, None] != frame.true_classes[None]] = 0
    right, hit = np.zeros(len(frame.boxes), bool), np.zeros(len(frame.true_boxes), bool)
    for index in np.argsort(-frame.scores, kind="stable"):
        if iou.shape[1] and iou[index, best := int(iou[index].argmax())] >= threshold:
            right[index] = hit[best] = True
            iou[:, best] = 0
    return right | ~mostly_inside(frame.boxes, frame.ignored), right, hit


def mostly_inside(boxes: NDArray, regions: NDArray) -> NDArray[np.bool_]:
    """True where more than half of a box's area lies in one region."""
    low = np.maximum(boxes[:, None, :2], regions[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], regions[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2, dtype=np.float64).max(axis=1, initial=0)
    return shared > 0.5 * (boxes[:, 2:] - boxes[:, :2]).prod(axis=1, dtype=np.float64)


def precision_recall(frames: Sequence[Frame], threshold: float = 0.5) -> dict[str, float]:
    """`precision` and `recall` of all detections, whatever their score, at one IoU threshold; NaN of nothing."""
    counted = found = labelled = 0
    for frame in frames:
        counts, right, hit = match(frame, threshold)
        counted += int(counts.sum())
        found += int(right.sum())
        labelled += len(hit)
    return {
        "precision": found / counted if counted else float("nan"),
        "recall": found / labelled if labelled else float("nan"),
    }


def calibration_error(confidence: NDArray, right: NDArray, bins: int = 10) -> float:
    """Expected calibration error (Guo et al. 2017): mean |accuracy - confidence| over equal bins, weighted by count."""
    if len(confidence) == 0:
        return float("nan")
    index = np.minimum((np.asarray(confidence) * bins).astype(int), bins - 1)
    count = np.bincount(index, minlength=bins)
    gap = np.bincount(index, right, bins) - np.bincount(index, confidence, bins)
    return float(np.abs(gap).sum() / count.sum())
