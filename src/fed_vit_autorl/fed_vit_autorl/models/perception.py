"""`ViTPerception`: one ViT backbone, all camera heads."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fed_vit_autorl.data.classes import MASKS, OBJECT_CLASSES, SEMANTIC_CLASSES

from .backbone import Backbone
from .heads import DetectionHead, Pyramid
from .losses import Targets, perception_loss

OUTPUTS = ("boxes", "scores", *MASKS, "semantic", "features")
"""Names of the outputs of every perception model, in order; a model with a classifier adds `classes`."""


class ViTPerception(nn.Module):
    """Image → objects, free space, lane, drivable surface, semantic classes, pooled features.

    img_size: side of a square image, or (height, width), in pixels, a multiple of the patch size. num_classes: width
    of the image classifier, 0 for none. backbone: name of any timm ViT instead of embed_dim, depth, num_heads.
    stem: see `Backbone`. head_width: channels of the stride-8 map. `architecture` holds the arguments that build the
    same model again. Raises ValueError for sizes that don't fit together.
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
        }
        self.backbone = Backbone(size, patch_size, embed_dim, depth, num_heads, stem, backbone, pretrained)
        self.pyramid = Pyramid(self.backbone.width, head_width)
        self.detection = DetectionHead(head_width, len(OBJECT_CLASSES))
        self.masks = nn.Conv2d(head_width // 2, len(MASKS), 1)
        self.semantic = nn.Conv2d(head_width // 2, len(SEMANTIC_CLASSES), 1)
        self.classifier = nn.Linear(self.backbone.width, num_classes) if num_classes else None

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of what `forward` returns."""
        return OUTPUTS if self.classifier is None else (*OUTPUTS, "classes")

    @property
    def img_size(self) -> tuple[int, int]:
        """(height, width) of the image it takes, in pixels."""
        return self.backbone.img_size

    @property
    def example(self) -> dict[str, Tensor]:
        """One of each input by name: a black image, no LiDAR returns."""
        return {"image": torch.zeros(1, 3, *self.img_size)}

    def set_input_size(self, img_size: Sequence[int]) -> None:
        """Take images of (height, width) pixels from now on; positional embeddings are resampled."""
        self.backbone.set_input_size(tuple(img_size))
        self.architecture["img_size"] = list(img_size)

    def see(self, *inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens and detail maps of the inputs, as `Backbone.forward`."""
        return self.backbone(*inputs)

    def raw(self, *inputs: Tensor) -> dict[str, Tensor]:
        """What the losses need, from an image (B, 3, H, W) in [0, 1] RGB.

        `logits` (B, N, C), `boxes` (B, N, 4) xyxy in pixels, `masks` (B, 3, H/4, W/4) and `semantic` (B, 11, H/4, W/4),
        both logits, and `features` (B, D).
        """
        tokens, fine, coarse = self.see(*inputs)
        stride8, stride4 = self.pyramid(tokens, fine, coarse)
        logits, boxes = self.detection(stride8)
        masks, semantic = self.masks(stride4), self.semantic(stride4)
        return {"logits": logits, "boxes": boxes, "masks": masks, "semantic": semantic, "features": tokens.mean((2, 3))}

    def loss(self, raw: dict[str, Tensor], targets: Targets) -> dict[str, Tensor]:
        """Parts of the loss by name; their sum is what is minimised. `raw` in float32."""
        return perception_loss(raw, targets, self.img_size)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """`OUTPUTS` for an image (B, 3, H, W) in [0, 1] RGB.

        boxes (B, N, 4) xyxy in pixels inside the image, scores (B, N, C), probabilities of each mask (B, 1, H/4, W/4),
        semantic (B, 11, H/4, W/4) logits, features (B, D), and classes (B, num_classes) logits where there is a
        classifier.
        """
        raw = self.raw(*inputs)
        height, width = self.img_size
        x, y = raw["boxes"][..., 0::2].clamp(0, width), raw["boxes"][..., 1::2].clamp(0, height)
        boxes = torch.stack((x[..., 0], y[..., 0], x[..., 1], y[..., 1]), -1)
        masks = raw["masks"].sigmoid().split(1, 1)
        outputs = (boxes, raw["logits"].sigmoid(), *masks, raw["semantic"], raw["features"])
        return outputs if self.classifier is None else (*outputs, self.classifier(raw["features"]))
