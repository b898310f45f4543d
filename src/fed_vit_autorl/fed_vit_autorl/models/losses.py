"""Training losses of the perception heads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional

from fed_vit_autorl.data.classes import UNLABELLED

from .heads import MASK_STRIDE, STRIDE, locations

CANDIDATES = 9
"""Locations that one object may train."""


@dataclass(frozen=True)
class Targets:
    """Labels of a batch. Boxes are padded with class -1.

    boxes (B, K, 4) xyxy in pixels, classes (B, K) int64, ignored (B, M, 4), objects_known (B,) bool, masks (B, 3, H,
    W) and semantic (B, H, W) uint8 with 255 for unlabelled. `further`, where there are such labels: `solids`
    (B, K, 8) as `SolidHead` gives them, NaN unknown, `occupancy` (B, 32, 32) and `moving` (B, H, W) uint8, `risk` (B,).
    """

    boxes: Tensor
    classes: Tensor
    ignored: Tensor
    objects_known: Tensor
    masks: Tensor
    semantic: Tensor
    further: Mapping[str, Tensor] = field(default_factory=dict)

    def to(self, device: torch.device) -> Targets:
        """The same labels on another device."""
        moved = {name: tensor.to(device) for name, tensor in vars(self).items() if name != "further"}
        return Targets(**moved, further={name: tensor.to(device) for name, tensor in self.further.items()})


def giou(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """(IoU, generalised IoU) of boxes (…, 4) xyxy that broadcast; Rezatofighi et al., 2019."""
    low, high = torch.maximum(first[..., :2], second[..., :2]), torch.minimum(first[..., 2:], second[..., 2:])
    overlap = (high - low).clamp(min=0).prod(-1)
    area = [(boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(-1) for boxes in (first, second)]
    union = area[0] + area[1] - overlap
    low, high = torch.minimum(first[..., :2], second[..., :2]), torch.maximum(first[..., 2:], second[..., 2:])
    hull = (high - low).clamp(min=0).prod(-1)
    iou = overlap / union.clamp(min=1e-6)
    return iou, iou - (hull - union) / hull.clamp(min=1e-6)


@torch.no_grad()
def assign(scores: Tensor, boxes: Tensor, targets: Targets, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """Which location learns which object: task-aligned assignment (Feng et al., TOOD, 2021).

    A location is a candidate for an object when it lies inside its box, grown to at least 1.5 strides a side so that
    small
    objects have some. The alignment is √score · IoU²; the best `CANDIDATES` of each object are taken, a location goes
    to the
    object it overlaps most. scores (B, N, C), boxes (B, N, 4); size (h, w) of the location grid.
    Returns the object's index (B, N), -1 for background, the target score (B, N) in [0, 1], and the weight (B, N) of
    the class loss: 0 in ignored regions and where objects are unknown.
    """
    points = locations(*size, device=boxes.device)
    centre = (targets.boxes[..., :2] + targets.boxes[..., 2:]) / 2
    half = ((targets.boxes[..., 2:] - targets.boxes[..., :2]) / 2).clamp(min=0.75 * STRIDE)
    real = targets.classes >= 0
    inside = ((points - centre.unsqueeze(2)).abs() < half.unsqueeze(2)).all(-1) & real.unsqueeze(2)  # (B, K, N)
    overlap = giou(targets.boxes.unsqueeze(2), boxes.unsqueeze(1))[0]
    label = targets.classes.clamp(min=0)
    score = scores.transpose(1, 2).gather(1, label.unsqueeze(2).expand(-1, -1, scores.shape[1]))
    distance = ((points - centre.unsqueeze(2)) / half.unsqueeze(2)).square().sum(-1)
    alignment = (score.sqrt() * overlap.square() + 1e-4 * (2 - distance)).where(inside, 0)  # near first while IoU is 0
    best, index = alignment.topk(min(CANDIDATES, alignment.shape[2]), dim=2)
    chosen = torch.zeros_like(alignment).scatter(2, index, (best > 0).to(alignment.dtype)).bool()
    owner_rank = (alignment + overlap).where(chosen, -1.0)
    top, owner = owner_rank.max(1)
    positive = top >= 0
    owned = chosen & (torch.arange(chosen.shape[1], device=owner.device).view(1, -1, 1) == owner.unsqueeze(1))
    strength = alignment.where(owned, 0)
    strongest = strength.amax(2, keepdim=True).clamp(min=1e-9)
    ceiling = overlap.where(owned, 0).amax(2, keepdim=True).clamp(min=0.1)
    quality = (strength / strongest * ceiling).amax(1)
    in_ignored = ((points > targets.ignored[..., None, :2]) & (points < targets.ignored[..., None, 2:])).all(-1).any(1)
    weight = (positive | ~in_ignored) & targets.objects_known[:, None]
    return owner.where(positive, -1), quality, weight.to(scores.dtype)


def detection_loss(logits: Tensor, boxes: Tensor, targets: Targets, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """(class loss, box loss): quality focal loss (Li et al., 2020) and 1 - GIoU weighted by target quality."""
    scores = logits.sigmoid()
    owner, quality, weight = assign(scores.detach(), boxes.detach(), targets, size)
    positive = (owner >= 0) & targets.objects_known[:, None]
    picked = owner.clamp(min=0)
    label = targets.classes.gather(1, picked)
    wanted = functional.one_hot(label.clamp(min=0), logits.shape[2]) * (quality * positive).unsqueeze(2)
    cross = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    normaliser = quality.where(positive, 0).sum().clamp(min=1.0)
    class_loss = (cross * (scores - wanted).abs().square() * weight.unsqueeze(2)).sum() / normaliser
    matched = targets.boxes.gather(1, picked.unsqueeze(2).expand(-1, -1, 4))
    _, generalised = giou(boxes[positive], matched[positive])
    return class_loss, ((1 - generalised) * quality[positive]).sum() / normaliser


def mask_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Binary cross entropy + dice over labelled pixels. logits (B, M, h, w); masks uint8 (B, M, H, W) at full size."""
    masks = at_mask_stride(masks)
    known = (masks != UNLABELLED).to(logits.dtype)
    wanted = (masks == 1).to(logits.dtype)
    cross = functional.binary_cross_entropy_with_logits(logits, wanted, weight=known, reduction="sum")
    probability = logits.sigmoid() * known
    overlap, total = (probability * wanted).sum((0, 2, 3)), (probability + wanted).sum((0, 2, 3))
    dice = 1 - (2 * overlap + 1) / (total + 1)
    return cross / known.sum().clamp(min=1.0) + dice.mean()


def balanced_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy + dice over labelled pixels, 0 without any, so that rare classes weigh much more than their share.

    A class with a share f of the batch's pixels weighs 1 / √f in the cross entropy; dice (Milletari et al., V-Net,
    2016) is over the classes that the batch shows. logits (B, C, h, w); labels (B, h, w).
    """
    labels = labels.long()
    known = labels != UNLABELLED
    wanted = functional.one_hot(labels.where(known, 0), logits.shape[1]).movedim(-1, 1) * known.unsqueeze(1)
    count = wanted.sum((0, 2, 3))
    shown = count > 0
    weight = (count.sum() / count.clamp(min=1)).sqrt()
    cross = functional.cross_entropy(logits, labels, weight, ignore_index=UNLABELLED, reduction="sum")
    probability = logits.softmax(1) * known.unsqueeze(1)
    overlap, total = (probability * wanted).sum((0, 2, 3)), (probability + wanted).sum((0, 2, 3))
    dice = (1 - (2 * overlap + 1) / (total + 1)).where(shown, 0).sum() / shown.sum().clamp(min=1)
    return cross / (weight * count).sum().clamp(min=1) + dice


def semantic_loss(logits: Tensor, semantic: Tensor) -> Tensor:
    """`balanced_loss` at half the picture's resolution, for poles and signs are narrower than a mask's pixel.

    logits (B, C, h, w) of any resolution; semantic uint8 (B, H, W) at full size.
    """
    stride = MASK_STRIDE // 2
    wanted = semantic[..., stride // 2 :: stride, stride // 2 :: stride]
    return balanced_loss(
        functional.interpolate(logits, size=wanted.shape[1:], mode="bilinear", align_corners=False), wanted
    )


def rare_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """`balanced_loss` of a mask that is rarely set, and of the rest. Both (B, 1, h, w); mask uint8."""
    return balanced_loss(torch.cat((torch.zeros_like(logits), logits), 1), mask[:, 0])


def at_mask_stride(masks: Tensor) -> Tensor:
    """Every fourth pixel (…, H, W) → (…, H/4, W/4), nearest to the centre of each output pixel."""
    return masks[..., MASK_STRIDE // 2 :: MASK_STRIDE, MASK_STRIDE // 2 :: MASK_STRIDE]
