"""A trained perception model as the files of a release, and back."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import safetensors.numpy
import torch

from fed_vit_autorl.edge import runtime

from .export import export_graph, weights_of
from .multimodal import MultiModalViT
from .perception import ViTPerception
from .shapes import shape_to

MODEL = "perception"


def perception_files(
    model: ViTPerception,
    golden_images: np.ndarray,
    graph: bytes = b"",
    golden_points: np.ndarray | None = None,
) -> tuple[dict[str, bytes], tuple[dict[str, np.ndarray], dict[str, np.ndarray]]]:
    """(`perception.onnx` and `perception.safetensors`, golden batch) of `model`.

    golden_images uint8 (G, H, W, 3) RGB of the model's input size. Weights are stored in half precision, and the golden
    outputs are those of the stored weights. graph: of a model of the same shapes, if it was exported before.
    golden_points float32 (G, N, 4), for a model with LiDAR.
    """
    graph = graph or export_perception(model)
    half = {name: tensor.astype(np.float16) for name, tensor in weights_of(model).items()}
    engine = runtime.create(graph, {name: tensor.astype(np.float32) for name, tensor in half.items()})
    inputs = {"image": np.ascontiguousarray(golden_images.transpose(0, 3, 1, 2))}
    if golden_points is not None:
        inputs["points"] = golden_points
    outputs = runtime.golden_outputs(engine, inputs)
    engine.close()
    return {f"{MODEL}.onnx": graph, f"{MODEL}.safetensors": safetensors.numpy.save(half)}, (inputs, outputs)


def export_perception(model: ViTPerception) -> bytes:
    """The ONNX graph of `model`, without weights."""
    return export_graph(model, model.example, model.outputs, f"{MODEL}.safetensors")


def build(architecture: Mapping, weights: Mapping[str, np.ndarray]) -> ViTPerception:
    """The model that a manifest's `architecture["perception"]` describes, with `weights`; pruned ones have fewer
    columns.

    Raises ValueError for an architecture that can't be built, RuntimeError for weights that don't fit it.
    """
    kind = MultiModalViT if "lidar_points" in architecture else ViTPerception
    model = kind(**architecture)
    shape_to(model, weights)
    model.load_state_dict({name: torch.from_numpy(np.array(tensor)) for name, tensor in weights.items()})
    return model
