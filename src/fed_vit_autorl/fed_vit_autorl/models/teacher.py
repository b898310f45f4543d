"""Whose word a vehicle learns by: its LiDAR's where the model is lost, the model's own where the two agree.

Labels made from a sparse scan miss far objects and have rough edges; learned blindly they spoil a model that already
sees better than they do. What the scan does tell is a test of the model in the vehicle's own conditions: one that
passes it is trusted with what the scan cannot tell too, and so does not unlearn it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import cv2
import numpy as np

from fed_vit_autorl.data.classes import MASKS, UNLABELLED
from fed_vit_autorl.data.sample import Labels, Sample
from fed_vit_autorl.edge.perceiver import Perceiver, Seen

from .detection import Detections, iou_matrix

TRUSTED_IOU = 0.9
"""Of the free space that LiDAR and model tell; the model's masks are labels from there on."""
TRUSTED_RECALL = 0.7
"""Share of the LiDAR's objects that the model sees; the model's objects are labels from there on."""
CONFIDENT, DOUBTFUL = 0.5, 0.15
"""Scores from which a trusted model's objects are labels, and from which objects are at least not background."""
SAME_OBJECT_IOU = 0.4
EXAMINED = 48


@dataclass(frozen=True)
class Trust:
    """Whether the model's `masks` and its `objects` are believed in these conditions."""

    masks: bool
    objects: bool


def examine(samples: Iterable[Sample], perceiver: Perceiver) -> Trust:
    """Test the model on what the LiDAR tells about samples of one vehicle."""
    shared = total = met = known = 0
    for sample in samples:
        if sample.labels is None:
            continue
        seen = perceiver(sample.image, sample.returns_in_base)
        free, label = _masks(sample, seen)["free_space"], sample.labels.free_space
        told = label != UNLABELLED
        shared += int(((label == 1) & free & told).sum())
        total += int((((label == 1) | free) & told).sum())
        sure = seen.detections.boxes[seen.detections.scores >= CONFIDENT]
        met += int((iou_matrix(sample.labels.boxes, sure).max(1, initial=0) >= SAME_OBJECT_IOU).sum())
        known += len(sample.labels.boxes)
    return Trust(shared >= TRUSTED_IOU * total > 0, met >= TRUSTED_RECALL * known > 0)


def taught(sample: Sample, perceiver: Perceiver, trust: Trust) -> Sample:
    """The sample with the labels to learn from. `perceiver` reports objects down to `DOUBTFUL`."""
    labels = sample.labels
    if labels is None:
        return sample
    seen = perceiver(sample.image, sample.returns_in_base)
    if trust.masks:
        masks = _masks(sample, seen).items()
        labels = replace(labels, **{name: mask.astype(np.uint8) for name, mask in masks})
    return replace(sample, labels=_with_objects(labels, seen.detections, trust.objects))


def _with_objects(labels: Labels, found: Detections, trusted: bool) -> Labels:
    """A trusted model's sure objects, another's that the LiDAR confirms, both with the model's outline: a cluster ends
    where the returns do. What only one of the two reports, or the model half-heartedly, is neither learned nor denied.
    """
    if trusted:
        learned = found.scores >= CONFIDENT
    else:
        learned = iou_matrix(found.boxes, labels.boxes).max(1, initial=0) >= SAME_OBJECT_IOU
    alone = iou_matrix(labels.boxes, found.boxes[learned]).max(1, initial=0) < SAME_OBJECT_IOU
    ignored = (labels.ignored, labels.boxes[alone], found.boxes[~learned])
    return replace(
        labels,
        boxes=found.boxes[learned],
        classes=found.classes[learned],
        ignored=np.concatenate(ignored).astype(np.float32),
        objects_known=labels.objects_known or trusted,
    )


def _masks(sample: Sample, seen: Seen) -> dict[str, np.ndarray]:
    size = (sample.camera.width, sample.camera.height)
    return {name: cv2.resize(seen.masks[name], size) >= 0.5 for name in MASKS}
