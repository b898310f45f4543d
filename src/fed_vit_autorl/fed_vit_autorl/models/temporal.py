"""`TemporalViT`: a few seconds of video in, what moves and where the vehicle goes out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional

from .backbone import DETAIL_WIDTHS, Detail
from .change import Change
from .heads import Pyramid
from .losses import rare_loss

WAYPOINTS = 20
WAYPOINT_SCALE_M = 10.0
HEAD_WIDTH = 48
DETAIL_STRIDE = 8
OUTPUTS = ("motion", "trajectory", "features")


@dataclass(frozen=True)
class ClipTargets:
    """motion uint8 (B, 1, H/4, W/4) holds 0, 1 and 255 = unlabelled; trajectory (B, 20, 2) [m], NaN unknown."""

    motion: Tensor
    trajectory: Tensor

    def to(self, device: torch.device) -> ClipTargets:
        """The same labels on another device."""
        return ClipTargets(self.motion.to(device), self.trajectory.to(device))


class TemporalViT(nn.Module):
    """A ViT over tubelets (ViViT, Arnab et al., 2021) of `num_frames` frames, the last one being now.

    The frames of a tubelet go through convolutions together before they are cut into patches: what changes between two
    frames is fine detail. Two frames are a short time: what moves is read from `Change` since the last frame of every
    earlier tubelet. image_size: side, or (height, width), in pixels. frame_patch_size: side of a patch;
    temporal_patch_size: frames of a tubelet; use_3d_patches False sees each frame alone and averages over the tubelet
    instead. Raises ValueError for sizes that don't divide.
    """

    inputs = ("frames",)
    outputs = OUTPUTS

    def __init__(
        self,
        image_size: int | Sequence[int] = 224,
        num_frames: int = 8,
        frame_patch_size: int = 16,
        temporal_patch_size: int = 2,
        use_3d_patches: bool = True,
        embed_dim: int = 192,
        depth: int = 6,
        num_heads: int = 3,
    ) -> None:
        super().__init__()
        size = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
        if num_frames % temporal_patch_size or any(side % frame_patch_size for side in size) or frame_patch_size % 8:
            raise ValueError(
                f"{num_frames} frames of {size} are no multiples of tubelets of {temporal_patch_size} frames and "
                f"{frame_patch_size} pixels, or these none of 8"
            )
        self.architecture = {
            "image_size": list(size),
            "num_frames": num_frames,
            "frame_patch_size": frame_patch_size,
            "temporal_patch_size": temporal_patch_size,
            "use_3d_patches": use_3d_patches,
            "embed_dim": embed_dim,
            "depth": depth,
            "num_heads": num_heads,
        }
        self.img_size, self.num_frames = size, num_frames
        self.grid = size[0] // frame_patch_size, size[1] // frame_patch_size
        self.slots = num_frames // temporal_patch_size
        self.use_3d_patches, self.temporal_patch_size = use_3d_patches, temporal_patch_size
        self.detail = Detail(3 * temporal_patch_size if use_3d_patches else 3)
        if self.slots > 1:
            self.change = Change(self.slots - 1)
        side = frame_patch_size // DETAIL_STRIDE
        self.patches = nn.Conv2d(DETAIL_WIDTHS[-1], embed_dim, side, side)
        self.space = nn.Parameter(0.02 * torch.randn(1, 1, self.grid[0] * self.grid[1], embed_dim))
        self.time = nn.Parameter(0.02 * torch.randn(1, self.slots, 1, embed_dim))
        self.blocks = nn.Sequential(*(Block(embed_dim, num_heads, qkv_bias=True) for _ in range(depth)))
        self.norm = nn.LayerNorm(embed_dim)
        self.pyramid = Pyramid(embed_dim, HEAD_WIDTH)
        self.motion = nn.Conv2d(HEAD_WIDTH // 2, 1, 1)
        self.trajectory = nn.Sequential(nn.Linear(embed_dim, embed_dim), nn.GELU(), nn.Linear(embed_dim, WAYPOINTS * 2))

    def raw(self, frames: Tensor) -> dict[str, Tensor]:
        """Frames (B, T, 3, H, W) in [0, 1] → `motion` logits (B, 1, H/4, W/4) of the last frame, `trajectory`
        (B, 20, 2) [m] in `base_link`, `features` (B, D).
        """
        frames = frames - 0.45
        fine, coarse = self._detail(frames)  # (B, T', …)
        now_fine, now_coarse = fine[:, -1], coarse[:, -1]
        if self.slots > 1:
            now_fine, now_coarse = self.change(frames[:, self.temporal_patch_size - 1 :: self.temporal_patch_size])
            coarse = torch.cat((coarse[:, :-1], (coarse[:, -1] + now_coarse).unsqueeze(1)), 1)
        patches = self.patches(coarse.flatten(0, 1)).flatten(2).transpose(1, 2).unflatten(0, (-1, self.slots))
        tokens = patches + self.space + self.time
        tokens = self.norm(self.blocks(tokens.flatten(1, 2))).unflatten(1, (self.slots, -1))
        features = tokens.mean((1, 2))
        now = tokens[:, -1].transpose(1, 2).unflatten(2, self.grid)
        motion = self.motion(self.pyramid(now, now_fine, now_coarse)[1])
        trajectory = self.trajectory(features).unflatten(1, (WAYPOINTS, 2)) * WAYPOINT_SCALE_M
        return {"motion": motion, "trajectory": trajectory, "features": features}

    def _detail(self, frames: Tensor) -> tuple[Tensor, ...]:
        """Maps (B, T', C, h, w) at strides 4 and 8 of the tubelets."""
        tubelets = frames.unflatten(1, (self.slots, self.temporal_patch_size))
        if self.use_3d_patches:
            maps = self.detail(tubelets.flatten(2, 3).flatten(0, 1))
            return tuple(each.unflatten(0, (-1, self.slots)) for each in maps)
        maps = self.detail(tubelets.flatten(0, 2))
        return tuple(each.unflatten(0, (-1, self.slots, self.temporal_patch_size)).mean(2) for each in maps)

    @property
    def example(self) -> dict[str, Tensor]:
        """One of each input by name: black frames."""
        return {"frames": torch.zeros(1, self.num_frames, 3, *self.img_size)}

    def loss(self, raw: dict[str, Tensor], targets: ClipTargets) -> dict[str, Tensor]:
        """Parts of the loss by name; their sum is what is minimised."""
        return temporal_loss(raw, targets.motion, targets.trajectory)

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`motion` probabilities (B, 1, H/4, W/4), `trajectory` (B, 20, 2) [m], `features` (B, D)."""
        raw = self.raw(frames)
        return raw["motion"].sigmoid(), raw["trajectory"], raw["features"]


def temporal_loss(raw: dict[str, Tensor], motion: Tensor, trajectory: Tensor) -> dict[str, Tensor]:
    """Parts of the loss: motion (B, 1, H/4, W/4) holds 0, 1 and 255 = unlabelled; trajectory (B, 20, 2) [m], NaN
    unknown."""
    driven = ~trajectory.isnan()
    error = functional.smooth_l1_loss(raw["trajectory"], trajectory.nan_to_num(), reduction="none") * driven
    return {"motion": rare_loss(raw["motion"], motion), "trajectory": error.sum() / driven.sum().clamp(min=1)}
