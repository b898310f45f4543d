"""The shared ViT backbone: an image in, a grid of tokens and convolutional detail out."""

from __future__ import annotations

from dataclasses import replace

import timm
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional

from .token_merging import Merged

DETAIL_WIDTHS = (16, 24, 64)
"""Channels of the detail maps at strides 2, 4 and 8."""


class GroupNorm(nn.GroupNorm):
    """`nn.GroupNorm`; for one picture its graph takes two passes over the map fewer than the exporter's own."""

    def forward(self, x: Tensor) -> Tensor:
        if not torch.compiler.is_exporting() or x.shape[0] > 1:
            return super().forward(x)
        grouped = x.reshape(self.num_groups, -1)
        mean, square = grouped.mean(1), grouped.square().mean(1)
        each = self.num_channels // self.num_groups
        mean, variance = mean.repeat_interleave(each), (square - mean * mean).repeat_interleave(each)
        return functional.batch_norm(x, mean, variance, self.weight, self.bias, eps=self.eps)


class ConvNorm(nn.Sequential):
    """Convolution, group normalisation, ReLU. Batch statistics would leak between the vehicles of a fleet."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
            GroupNorm(8, outputs),
            nn.ReLU(inplace=True),
        )


class Detail(nn.Module):
    """Image (B, channels, H, W) → maps at strides 4 and 8 with the detail that patches of 16 pixels lose."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        first, second, third = DETAIL_WIDTHS
        self.stride4 = nn.Sequential(ConvNorm(channels, first, stride=2), ConvNorm(first, second, stride=2))
        self.stride8 = ConvNorm(second, third, stride=2)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        fine = self.stride4(image)
        return fine, self.stride8(fine)


class Backbone(nn.Module):
    """A timm ViT beside a small convolutional detail branch.

    stem "patch": the ViT cuts the image into patches itself, as timm's do. stem "conv": its patches are cut from the
    detail branch's stride-8 map, which trains much faster from scratch (Xiao et al., "Early convolutions help
    transformers see better", 2021). `name`: any timm ViT instead of the given sizes (stem "patch" only).
    merged_tokens: so many tokens fewer after each block but the last (see `Merged`); they are un-merged at the end.
    Raises ValueError for sizes that don't fit together.
    """

    def __init__(
        self,
        img_size: tuple[int, int],
        patch_size: int,
        embed_dim: int,
        depth: int,
        num_heads: int,
        stem: str = "patch",
        name: str = "",
        pretrained: bool = False,
        merged_tokens: int = 0,
    ) -> None:
        super().__init__()
        if stem not in ("patch", "conv") or (name and stem == "conv"):
            raise ValueError(f"stem is 'patch' or 'conv', and 'patch' with a named backbone; not {stem!r}")
        self.stem, self.pretrained = stem, pretrained
        shared = {"num_classes": 0, "global_pool": "", "fc_norm": False}
        if name:
            self.vit = timm.create_model(name, pretrained=pretrained, img_size=img_size, num_classes=0)
        elif stem == "conv":
            if patch_size % 8:
                raise ValueError(f"the conv stem needs a patch size that is a multiple of 8, not {patch_size}")
            coarse = tuple(side // 8 for side in img_size)
            self.vit = VisionTransformer(
                coarse,
                patch_size // 8,
                DETAIL_WIDTHS[-1],
                embed_dim=embed_dim,
                depth=depth,
                num_heads=num_heads,
                class_token=False,
                **shared,
            )
        else:
            self.vit = VisionTransformer(
                img_size, patch_size, embed_dim=embed_dim, depth=depth, num_heads=num_heads, **shared
            )
        self.patch_size = self.vit.patch_embed.patch_size[0] * (8 if stem == "conv" else 1)
        if self.patch_size % 8 or any(side % self.patch_size for side in img_size):
            raise ValueError(f"{img_size} is no multiple of the patch size, or {self.patch_size} none of 8")
        self.merged_tokens = merged_tokens
        if merged_tokens:
            for block in self.vit.blocks:
                block.attn.fused_attn = False  # with a mask it does not export (torch 2.15)
        self.img_size = img_size
        self.width: int = self.vit.embed_dim
        self.detail = Detail()
        if pretrained:
            mean, deviation = (torch.tensor(self.vit.pretrained_cfg[key]).view(3, 1, 1) for key in ("mean", "std"))
            self.register_buffer("mean", mean, persistent=False)
            self.register_buffer("gain", 1 / deviation, persistent=False)

    def set_input_size(self, img_size: tuple[int, int], patch_size: int = 0) -> None:
        """Take images of another size (H, W) from now on, and cut them into patches of another size where one is given.

        Positional embeddings are resampled (bicubic), and so are the weights of the patches, by the pseudo-inverse that
        keeps what they say of an enlarged patch (Beyer et al., FlexiViT, 2023).
        """
        patch_size = patch_size or self.patch_size
        if any(side % patch_size for side in img_size) or patch_size % 8:
            raise ValueError(f"{img_size} is no multiple of the patch size {patch_size}, or that none of 8")
        scale = 8 if self.stem == "conv" else 1
        sides = tuple(side // scale for side in img_size)
        self.vit.set_input_size(sides, None if patch_size == self.patch_size else (patch_size // scale,) * 2)
        self.img_size, self.patch_size = tuple(img_size), patch_size

    def forward(
        self, image: Tensor, others: Tensor | None = None, fusion_layer: int = 0, painted: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Image (B, 3, H, W) in [0, 1] → tokens (B, D, H/p, W/p), detail (B, 24, H/4, W/4) and (B, 64, H/8, W/8).

        others (B, M, D): tokens of another sensor that take part in attention from block `fusion_layer` on.
        painted (B, 64, H/8, W/8): what another sensor has at each place of the picture.
        """
        image = (image - self.mean) * self.gain if self.pretrained else image - 0.45
        fine, coarse = self.detail(image)
        if painted is not None:
            coarse = coarse + painted
        seen = coarse if self.stem == "conv" else image
        if others is not None:
            tokens = self._fused(seen, others, fusion_layer)[:, self.vit.num_prefix_tokens :]
        elif self.merged_tokens:
            tokens = self._merging(seen)
        else:
            tokens = self.vit.forward_features(seen)[:, self.vit.num_prefix_tokens :]
        height, width = (side // self.patch_size for side in self.img_size)
        return tokens.transpose(1, 2).unflatten(2, (height, width)), fine, coarse

    def _merging(self, seen: Tensor) -> Tensor:
        """(B, N, D) of the patches."""
        vit, first = self.vit, self.vit.num_prefix_tokens
        tokens = vit.norm_pre(vit._pos_embed(vit.patch_embed(seen)))
        prefix, merged = tokens[:, :first], Merged.none(tokens[:, first:])
        for block in vit.blocks:
            bias = functional.pad(merged.attention_bias, (first, 0))
            tokens = block(torch.cat((prefix, merged.tokens), 1), attn_mask=bias)
            prefix, merged = tokens[:, :first], replace(merged, tokens=tokens[:, first:])
            if block is not vit.blocks[-1]:
                merged = merged.merge(min(self.merged_tokens, merged.tokens.shape[1] // 2))
        return vit.norm(merged.unmerged())

    def _fused(self, seen: Tensor, others: Tensor, fusion_layer: int) -> Tensor:
        vit = self.vit
        tokens = vit.norm_pre(vit._pos_embed(vit.patch_embed(seen)))
        count = tokens.shape[1]
        for block in vit.blocks[:fusion_layer]:
            tokens = block(tokens)
        tokens = torch.cat((tokens, others), 1)
        for block in vit.blocks[fusion_layer:]:
            tokens = block(tokens)
        return vit.norm(tokens[:, :count])


def count_parameters(module: nn.Module) -> int:
    """Number of scalars that `module` learns."""
    return sum(parameter.numel() for parameter in module.parameters())
