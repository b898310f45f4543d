"""Heads beyond objects and masks: 3D boxes, occupancy of the ground, what moves, how risky it is."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fed_vit_autorl.data.occupancy import CELLS
from fed_vit_autorl.data.sample import CameraModel

from .backbone import ConvNorm
from .heads import STRIDE, locations

SOLID = 8
"""Numbers of a 3D box: u, v, depth, length, width, height, sine and cosine of its yaw against the ray to it."""
FOCAL_PX = 160.0
"""Depths are learned as a camera of this focal length would need them to see the object as large (Brazil et al.,
Omni3D, 2023), so that a crop changes them as it changes the picture.
"""
QUERY_WIDTH = 64
FINER = 2


class SolidHead(nn.Module):
    """Per detection location the 3D box of the object there, as the camera sees it (Zhou et al., SMOKE, 2020)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.tower = ConvNorm(width, width)
        self.box = nn.Conv2d(width, SOLID, 1)

    def forward(self, stride8: Tensor) -> Tensor:
        """(B, width, h, w) → (B, h·w, 8): centre u, v [px], logarithms of depth and size [m], sine, cosine."""
        features = self.box(self.tower(stride8)).flatten(2).transpose(1, 2)
        centre = locations(*stride8.shape[2:], device=stride8.device) + STRIDE * features[..., :2]
        return torch.cat((centre, features[..., 2:]), -1)


class OccupancyHead(nn.Module):
    """Learned cells of the ground look at the picture's tokens and say whether they are taken."""

    def __init__(self, token_width: int) -> None:
        super().__init__()
        coarse = CELLS[0] // FINER * CELLS[1] // FINER
        self.cells = nn.Parameter(0.02 * torch.randn(1, coarse, QUERY_WIDTH))
        self.key, self.value = nn.Linear(token_width, QUERY_WIDTH), nn.Linear(token_width, QUERY_WIDTH)
        self.taken = nn.Sequential(nn.LayerNorm(QUERY_WIDTH), nn.Linear(QUERY_WIDTH, FINER**2))

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (B, D, h, w) → logits (B, 1, 32, 32)."""
        tokens = tokens.flatten(2).transpose(1, 2)
        attention = (self.cells @ self.key(tokens).transpose(1, 2) * QUERY_WIDTH**-0.5).softmax(-1)
        taken = self.taken(self.cells + attention @ self.value(tokens)).transpose(1, 2)
        return functional.pixel_shuffle(taken.unflatten(2, (CELLS[0] // FINER, CELLS[1] // FINER)), FINER)


def solid_targets(solids: np.ndarray, camera: CameraModel, size: tuple[int, int]) -> np.ndarray:
    """What `SolidHead` is to say, float32 (K, 8), of 3D boxes (K, 7) in `base_link`; NaN for those behind the camera.

    size (H, W) is the model's input, to which the camera's image is stretched.
    """
    camera = camera.resized(size[1], size[0])
    pixels, depth = camera.project(solids[:, :3].astype(np.float64))
    ray = np.arctan2(solids[:, 1], solids[:, 0])
    with np.errstate(invalid="ignore", divide="ignore"):
        scaled = np.log(depth * (FOCAL_PX / camera.intrinsics[0, 0]))
    against = solids[:, 6] - ray
    rows = np.column_stack((pixels, scaled, np.log(solids[:, 3:6]), np.sin(against), np.cos(against)))
    rows[depth <= 0.5] = np.nan
    return rows.astype(np.float32)


def solids_of(rows: np.ndarray, camera: CameraModel, size: tuple[int, int]) -> np.ndarray:
    """The inverse of `solid_targets`: 3D boxes (K, 7) in `base_link` from rows (K, 8)."""
    camera = camera.resized(size[1], size[0])
    depth = np.exp(rows[:, 2:3].astype(np.float64)) * (camera.intrinsics[0, 0] / FOCAL_PX)
    rays = np.column_stack((rows[:, :2], np.ones(len(rows)))) @ np.linalg.inv(camera.intrinsics).T
    centre = (rays * depth) @ camera.base_from_camera[:3, :3].T + camera.base_from_camera[:3, 3]
    yaw = np.arctan2(rows[:, 6], rows[:, 7]) + np.arctan2(centre[:, 1], centre[:, 0])
    yaw = (yaw + np.pi) % (2 * np.pi) - np.pi
    return np.column_stack((centre, np.exp(rows[:, 3:6]), yaw)).astype(np.float32)
