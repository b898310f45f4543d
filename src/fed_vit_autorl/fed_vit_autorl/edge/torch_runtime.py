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
        self._inputs = {name: tensor.to(self._device) for name, tensor in self._model.example.items()}
        self.input_shapes = {name: tuple(tensor.shape) for name, tensor in self._inputs.items()}
        self._graph: torch.cuda.CUDAGraph | None = None
        if self._device.type == "cuda":
            self._capture()

    @torch.inference_mode()
    def _capture(self) -> None:
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UP_RUNS):
                self._model(*self._inputs.values())
        torch.cuda.current_stream().wait_stream(side)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._static = self._model(*self._inputs.values())

    @torch.inference_mode()
    def _run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        for name, tensor in self._inputs.items():
            tensor.copy_(torch.from_numpy(inputs[name]))
        if self._graph is None:
            outputs = self._model(*self._inputs.values())
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
