"""A smaller model that learns from the one it was made of, beside the labels (Hinton et al., 2015)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from .losses import Targets, giou
from .perception import ViTPerception

TAUGHT = "taught_"
FEATURE_WEIGHT = 2.0


class Distilled(nn.Module):
    """What `fit` trains so that `student` comes to see what `teacher` sees; both take the same inputs.

    The teacher also says what the labels don't: how sure it is, and the `features` that a release's policy drives by.
    """

    def __init__(self, student: ViTPerception, teacher: ViTPerception) -> None:
        super().__init__()
        self.student = student
        self._teacher = (teacher.eval(),)  # in a tuple, so that it is no module of this one: it is not trained

    def raw(self, *inputs: Tensor) -> dict[str, Tensor]:
        """`ViTPerception.raw` of the student, and of the teacher under names that begin with `TAUGHT`."""
        with torch.no_grad():
            taught = self._teacher[0].raw(*inputs)
        return self.student.raw(*inputs) | {TAUGHT + name: taught[name] for name in taught}

    def loss(self, raw: dict[str, Tensor], targets: Targets) -> dict[str, Tensor]:
        """The student's parts, and how far it is from its teacher."""
        taught = {name.removeprefix(TAUGHT): value for name, value in raw.items() if name.startswith(TAUGHT)}
        return self.student.loss(raw, targets) | distance(raw, taught)


def distance(raw: dict[str, Tensor], taught: dict[str, Tensor]) -> dict[str, Tensor]:
    """Parts of a loss that is 0 where a model's `raw` is what another's, `taught`, is.

    Objects: quality focal loss (Li et al., 2020) with the teacher's scores as targets and 1 - GIoU with its boxes, each
    weighted by its score. Masks: cross entropy above the teacher's own entropy. Features: squared error in units of
    their variance.
    """
    score, wanted = raw["logits"].sigmoid(), taught["logits"].sigmoid()
    surest = wanted.amax(2)
    certainty = surest.sum().clamp(min=1.0)
    cross = functional.binary_cross_entropy_with_logits(raw["logits"], wanted, reduction="none")
    _, overlap = giou(raw["boxes"], taught["boxes"])
    probability = taught["masks"].sigmoid()
    masks = functional.binary_cross_entropy_with_logits(raw["masks"], probability)
    own = functional.binary_cross_entropy_with_logits(taught["masks"], probability)
    error = (raw["features"] - taught["features"]).square().mean()
    return {
        "taught_class": (cross * (score - wanted).square()).sum() / certainty,
        "taught_box": ((1 - overlap) * surest.square()).sum() / certainty,
        "taught_masks": masks - own,
        "taught_features": FEATURE_WEIGHT * error / taught["features"].var().clamp(min=1e-6),
    }
