"""Whose word a vehicle learns by: its LiDAR's where the model is lost, the model's own where the two agree.

Labels made from a sparse scan miss far objects and have rough edges; learned blindly they spoil a model that already
sees better than they do. What the scan does tell is a test of the model in the vehicle's own conditions: one that
passes it is its own teacher there (`distillation`), and so does not unlearn what the scan cannot tell.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import cv2
import numpy as np

from fed_vit_autorl.data.classes import MASKS, UNLABELLED
from fed_vit_autorl.data.sample import Sample
from fed_vit_autorl.edge.perceiver import Perceiver, Seen

from .detection import iou_matrix

TRUSTED_IOU = 0.9
"""Of the free space that LiDAR and model tell; the model teaches masks from there on."""
TRUSTED_RECALL = 0.5
"""Share of the LiDAR's objects (not all are any) that the model is sure of; it teaches objects from there on."""
CONFIDENT, DOUBTFUL = 0.5, 0.1
"""Scores from which a model is sure of an object, and from which it is at least not background."""
SAME_OBJECT_IOU = 0.4
EXAMINED = 48


@dataclass(frozen=True)
class Trust:
    """Whether the model's `masks` and its `objects` are believed in these conditions."""

    masks: bool
    objects: bool

    @property
    def whole(self) -> bool:
        """Whether it is believed in everything."""
        return self.masks and self.objects

    @property
    def left_out(self) -> frozenset[str]:
        """Parts of the loss that nobody teaches: the scan's where the model is believed, the model's elsewhere."""
        objects = {"class", "box"} if self.objects else {"taught_class", "taught_box"}
        masks = {"masks"} if self.masks else {"taught_masks"}
        features = set() if self.whole else {"taught_features"}
        return frozenset(objects | masks | features)


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


def confirmed(sample: Sample, perceiver: Perceiver) -> Sample:
    """The sample with the objects that LiDAR and model both report, in the model's outline: a cluster ends where the
    returns do. Of several reports of one cluster the surest is learned: the fainter ones are of other classes. What
    only one of the two reports is neither learned nor denied. `perceiver` reports objects down to `DOUBTFUL`.
    """
    labels = sample.labels
    if labels is None:
        return sample
    found = perceiver(sample.image, sample.returns_in_base).detections
    scores = np.where(iou_matrix(labels.boxes, found.boxes) >= SAME_OBJECT_IOU, found.scores, 0)
    learned = np.isin(np.arange(len(found.boxes)), [of_one.argmax() for of_one in scores if of_one.any()])
    alone = iou_matrix(labels.boxes, found.boxes[learned]).max(1, initial=0) < SAME_OBJECT_IOU
    ignored = (labels.ignored, labels.boxes[alone], found.boxes[~learned])
    labels = replace(
        labels,
        boxes=found.boxes[learned],
        classes=found.classes[learned],
        ignored=np.concatenate(ignored).astype(np.float32),
    )
    return replace(sample, labels=labels)


def _masks(sample: Sample, seen: Seen) -> dict[str, np.ndarray]:
    size = (sample.camera.width, sample.camera.height)
    return {name: cv2.resize(seen.masks[name], size) >= 0.5 for name in MASKS}
