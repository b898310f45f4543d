"""Semantic classes as colours: a picture, its label and what a model says of it, side by side."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fed_vit_autorl.data.classes import SEMANTIC_CLASSES

# RGB, those in which CamVid is usually shown
COLOURS: dict[str, tuple[int, int, int]] = {
    "sky": (128, 128, 128),
    "building": (128, 0, 0),
    "pole": (192, 192, 128),
    "road": (128, 64, 128),
    "pavement": (60, 40, 222),
    "tree": (128, 128, 0),
    "sign": (192, 128, 128),
    "fence": (64, 64, 128),
    "car": (64, 0, 128),
    "pedestrian": (64, 64, 0),
    "bicyclist": (0, 128, 192),
}
_PALETTE = np.zeros((256, 3), np.uint8)  # black: unlabelled
_PALETTE[: len(SEMANTIC_CLASSES)] = [COLOURS[name] for name in SEMANTIC_CLASSES]


def side_by_side(image: NDArray[np.uint8], label: NDArray, said: NDArray) -> NDArray[np.uint8]:
    """(H, 3 W, 3) RGB: the image (H, W, 3), its label (H, W), 255 unlabelled, and the model's classes (H, W)."""
    return np.concatenate([image, _PALETTE[label], _PALETTE[said]], axis=1)
