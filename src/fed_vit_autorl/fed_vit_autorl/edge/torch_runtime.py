"""PyTorch behind `ModelRuntime`: the release's weights in the network itself, replayed as a CUDA graph on a GPU."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from fed_vit_autorl.deployment.release import Reason, ReleaseRefused
from fed_vit_autorl.models.packaging import build

from .runtime import ModelRuntime, RuntimeOptions, register

WARM_UP_RUNS = 3


class TorchRuntime(ModelRuntime):
    """A perception model in PyTorch on `device` ("cuda" or "cpu")."""

    provider = "torch"

    def __init__(self, architecture: Mapping, weights: Mapping[str, np.ndarray], device: str) -> None:
        self._device = torch.device(device)
        try:
            self._model = build(architecture, weights).to(self._device).eval().requires_grad_(False)
        except (ValueError, RuntimeError, TypeError) as error:
            raise ReleaseRefused(Reason.BAD_WEIGHTS, str(error)) from error
        self.input_shapes = {"image": (1, 3, *self._model.img_size)}
        self._image = torch.zeros(self.input_shapes["image"], device=self._device)
        self._graph: torch.cuda.CUDAGraph | None = None
        if self._device.type == "cuda":
            self._capture()

    @torch.inference_mode()
    def _capture(self) -> None:
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UP_RUNS):
                self._model(self._image)
        torch.cuda.current_stream().wait_stream(side)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._static = self._model(self._image)

    @torch.inference_mode()
    def _run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        self._image.copy_(torch.from_numpy(inputs["image"]))
        if self._graph is None:
            outputs = self._model(self._image)
        else:
            self._graph.replay()
            outputs = self._static
        return {name: tensor.cpu().numpy() for name, tensor in zip(self._model.outputs, outputs, strict=True)}

    def close(self) -> None:
        self._graph = self._model = None


@register("torch")
def _factory(graph: bytes, weights: Mapping[str, np.ndarray], options: RuntimeOptions) -> ModelRuntime:
    """The graph is not used: the network is built from the release's architecture."""
    if options.architecture is None:
        raise ReleaseRefused(Reason.BAD_MANIFEST, "PyTorch needs the model's architecture, and only perception has one")
    return TorchRuntime(options.architecture, weights, "cuda" if torch.cuda.is_available() else "cpu")
