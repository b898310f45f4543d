"""Heads on the shared backbone: a small feature pyramid, anchor-free detection, dense masks."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from .backbone import DETAIL_WIDTHS, ConvNorm, GroupNorm

STRIDE = 8
"""Pixels between two detection locations."""
MASK_STRIDE = 4


class Pyramid(nn.Module):
    """Tokens and detail → maps at stride 8 (B, width, H/8, W/8) and stride 4 (B, width / 2, H/4, W/4)."""

    def __init__(self, token_width: int, width: int) -> None:
        super().__init__()
        self.from_tokens = nn.Conv2d(token_width, width, 1)
        self.from_coarse = nn.Conv2d(DETAIL_WIDTHS[2], width, 1)
        self.coarse = ConvNorm(width, width)
        self.from_width = nn.Conv2d(width, width // 2, 1)
        self.from_fine = nn.Conv2d(DETAIL_WIDTHS[1], width // 2, 1)
        self.fine = ConvNorm(width // 2, width // 2)

    def forward(self, tokens: Tensor, fine: Tensor, coarse: Tensor) -> tuple[Tensor, Tensor]:
        up = functional.interpolate(self.from_tokens(tokens), size=coarse.shape[2:], mode="nearest")
        stride8 = self.coarse(functional.relu(up + self.from_coarse(coarse)))
        up = functional.interpolate(self.from_width(stride8), size=fine.shape[2:], mode="nearest")
        return stride8, self.fine(functional.relu(up + self.from_fine(fine)))


class DetectionHead(nn.Module):
    """Anchor-free detection: per location class logits and distances to the four sides, as FCOS (Tian et al., 2019)."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.tower = ConvNorm(width, width)
        self.classes, self.sides = nn.Conv2d(width, classes, 1), nn.Conv2d(width, 4, 1)
        nn.init.normal_(self.classes.weight, std=0.01)
        nn.init.constant_(self.classes.bias, -math.log(99))  # one location in a hundred is an object (focal loss paper)
        nn.init.normal_(self.sides.weight, std=0.01)
        nn.init.constant_(self.sides.bias, 1.0)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """(B, width, h, w) → logits (B, h·w, C), boxes (B, h·w, 4) xyxy in pixels, not clipped."""
        features = self.tower(features)
        logits = self.classes(features).flatten(2).transpose(1, 2)
        sides = functional.softplus(self.sides(features)).flatten(2).transpose(1, 2) * STRIDE
        centres = locations(*features.shape[2:], device=features.device)
        return logits, torch.cat((centres - sides[..., :2], centres + sides[..., 2:]), -1)


class Context(nn.Module):
    """Adds to a map what lies around each place: a depthwise convolution, dilated, then one across the channels
    (Yu and Koltun, "Multi-scale context aggregation by dilated convolutions", 2016).
    """

    def __init__(self, width: int, dilation: int = 1) -> None:
        super().__init__()
        self.around = nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation, groups=width, bias=False)
        self.across = nn.Conv2d(width, width, 1, bias=False)
        self.norms = nn.ModuleList(GroupNorm(8, width) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        around = functional.relu(self.norms[0](self.around(x)))
        return functional.relu(x + self.norms[1](self.across(around)))


class FineSemanticHead(nn.Module):
    """Classes at stride 2: context at stride 8, detail at stride 4, and each place there tells its four pixels (Shi et
    al., "Real-time single image super-resolution using an efficient sub-pixel convolutional network", 2016).
    """

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.widen = nn.Conv2d(width, 2 * width, 1)
        self.context = nn.Sequential(*(Context(2 * width, dilation) for dilation in (1, 2, 4)))
        self.from_context, self.from_detail = nn.Conv2d(2 * width, width, 1), nn.Conv2d(width // 2, width, 1)
        self.detail = nn.Sequential(ConvNorm(width, width), Context(width))
        self.classes = nn.Conv2d(width, 4 * classes, 1)

    def forward(self, stride8: Tensor, stride4: Tensor) -> Tensor:
        """(B, width, H/8, W/8) and (B, width / 2, H/4, W/4) → logits (B, classes, H/2, W/2)."""
        context = self.from_context(self.context(functional.relu(self.widen(stride8))))
        up = functional.interpolate(context, size=stride4.shape[2:], mode="bilinear", align_corners=False)
        return functional.pixel_shuffle(self.classes(self.detail(functional.relu(up + self.from_detail(stride4)))), 2)


def locations(height: int, width: int, device: torch.device | None = None) -> Tensor:
    """Pixel coordinates (height·width, 2) x, y of the detection locations, row by row."""
    x = (torch.arange(width, device=device) + 0.5) * STRIDE
    y = (torch.arange(height, device=device) + 0.5) * STRIDE
    return torch.stack((x.repeat(height), y.repeat_interleave(width)), -1)
