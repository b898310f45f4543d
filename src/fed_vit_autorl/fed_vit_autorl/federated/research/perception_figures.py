"""What `FederatedVehicleRL` measures a perception model by: labelled samples through the torch model itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from ...data.sample import Sample
from ...evaluation.perceive import perceive_with
from ...evaluation.perception import PerceptionEvaluator
from ...models.perception import ViTPerception
from .facade import Evaluate


class _TorchRuntime:
    """A `ViTPerception` as a `ModelRuntime`, on the device where it is."""

    provider = "torch"

    def __init__(self, model: ViTPerception) -> None:
        self._model = model.eval()
        self.input_shapes = {"image": (1, 3, *model.img_size)}

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        image = torch.from_numpy(inputs["image"]).to(next(self._model.parameters()).device)
        with torch.inference_mode():
            outputs = self._model(image)
        return {name: output.cpu().numpy() for name, output in zip(self._model.outputs, outputs, strict=True)}

    def close(self) -> None:
        """Nothing is held."""


def perception_figures(samples: Sequence[Sample]) -> Evaluate:
    """For `FederatedVehicleRL(evaluate=…)`: `mAP` (COCO), `mAP50`, `latency` (median seconds an image) on `samples`."""

    def evaluate(model: torch.nn.Module) -> dict[str, float]:
        if not isinstance(model, ViTPerception):
            raise TypeError(f"perception is measured on a ViTPerception, not a {type(model).__name__}")
        was_training = model.training
        try:
            figures = PerceptionEvaluator().evaluate(perceive_with(_TorchRuntime(model)), samples)
        finally:
            model.train(was_training)
        return {
            "mAP": figures["map"],
            "mAP50": figures["map50"],
            "latency": figures["latency_ms"]["p50"] / 1e3,
        }

    return evaluate
