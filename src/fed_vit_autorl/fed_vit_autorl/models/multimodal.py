"""`MultiModalViT`: camera and LiDAR tokens in one transformer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fed_vit_autorl.data.lidar import FAR

from .perception import ViTPerception

CELLS = (16, 16)
"""LiDAR tokens ahead and across."""
REACH_M = (64.0, 32.0)
"""What they cover: so far ahead, and to either side."""
POINT_WIDTH = 48
POINT_SCALE = (64.0, 32.0, 4.0, 1.0)


class PointTokens(nn.Module):
    """Points → one token per cell of a grid on the ground ahead, as PointPillars (Lang et al., 2019) has them.

    Each point, with its offset from its cell's centre, goes through a small network; a cell's token is the mean of its
    points. Empty cells have a learned token. Positions are learned functions of the cell's mean x, y, z ("learned_3d")
    or one vector per cell ("learned").
    """

    def __init__(self, width: int, positional_encoding: str) -> None:
        super().__init__()
        if positional_encoding not in ("learned_3d", "learned"):
            raise ValueError(f"positional_encoding is 'learned_3d' or 'learned', not {positional_encoding!r}")
        self.learned_3d = positional_encoding == "learned_3d"
        self.points = nn.Sequential(nn.Linear(6, POINT_WIDTH), nn.GELU(), nn.Linear(POINT_WIDTH, POINT_WIDTH))
        self.cells = nn.Linear(POINT_WIDTH, width)
        self.empty = nn.Parameter(torch.zeros(width))
        if self.learned_3d:
            self.position = nn.Sequential(nn.Linear(3, POINT_WIDTH), nn.GELU(), nn.Linear(POINT_WIDTH, width))
        else:
            self.position = nn.Parameter(0.02 * torch.randn(1, CELLS[0] * CELLS[1], width))

    def forward(self, points: Tensor) -> Tensor:
        """(B, N, 4) x, y, z [m] in `base_link`, intensity; rows at `FAR` stand for none → tokens (B, 256, width)."""
        x, y = points[..., 0], points[..., 1]
        inside = (x >= 0) & (x < REACH_M[0]) & (y.abs() < REACH_M[1]) & (points[..., 2].abs() < 10)
        row = (x * (CELLS[0] / REACH_M[0])).clamp(0, CELLS[0] - 1).floor()
        column = ((y + REACH_M[1]) * (CELLS[1] / (2 * REACH_M[1]))).clamp(0, CELLS[1] - 1).floor()
        scaled = points / torch.tensor(POINT_SCALE, device=points.device)
        offset = torch.stack(
            (scaled[..., 0] - (row + 0.5) / CELLS[0], scaled[..., 1] - (column + 0.5) / CELLS[1] * 2 + 1), -1
        )
        weight = inside.to(points.dtype).unsqueeze(-1)
        features = torch.cat((self.points(torch.cat((scaled, offset), -1)), scaled[..., :3]), -1)
        summed = torch.cat((torch.where(inside.unsqueeze(-1), features, 0.0), weight), -1)
        cell = (row * CELLS[1] + column).long().unsqueeze(-1).expand(-1, -1, summed.shape[-1])
        empty = torch.zeros(points.shape[0], CELLS[0] * CELLS[1], summed.shape[-1], device=points.device)
        total = empty.scatter_add(1, cell, summed.to(empty.dtype))
        count = total[..., -1:]
        mean = total[..., :-1] / count.clamp(min=1.0)
        tokens = torch.where(count > 0, self.cells(mean[..., :POINT_WIDTH]), self.empty)
        if self.learned_3d:
            return tokens + self.position(mean[..., POINT_WIDTH:])
        return tokens + self.position


class MultiModalViT(ViTPerception):
    """`ViTPerception` whose transformer sees LiDAR tokens too, from block `fusion_layer` on.

    image_size: side, or (height, width), in pixels. lidar_points: rows of the points input; fewer points are padded
    with rows at `FAR`, so that a dead LiDAR is an input too. Other options as `ViTPerception`. Raises ValueError for a
    fusion layer that the transformer does not have.
    """

    inputs = ("image", "points")

    def __init__(
        self,
        image_size: int | Sequence[int] = 384,
        lidar_points: int = 32768,
        fusion_layer: int = 6,
        positional_encoding: str = "learned_3d",
        **options: int | str | bool,
    ) -> None:
        super().__init__(image_size, **options)
        depth = len(self.backbone.vit.blocks)
        if not 0 <= fusion_layer < depth:
            raise ValueError(f"fusion_layer {fusion_layer}: the transformer has blocks 0 to {depth - 1}")
        self.lidar_points, self.fusion_layer = lidar_points, fusion_layer
        self.point_tokens = PointTokens(self.backbone.width, positional_encoding)
        size = self.architecture.pop("img_size")
        self.architecture = {
            "image_size": size,
            "lidar_points": lidar_points,
            "fusion_layer": fusion_layer,
            "positional_encoding": positional_encoding,
            **self.architecture,
        }

    @property
    def example(self) -> dict[str, Tensor]:
        return super().example | {"points": torch.full((1, self.lidar_points, 4), FAR)}

    def see(self, image: Tensor, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens and detail as `Backbone.forward`, the tokens having attended to the LiDAR's."""
        return self.backbone(image, self.point_tokens(points), self.fusion_layer)
