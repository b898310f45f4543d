"""Layers of other widths than their model was built with: what pruning leaves."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from .perception import ViTPerception


def shape_to(model: nn.Module, weights: Mapping[str, np.ndarray]) -> None:
    """Give the layers of `model` the shapes of `weights`, so that a pruned model can be built from its architecture.

    Raises ValueError for a tensor of another rank than the model's.
    """
    for name, module in model.named_modules():
        for kind, parameter in list(module.named_parameters(recurse=False)):
            wanted = weights.get(f"{name}.{kind}" if name else kind)
            if wanted is None or wanted.shape == parameter.shape:
                continue
            if wanted.ndim != parameter.ndim:
                raise ValueError(f"{name}.{kind} has {wanted.ndim} dimensions, the model's {parameter.ndim}")
            setattr(module, kind, nn.Parameter(torch.zeros(wanted.shape)))
            if kind == "weight":
                _describe(module)
    if isinstance(model, ViTPerception):
        describe_attention(model)


def _describe(module: nn.Module) -> None:
    """Bring a layer's own description of its shape in line with its weight."""
    shape = module.weight.shape
    match module:
        case nn.Linear():
            module.out_features, module.in_features = shape
        case nn.Conv2d():
            module.out_channels, module.in_channels = shape[:2]
        case nn.GroupNorm():
            module.num_channels = shape[0]
        case nn.LayerNorm():
            module.normalized_shape = tuple(shape)


def describe_attention(model: ViTPerception) -> None:
    """Bring the attention layers' own description of their shape in line with their weights."""
    for block in model.backbone.vit.blocks:
        attention = block.attn
        attention.attn_dim = attention.qkv.out_features // 3
        attention.head_dim = attention.attn_dim // attention.num_heads
        attention.scale = attention.head_dim**-0.5
