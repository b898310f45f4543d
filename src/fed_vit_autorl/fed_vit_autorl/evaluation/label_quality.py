"""How right the labels are that a vehicle makes itself: against the simulator's truth."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from ..data.auto_label import auto_label
from ..data.classes import MASKS, OBJECT_CLASSES, UNLABELLED
from ..data.sample import EgoState, Labels, Sample
from .detection import Frame, match, mostly_inside, precision_recall
from .segmentation import Confusion

TRACK_S = 20.0


def label_quality(made: Sequence[Labels], truth: Sequence[Labels]) -> dict:
    """Of the boxes `precision` and `recall` at IoU 0.5, whole and `per_class`, and `denied`, the share of road users
    that the labels call background: neither found nor in an ignored region. Of each mask `<name>_iou` where both are
    labelled, and `<name>_coverage`, the share of what the truth labels that is labelled at all.
    """
    frames = [_frame(own, true) for own, true in zip(made, truth, strict=True)]
    found: dict = {"samples": len(frames), "boxes": sum(len(frame.boxes) for frame in frames)}
    found |= precision_recall(frames)
    found["denied"] = _denied(frames, made)
    found["per_class"] = {
        name: precision_recall([_only(frame, label) for frame in frames]) for label, name in enumerate(OBJECT_CLASSES)
    }
    for name in MASKS:
        confusion, labelled, wanted = Confusion(2), 0, 0
        for own, true in ((getattr(a, name), getattr(b, name)) for a, b in zip(made, truth, strict=True)):
            known = own != UNLABELLED
            confusion.add(np.where(known, own, 0), np.where(known, true, UNLABELLED).astype(np.uint8))
            labelled += int((known & (true != UNLABELLED)).sum())
            wanted += int((true != UNLABELLED).sum())
        found |= {f"{name}_iou": float(confusion.iou[1]), f"{name}_coverage": labelled / wanted if wanted else 0.0}
    return found


def auto_label_quality(samples: Iterable[Sample]) -> dict:
    """`label_quality` of `auto_label` on truly labelled samples with points, and by domain. Those of a
    source come in the order of time: the track of a sample are the ego states of the later ones. Raises ValueError
    without such samples.
    """
    drives: dict[tuple[str, str], list[Sample]] = {}
    for sample in samples:
        drives.setdefault((sample.source, sample.domain), []).append(sample)
    made: dict[str, list[tuple[Labels, Labels]]] = {}
    for drive in drives.values():
        for index, sample in enumerate(drive):
            if sample.labels is not None and sample.points is not None:
                own = auto_label(sample, _track(sample, drive[index + 1 :]))
                made.setdefault(sample.domain, []).append((own, sample.labels))
    if not made:
        raise ValueError("no sample has both points and true labels; collect with points")
    every = [pair for pairs in made.values() for pair in pairs]
    by_domain = {domain: label_quality(*zip(*pairs, strict=True)) for domain, pairs in sorted(made.items())}
    return label_quality(*zip(*every, strict=True)) | {"by_domain": by_domain}


def _track(sample: Sample, later: Sequence[Sample]) -> list[EgoState]:
    """Ego states of the same run: a stamp that goes back begins another."""
    track, stamp = [], sample.stamp
    for other in later:
        if not stamp < other.stamp < sample.stamp + TRACK_S:
            break
        stamp = other.stamp
        if other.ego is not None:
            track.append(other.ego)
    return track


def _frame(own: Labels, true: Labels) -> Frame:
    scores = np.ones(len(own.boxes), np.float32)
    return Frame(own.boxes, scores, own.classes, true.boxes, true.classes, true.ignored)


def _denied(frames: Sequence[Frame], made: Sequence[Labels]) -> float:
    pairs = zip(frames, made, strict=True)
    every = np.concatenate([~match(f)[2] & ~mostly_inside(f.true_boxes, own.ignored) for f, own in pairs])
    return float(every.mean()) if len(every) else float("nan")


def _only(frame: Frame, label: int) -> Frame:
    own, true = frame.classes == label, frame.true_classes == label
    return Frame(
        frame.boxes[own], frame.scores[own], frame.classes[own], frame.true_boxes[true], frame.true_classes[true],
        frame.ignored,
    )  # fmt: skip
