"""Every head of a perception model by name: what it is made of, what it says, and how it learns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from fed_vit_autorl.data.classes import MASKS, OBJECT_CLASSES, SEMANTIC_CLASSES, UNLABELLED

from .further_heads import OccupancyHead, SolidHead
from .heads import STRIDE, DetectionHead, FineSemanticHead
from .losses import Targets, assign, at_mask_stride, detection_loss, mask_loss, rare_loss, semantic_loss

Raw = dict[str, Tensor]
Size = tuple[int, int]


@dataclass(frozen=True)
class Features:
    """tokens (B, D, h, w), stride8 (B, width, H/8, W/8), stride4 (B, width / 2, H/4, W/4)."""

    tokens: Tensor
    stride8: Tensor
    stride4: Tensor


@dataclass(frozen=True)
class Head:
    """One entry of the registry.

    make(token width, width) builds the module; see(module, features) gives what the losses need; `outputs` are the
    names of what finish(raw, (H, W)) returns; loss(raw, targets, (H, W)) gives its parts by name.
    """

    make: Callable[[int, int], nn.Module]
    see: Callable[[nn.Module, Features], Raw]
    outputs: tuple[str, ...]
    finish: Callable[[Raw, Size], tuple[Tensor, ...]]
    loss: Callable[[Raw, Targets, Size], dict[str, Tensor]]


def _detections(raw: Raw, size: Size) -> tuple[Tensor, ...]:
    height, width = size
    x, y = raw["boxes"][..., 0::2].clamp(0, width), raw["boxes"][..., 1::2].clamp(0, height)
    return torch.stack((x[..., 0], y[..., 0], x[..., 1], y[..., 1]), -1), raw["logits"].sigmoid()


def _detection_parts(raw: Raw, targets: Targets, size: Size) -> dict[str, Tensor]:
    if not targets.objects_known.any():
        return {}
    grid = size[0] // STRIDE, size[1] // STRIDE
    class_loss, box_loss = detection_loss(raw["logits"], raw["boxes"], targets, grid)
    return {"class": class_loss, "box": 2 * box_loss}


def _semantic_parts(raw: Raw, targets: Targets, size: Size) -> dict[str, Tensor]:
    return {"semantic": semantic_loss(raw["semantic"], targets.semantic)}


def _solid_parts(raw: Raw, targets: Targets, size: Size) -> dict[str, Tensor]:
    """L1 where an object is learned; pixels in units of the stride."""
    if "solids" not in targets.further:
        return {}
    grid = size[0] // STRIDE, size[1] // STRIDE
    owner, _, _ = assign(raw["logits"].detach().sigmoid(), raw["boxes"].detach(), targets, grid)
    wanted = targets.further["solids"].gather(1, owner.clamp(min=0).unsqueeze(2).expand(-1, -1, raw["solids"].shape[2]))
    learned = (owner >= 0) & ~wanted.isnan().any(2)
    unit = torch.ones(wanted.shape[2], device=wanted.device)
    unit[:2] = STRIDE
    error = (raw["solids"] - wanted.nan_to_num()).abs() / unit
    return {"solids": error[learned].sum() / learned.sum().clamp(min=1)}


def _occupancy_parts(raw: Raw, targets: Targets, size: Size) -> dict[str, Tensor]:
    labels = targets.further.get("occupancy")
    if labels is None:
        return {}
    known = (labels != UNLABELLED).float()
    wanted = (labels == 1).float()
    cross = functional.binary_cross_entropy_with_logits(raw["occupancy"][:, 0], wanted, known, reduction="sum")
    return {"occupancy": cross / known.sum().clamp(min=1)}


def _motion_parts(raw: Raw, targets: Targets, size: Size) -> dict[str, Tensor]:
    labels = targets.further.get("moving")
    return {} if labels is None else {"motion": rare_loss(raw["motion"], at_mask_stride(labels).unsqueeze(1))}


def _risk_parts(raw: Raw, targets: Targets, size: Size) -> dict[str, Tensor]:
    risk = targets.further.get("risk")
    if risk is None:
        return {}
    known = (~risk.isnan()).float()
    cross = functional.binary_cross_entropy_with_logits(raw["risk"][:, 0], risk.nan_to_num(), known, reduction="sum")
    return {"risk": cross / known.sum().clamp(min=1)}


HEADS: dict[str, Head] = {
    "detection": Head(
        lambda tokens, width: DetectionHead(width, len(OBJECT_CLASSES)),
        lambda module, seen: dict(zip(("logits", "boxes"), module(seen.stride8), strict=True)),
        ("boxes", "scores"),
        _detections,
        _detection_parts,
    ),
    "masks": Head(
        lambda tokens, width: nn.Conv2d(width // 2, len(MASKS), 1),
        lambda module, seen: {"masks": module(seen.stride4)},
        MASKS,
        lambda raw, size: raw["masks"].sigmoid().split(1, 1),
        lambda raw, targets, size: {"masks": mask_loss(raw["masks"], targets.masks)},
    ),
    "semantic": Head(
        lambda tokens, width: nn.Conv2d(width // 2, len(SEMANTIC_CLASSES), 1),
        lambda module, seen: {"semantic": module(seen.stride4)},
        ("semantic",),
        lambda raw, size: (raw["semantic"],),
        _semantic_parts,
    ),
    "fine_semantic": Head(
        lambda tokens, width: FineSemanticHead(width, len(SEMANTIC_CLASSES)),
        lambda module, seen: {"semantic": module(seen.stride8, seen.stride4)},
        ("semantic",),
        lambda raw, size: (raw["semantic"],),
        _semantic_parts,
    ),
    "solids": Head(
        lambda tokens, width: SolidHead(width),
        lambda module, seen: {"solids": module(seen.stride8)},
        ("solids",),
        lambda raw, size: (raw["solids"],),
        _solid_parts,
    ),
    "occupancy": Head(
        lambda tokens, width: OccupancyHead(tokens),
        lambda module, seen: {"occupancy": module(seen.tokens)},
        ("occupancy",),
        lambda raw, size: (raw["occupancy"].sigmoid(),),
        _occupancy_parts,
    ),
    "motion": Head(
        lambda tokens, width: nn.Conv2d(width // 2, 1, 1),
        lambda module, seen: {"motion": module(seen.stride4)},
        ("motion",),
        lambda raw, size: (raw["motion"].sigmoid(),),
        _motion_parts,
    ),
    "risk": Head(
        lambda tokens, width: nn.Linear(tokens, 1),
        lambda module, seen: {"risk": module(seen.tokens.mean((2, 3)))},
        ("risk",),
        lambda raw, size: (raw["risk"].sigmoid(),),
        _risk_parts,
    ),
}
CAMERA_HEADS = ("detection", "masks", "semantic")
"""What a perception model has if nothing else is asked for."""
CAMERA_OUTPUTS = tuple(name for head in CAMERA_HEADS for name in HEADS[head].outputs)
"""What every perception model says, by whichever head, because nodes, evaluators and policies read it."""


def check_heads(heads: Sequence[str]) -> None:
    """Raises ValueError for unknown heads, and for such as don't say each of `CAMERA_OUTPUTS` or say it twice."""
    if unknown := set(heads) - set(HEADS):
        raise ValueError(f"heads: any of {', '.join(HEADS)}, not {sorted(unknown)}")
    said = [name for head in heads for name in HEADS[head].outputs]
    if missing := set(CAMERA_OUTPUTS) - set(said):
        raise ValueError(f"heads: none of {', '.join(heads)} says {', '.join(sorted(missing))}")
    if len(set(said)) < len(said):
        raise ValueError(f"heads: two of {', '.join(heads)} say the same")


def in_order(heads: Sequence[str]) -> tuple[str, ...]:
    """The heads as the registry has them, in which they are exported."""
    return tuple(sorted(heads, key=list(HEADS).index))
