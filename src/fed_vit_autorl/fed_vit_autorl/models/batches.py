"""Samples as training batches: one function of the step, so that an interrupted training goes on exactly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from fed_vit_autorl.data.classes import FULLER_MASKS, MASKS
from fed_vit_autorl.data.lidar import padded
from fed_vit_autorl.data.occupancy import occupancy_grid
from fed_vit_autorl.data.sample import Labels, Sample, unlabelled

from .further_heads import SOLID, solid_targets
from .losses import Targets

Augmentation = Callable[[Sample, np.random.Generator], Sample]


@dataclass(frozen=True, eq=False)
class Batch:
    """What a model takes, and the labels.

    inputs: image float32 (B, 3, H, W) in [0, 1] RGB; for a model with LiDAR then points float32 (B, N, 4) x, y, z [m]
    in `base_link`, intensity, padded with rows at `FAR`.
    """

    inputs: tuple[Tensor, ...]
    targets: Targets


class Batches(torch.utils.data.Dataset):
    """Training step → batch of random labelled samples, the same for the same seed.

    `repeats` (count,): how often each sample is to be drawn, relative to the others. `read(index)` gives one of
    `count` samples, or None for one that is gone (another is drawn). `size` (H, W) is the model's input. Raises
    ValueError when there are no samples, or none can be read any more.
    """

    def __init__(
        self,
        read: Callable[[int], Sample | None],
        count: int,
        size: tuple[int, int],
        batch_size: int,
        augment: Augmentation | None = None,
        seed: int = 0,
        lidar_points: int = 0,
        repeats: np.ndarray | None = None,
    ) -> None:
        if count < 1:
            raise ValueError("no samples to train on")
        self._read, self._count, self._size = read, count, size
        self._batch_size, self._augment, self._seed = batch_size, augment, seed
        self._lidar_points = lidar_points
        self._odds = np.cumsum(np.ones(count) if repeats is None else repeats)

    def __getitem__(self, step: int) -> Batch:
        random = np.random.default_rng((self._seed, step))
        return collate([self._draw(random) for _ in range(self._batch_size)], self._size, self._lidar_points)

    def _draw(self, random: np.random.Generator) -> Sample:
        for _ in range(100):
            index = int(np.searchsorted(self._odds, random.uniform(0, self._odds[-1]), side="right"))
            sample = self._read(min(index, self._count - 1))
            if sample is not None and sample.labels is not None:
                return sample if self._augment is None else self._augment(sample, random)
        raise ValueError("of 100 samples drawn none could be read or had labels")


def collate(samples: Sequence[Sample], size: tuple[int, int], lidar_points: int = 0) -> Batch:
    """Labelled samples of any image size as one batch for a model that takes (H, W) and so many points, 0 for none."""
    labels = [_resized(sample.labels, size) for sample in samples]
    height, width = size
    images = np.stack([cv2.resize(s.image, (width, height), interpolation=cv2.INTER_AREA) for s in samples])
    masks = np.stack([[getattr(entry, name) for name in MASKS] for entry in labels])
    semantic = [unlabelled(height, width) if entry.semantic is None else entry.semantic for entry in labels]
    targets = Targets(
        boxes=_padded([entry.boxes for entry in labels], 0.0),
        classes=_padded([entry.classes for entry in labels], -1),
        ignored=_padded([entry.ignored for entry in labels], 0.0),
        objects_known=torch.tensor([entry.objects_known for entry in labels]),
        masks=torch.from_numpy(masks),
        semantic=torch.from_numpy(np.stack(semantic)),
        further=_further(samples, labels, size),
    )
    image = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    if not lidar_points:
        return Batch((image,), targets)
    points = np.stack([padded(sample.returns_in_base, lidar_points) for sample in samples])
    return Batch((image, torch.from_numpy(points)), targets)


def repeat_factors(classes: Sequence[np.ndarray], threshold: float) -> np.ndarray:
    """How often to draw each image so that rare classes are learned: repeat factor sampling (Gupta et al., LVIS, 2019).

    classes: of the objects in each image. A class in a share f of the images asks for max(1, √(threshold / f)) draws;
    an image is drawn as often as its rarest class asks.
    """
    factors = np.ones(len(classes))
    for label in np.unique(np.concatenate([*classes, np.zeros(0, np.int64)])):
        has = np.array([label in found for found in classes])
        factors[has] = np.maximum(factors[has], np.sqrt(threshold / has.mean()))
    return factors


def _further(samples: Sequence[Sample], labels: Sequence[Labels], size: tuple[int, int]) -> dict[str, Tensor]:
    """`Targets.further`: the kinds of labels that at least one of the samples has."""
    found: dict[str, Tensor] = {}
    if any(entry.solids is not None for entry in labels):
        found["solids"] = _padded([_solids(s, entry, size) for s, entry in zip(samples, labels, strict=True)], np.nan)
    if any(entry.moving is not None for entry in labels):
        moving = [unlabelled(*size) if entry.moving is None else entry.moving for entry in labels]
        found["moving"] = torch.from_numpy(np.stack(moving))
    if any(sample.points is not None for sample in samples):
        found["occupancy"] = torch.from_numpy(np.stack([occupancy_grid(s.points_in_base) for s in samples]))
    risk = torch.tensor([entry.risk for entry in labels])
    return found if risk.isnan().all() else found | {"risk": risk}


def _solids(sample: Sample, labels: Labels, size: tuple[int, int]) -> np.ndarray:
    if labels.solids is None:
        return np.full((len(labels.boxes), SOLID), np.nan, np.float32)
    return solid_targets(labels.solids, sample.camera, size)


def _resized(labels: Labels, size: tuple[int, int]) -> Labels:
    height, width = size
    old_height, old_width = labels.free_space.shape
    if (old_height, old_width) == size:
        return labels
    masks = {name: getattr(labels, name) for name in (*MASKS, *FULLER_MASKS)}
    scale = np.array([width / old_width, height / old_height] * 2, np.float32)

    def resize(mask: np.ndarray) -> np.ndarray:
        return cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST)

    return Labels(
        boxes=labels.boxes * scale,
        classes=labels.classes,
        ignored=labels.ignored * scale,
        objects_known=labels.objects_known,
        solids=labels.solids,
        risk=labels.risk,
        **{name: mask if mask is None else resize(mask) for name, mask in masks.items()},
    )


def _padded(arrays: Sequence[np.ndarray], value: float) -> Tensor:
    """(B, K, …) with K at least 1, so that a batch without any object is no special case for the losses."""
    padded = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(array) for array in arrays], True, value)
    return padded if padded.shape[1] else padded.new_full((len(arrays), 1, *padded.shape[2:]), value)
