"""`ViTPerception`: one ViT backbone, all camera heads."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .backbone import Backbone
from .head_registry import CAMERA_HEADS, CAMERA_OUTPUTS, HEADS, Features, check_heads, in_order
from .heads import Pyramid
from .losses import Targets

OUTPUTS = (*CAMERA_OUTPUTS, "features")
"""Names of the outputs of every perception model, in order; further heads and a classifier add theirs."""


class ViTPerception(nn.Module):
    """Image → objects, free space, lane, drivable surface, semantic classes, pooled features, and more.

    img_size: side of a square image, or (height, width), in pixels, a multiple of the patch size. num_classes: width
    of the image classifier, 0 for none. backbone: name of any timm ViT instead of embed_dim, depth, num_heads.
    stem, merged_tokens: see `Backbone`. head_width: channels of the stride-8 map. heads: names in `HEADS`.
    `architecture` holds the arguments that build the same model again. Raises ValueError for sizes that don't fit
    together and unknown heads.
    """

    inputs = ("image",)
    """Names of what `forward` takes, in order."""

    def __init__(
        self,
        img_size: int | Sequence[int] = 384,
        patch_size: int = 16,
        num_classes: int = 1000,
        embed_dim: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        *,
        stem: str = "patch",
        backbone: str = "",
        pretrained: bool = False,
        head_width: int = 48,
        heads: Sequence[str] = CAMERA_HEADS,
        merged_tokens: int = 0,
    ) -> None:
        super().__init__()
        size = (img_size, img_size) if isinstance(img_size, int) else tuple(img_size)
        self.architecture = {
            "img_size": list(size),
            "patch_size": patch_size,
            "num_classes": num_classes,
            "embed_dim": embed_dim,
            "depth": depth,
            "num_heads": num_heads,
            "stem": stem,
            "backbone": backbone,
            "head_width": head_width,
            "heads": list(heads),
            "merged_tokens": merged_tokens,
        }
        check_heads(heads)
        self.heads = in_order(heads)
        self.backbone = Backbone(
            size, patch_size, embed_dim, depth, num_heads, stem, backbone, pretrained, merged_tokens
        )
        self.pyramid = Pyramid(self.backbone.width, head_width)
        for name in self.heads:
            self.add_module(name, HEADS[name].make(self.backbone.width, head_width))
        self.classifier = nn.Linear(self.backbone.width, num_classes) if num_classes else None

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of what `forward` returns."""
        further = [name for head in self.heads for name in HEADS[head].outputs if name not in CAMERA_OUTPUTS]
        return (*OUTPUTS, *further) if self.classifier is None else (*OUTPUTS, *further, "classes")

    @property
    def img_size(self) -> tuple[int, int]:
        """(height, width) of the image it takes, in pixels."""
        return self.backbone.img_size

    @property
    def example(self) -> dict[str, Tensor]:
        """One of each input by name: a black image, no LiDAR returns."""
        return {"image": torch.zeros(1, 3, *self.img_size)}

    def set_input_size(self, img_size: Sequence[int], patch_size: int = 0) -> None:
        """Take images of (height, width) pixels from now on, in patches of another size where one is given; see
        `Backbone`. Raises ValueError for sizes that don't fit together, and for other patches of a backbone by name.
        """
        if patch_size and self.architecture["backbone"]:
            raise ValueError(f"the patches of {self.architecture['backbone']} are what its name says")
        self.backbone.set_input_size(tuple(img_size), patch_size)
        self.architecture |= {"img_size": list(img_size), "patch_size": self.backbone.patch_size}

    def replace_head(self, name: str, other: str) -> None:
        """Say by the head `other`, which has learned nothing yet, what `name` has said. Raises ValueError where it
        doesn't say the same."""
        heads = [other if head == name else head for head in self.heads]
        check_heads(heads)
        delattr(self, name)
        self.add_module(other, HEADS[other].make(self.backbone.width, self.architecture["head_width"]))
        self.heads, self.architecture["heads"] = in_order(heads), heads

    def see(self, *inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens and detail maps of the inputs, as `Backbone.forward`."""
        return self.backbone(*inputs)

    def raw(self, *inputs: Tensor) -> dict[str, Tensor]:
        """What the losses need, from an image (B, 3, H, W) in [0, 1] RGB.

        `logits` (B, N, C), `boxes` (B, N, 4) xyxy in pixels, `masks` (B, 3, H/4, W/4) and `semantic` (B, 11, h, w),
        both logits, what the further heads give, and `features` (B, D).
        """
        tokens, fine, coarse = self.see(*inputs)
        seen = Features(tokens, *self.pyramid(tokens, fine, coarse))
        raw = {"features": tokens.mean((2, 3))}
        for name in self.heads:
            raw |= HEADS[name].see(getattr(self, name), seen)
        return raw

    def loss(self, raw: dict[str, Tensor], targets: Targets) -> dict[str, Tensor]:
        """Parts of the loss by name; their sum is what is minimised. `raw` in float32."""
        return {
            part: value for name in self.heads for part, value in HEADS[name].loss(raw, targets, self.img_size).items()
        }

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """What `outputs` names, for an image (B, 3, H, W) in [0, 1] RGB.

        boxes (B, N, 4) xyxy in pixels inside the image, scores (B, N, C), probabilities of each mask (B, 1, H/4, W/4),
        semantic (B, 11, h, w) logits, features (B, D). Of the further heads: solids (B, N, 8) as `SolidHead`,
        probabilities occupancy (B, 1, 32, 32), motion (B, 1, H/4, W/4) and risk (B, 1). classes (B, num_classes)
        logits where there is a classifier.
        """
        raw = self.raw(*inputs)
        said = {"features": raw["features"]}
        for name in self.heads:
            said |= dict(zip(HEADS[name].outputs, HEADS[name].finish(raw, self.img_size), strict=True))
        if self.classifier is not None:
            said["classes"] = self.classifier(raw["features"])
        return tuple(said[name] for name in self.outputs)
