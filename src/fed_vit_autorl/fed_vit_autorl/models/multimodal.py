"""`MultiModalViT`: camera and LiDAR in one transformer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fed_vit_autorl.data.lidar import FAR
from fed_vit_autorl.data.sample import CameraModel

from .backbone import DETAIL_WIDTHS
from .heads import STRIDE
from .perception import ViTPerception

CELLS = (16, 16)
"""LiDAR tokens ahead and across."""
REACH_M = (64.0, 32.0)
"""What they cover: so far ahead, and to either side."""
POINT_WIDTH = 48
POINT_SCALE = (64.0, 32.0, 4.0, 1.0)
NEAREST_M = 0.5
"""Depth from which on a point can be in the picture."""


def projection_of(camera: CameraModel) -> list[list[float]]:
    """Rows (3, 4) that map x, y, z, 1 in `base_link` to u·d, v·d, d: depth d [m], u across the picture from 0 to 1, v
    down.
    """
    unit = camera.resized(1, 1)
    return (unit.intrinsics @ unit.camera_from_base[:3]).tolist()


LEVEL = projection_of(CameraModel.nominal(320, 192))
"""Of a level camera, for vehicles without calibration."""


class Pooled(nn.Module):
    """Points → one vector per cell: each point, with its offset from its cell's centre, goes through a small network; a
    cell has the mean of its points.
    """

    def __init__(self) -> None:
        super().__init__()
        self.points = nn.Sequential(nn.Linear(6, POINT_WIDTH), nn.GELU(), nn.Linear(POINT_WIDTH, POINT_WIDTH))

    def forward(
        self, points: Tensor, place: Tensor, inside: Tensor, cells: tuple[int, int]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """points (B, N, 4); place (B, N, 2), row and column in units of cells; only points that are `inside` (B, N)
        count. Returns (B, rows · columns, 48), the mean of x, y, z over `POINT_SCALE` (…, 3), and the number of points
        (…, 1).
        """
        scaled = points / torch.tensor(POINT_SCALE, device=points.device)
        limit = torch.tensor(cells, device=place.device) - 1
        cell = torch.minimum(place.clamp(min=0).floor(), limit)
        features = torch.cat((self.points(torch.cat((scaled, place - cell - 0.5), -1)), scaled[..., :3]), -1)
        weight = inside.to(features.dtype).unsqueeze(-1)
        summed = torch.cat((torch.where(inside.unsqueeze(-1), features, 0.0), weight), -1)
        index = (cell[..., 0] * cells[1] + cell[..., 1]).long().unsqueeze(-1).expand(-1, -1, summed.shape[-1])
        nothing = torch.zeros(scaled.shape[0], cells[0] * cells[1], summed.shape[-1], device=scaled.device)
        total = nothing.scatter_add(1, index, summed.to(nothing.dtype))
        count = total[..., -1:]
        mean = total[..., :-1] / count.clamp(min=1.0)
        return mean[..., :POINT_WIDTH], mean[..., POINT_WIDTH:], count


class PointTokens(nn.Module):
    """Points → one token per cell of a grid on the ground ahead, as PointPillars (Lang et al., 2019) has them.

    Empty cells have a learned token. Positions are learned functions of the cell's mean x, y, z ("learned_3d") or one
    vector per cell ("learned").
    """

    def __init__(self, width: int, positional_encoding: str) -> None:
        super().__init__()
        if positional_encoding not in ("learned_3d", "learned"):
            raise ValueError(f"positional_encoding is 'learned_3d' or 'learned', not {positional_encoding!r}")
        self.learned_3d = positional_encoding == "learned_3d"
        self.pooled = Pooled()
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
        place = torch.stack((x * (CELLS[0] / REACH_M[0]), (y + REACH_M[1]) * (CELLS[1] / (2 * REACH_M[1]))), -1)
        mean, where, count = self.pooled(points, place, inside, CELLS)
        tokens = torch.where(count > 0, self.cells(mean), self.empty)
        return tokens + (self.position(where) if self.learned_3d else self.position)


class PointPicture(nn.Module):
    """Points → what the LiDAR has at each place of the picture, at the stride of the detection head.

    Attention would have to learn from examples which token of the ground lies behind which part of the picture; the
    camera's `projection` says so (as in PointPainting, Vora et al., 2020, the other way round).
    """

    def __init__(self, projection: Sequence[Sequence[float]]) -> None:
        super().__init__()
        self.register_buffer("projection", torch.tensor(projection, dtype=torch.float32), persistent=False)
        self.pooled = Pooled()
        self.paint = nn.Linear(POINT_WIDTH, DETAIL_WIDTHS[-1])

    def forward(self, points: Tensor, cells: tuple[int, int]) -> Tensor:
        """(B, N, 4) as `PointTokens` → (B, 64, rows, columns), 0 where the LiDAR has nothing."""
        across = points[..., :3] @ self.projection[:, :3].T + self.projection[:, 3]
        depth = across[..., 2]
        size = torch.tensor(cells, device=points.device)
        place = across[..., :2].flip(-1) / depth.clamp(min=NEAREST_M).unsqueeze(-1) * size
        there = (depth > NEAREST_M) & (points[..., 0] < FAR / 2)
        inside = there & ((place >= 0) & (place < size)).all(-1)
        mean, _, count = self.pooled(points, place, inside, cells)
        painted = torch.where(count > 0, self.paint(mean), 0.0)
        return painted.transpose(1, 2).unflatten(2, cells)


class MultiModalViT(ViTPerception):
    """`ViTPerception` that has a LiDAR too: its points are in the picture from the start, and its tokens take part in
    attention from block `fusion_layer` on.

    image_size: side, or (height, width), in pixels. lidar_points: rows of the points input; fewer points are padded
    with rows at `FAR`, so that a dead LiDAR is an input too. projection: `projection_of` the vehicles' camera. Other
    options as `ViTPerception`. Raises ValueError for a fusion layer that the transformer does not have.
    """

    inputs = ("image", "points")

    def __init__(
        self,
        image_size: int | Sequence[int] = 384,
        lidar_points: int = 32768,
        fusion_layer: int = 6,
        positional_encoding: str = "learned_3d",
        projection: Sequence[Sequence[float]] = LEVEL,
        **options: int | str | bool,
    ) -> None:
        super().__init__(image_size, **options)
        depth = len(self.backbone.vit.blocks)
        if not 0 <= fusion_layer < depth:
            raise ValueError(f"fusion_layer {fusion_layer}: the transformer has blocks 0 to {depth - 1}")
        self.lidar_points, self.fusion_layer = lidar_points, fusion_layer
        self.point_tokens = PointTokens(self.backbone.width, positional_encoding)
        self.point_picture = PointPicture(projection)
        size = self.architecture.pop("img_size")
        self.architecture = {
            "image_size": size,
            "lidar_points": lidar_points,
            "fusion_layer": fusion_layer,
            "positional_encoding": positional_encoding,
            "projection": [list(row) for row in projection],
            **self.architecture,
        }

    @property
    def example(self) -> dict[str, Tensor]:
        return super().example | {"points": torch.full((1, self.lidar_points, 4), FAR)}

    def see(self, image: Tensor, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens and detail as `Backbone.forward`, from the picture with the LiDAR's points in it."""
        painted = self.point_picture(points, (self.img_size[0] // STRIDE, self.img_size[1] // STRIDE))
        return self.backbone(image, self.point_tokens(points), self.fusion_layer, painted)
