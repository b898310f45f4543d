"""`VehicleModelPruner`: a perception model made smaller, in steps with fine-tuning between, until it is fast enough."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import torch
import torch_pruning
from torch import Tensor, nn

from fed_vit_autorl.edge import runtime
from fed_vit_autorl.edge.runtime import RuntimeOptions

from .export import export_graph, weights_of
from .perception import ViTPerception
from .shapes import describe_attention

MAX_RATIO = 0.8
ROUND_TO = 8
"""Widths stay multiples of this: what the vector units, and group normalisation, want."""
ATTENTION_SHARE = 0.75
"""Attention loses so much of what hidden layers lose: it is the smaller part of a block, and misses it more."""
WARM_UP_RUNS, TIMED_RUNS = 5, 30


class PruningEnd(StrEnum):
    """Why the pruning ended."""

    TARGET_REACHED = "target_latency_reached"
    ACCURACY_LOST = "target_latency_needs_less_than_min_accuracy"
    NOTHING_LEFT = "target_latency_not_reached_at_the_highest_ratio"


@dataclass(frozen=True, eq=False)
class Pruned:
    """The smallest model within the limits; `latency_ms` its median, `accuracy` its share of the unpruned model's."""

    model: ViTPerception
    end: PruningEnd
    latency_ms: float
    accuracy: float
    ratio: float


class VehicleModelPruner:
    """Prunes the blocks' hidden layers and attention widths by magnitude (see `pruned_copy`).

    `target_latency` [ms] on `device`; `min_accuracy` the share of the unpruned model's accuracy that must remain;
    `steps` of the polynomial schedule s_t = s_end (1 - (1 - t / n)³) (Zhu and Gupta, 2017), s_end being `max_ratio`;
    `fine_tune_epochs` after each.
    """

    def __init__(
        self,
        model: ViTPerception,
        target_latency: float = 50.0,
        min_accuracy: float = 0.9,
        steps: int = 5,
        fine_tune_epochs: int = 5,
        device: str = "cpu",
        max_ratio: float = MAX_RATIO,
    ) -> None:
        if not (target_latency > 0 and 0 < min_accuracy <= 1 and steps >= 1 and 0 < max_ratio < 1):
            raise ValueError("target_latency is above 0 ms, min_accuracy in (0, 1], steps at least 1, ratio in (0, 1)")
        self.max_ratio = max_ratio
        self.model, self.target_latency, self.min_accuracy = model, target_latency, min_accuracy
        self.steps, self.fine_tune_epochs, self.device = steps, fine_tune_epochs, device

    def measure_latency(self, input_size: tuple[int, int] | None = None, device: str | None = None) -> float:
        """Median latency [ms] of one image of (height, width) in ONNX Runtime, one thread; device "cpu" or "cuda"."""
        model = self.model
        if input_size is not None and tuple(input_size) != model.img_size:
            model = copy.deepcopy(model)
            model.set_input_size(input_size)
        return latency_ms(model, device or self.device)

    def prune(
        self, fine_tune: Callable[[ViTPerception, int], None], accuracy: Callable[[ViTPerception], float]
    ) -> Pruned:
        """Prune step by step until `target_latency` holds, as far as `min_accuracy` allows.

        fine_tune(model, epochs) trains in place; accuracy(model) is any figure of which more is better. The result is
        the last model that kept `min_accuracy`; `end` says whether it is fast enough.
        """
        whole = accuracy(self.model)
        model, latency, kept, ratio = self.model, self.measure_latency(), 1.0, 0.0
        for step in range(1, self.steps + 1):
            if latency <= self.target_latency:
                break
            wanted = self.max_ratio * (1 - (1 - step / self.steps) ** 3)
            candidate = pruned_copy(model, 1 - (1 - wanted) / (1 - ratio))
            fine_tune(candidate, self.fine_tune_epochs)
            share = accuracy(candidate) / max(whole, 1e-9)
            if share < self.min_accuracy:
                return Pruned(model, PruningEnd.ACCURACY_LOST, latency, kept, ratio)
            model, latency, kept, ratio = candidate, latency_ms(candidate, self.device), share, wanted
        end = PruningEnd.TARGET_REACHED if latency <= self.target_latency else PruningEnd.NOTHING_LEFT
        return Pruned(model, end, latency, kept, ratio)


def pruned_copy(model: ViTPerception, ratio: float) -> ViTPerception:
    """A copy whose blocks lack that share of their hidden layers and `ATTENTION_SHARE` of it of their attention.

    Tokens keep their width, and the heads are whole: they take a small part of the time, and boxes are all in them.
    """
    model = copy.deepcopy(model).eval()
    blocks = model.backbone.vit.blocks
    ratios = {block.mlp.fc1: ratio for block in blocks} | {block.attn.qkv: ATTENTION_SHARE * ratio for block in blocks}
    torch_pruning.pruner.BasePruner(
        _Raw(model),
        torch.zeros(1, 3, *model.img_size),
        importance=torch_pruning.importance.GroupMagnitudeImportance(),
        pruning_ratio=0.0,
        pruning_ratio_dict=ratios,
        num_heads={block.attn.qkv: block.attn.num_heads for block in blocks},
        prune_head_dims=True,
        unwrapped_parameters=[(model.backbone.vit.pos_embed, 2)],
        round_to=ROUND_TO,
    ).step()
    describe_attention(model)
    return model


def latency_ms(model: ViTPerception, device: str = "cpu") -> float:
    """Median latency [ms] of all heads for one image in ONNX Runtime on one thread."""
    image = torch.zeros(1, 3, *model.img_size)
    graph = export_graph(model, {"image": image}, model.outputs, "perception.safetensors")
    engine = runtime.create(graph, weights_of(model), device, RuntimeOptions(threads=1))
    durations = []
    for _ in range(WARM_UP_RUNS + TIMED_RUNS):
        started = time.perf_counter()
        engine.run({"image": image.numpy()})
        durations.append(1e3 * (time.perf_counter() - started))
    engine.close()
    return float(np.median(durations[WARM_UP_RUNS:]))


class _Raw(nn.Module):
    """The model as torch-pruning traces it: tensors out."""

    def __init__(self, model: ViTPerception) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> list[Tensor]:
        return list(self.model.raw(image).values())
