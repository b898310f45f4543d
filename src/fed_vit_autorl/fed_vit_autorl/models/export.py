"""Export to ONNX graphs whose weights stay outside, under the names of the state dict."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import torch
from torch import Tensor, nn


def export_graph(model: nn.Module, inputs: Mapping[str, Tensor], outputs: Sequence[str], weights_file: str) -> bytes:
    """The ONNX graph of `model` for example `inputs` (fixed shapes), its parameters declared as external initializers.

    The initializers name `weights_file`, but `edge.runtime` injects them by name. No constant is folded, so that every
    parameter keeps its state-dict name. Raises ValueError when a tensor of the state dict is not in the graph.
    """
    training = model.training
    model.eval()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            model,
            tuple(inputs.values()),
            input_names=list(inputs),
            output_names=list(outputs),
            dynamo=True,
            optimize=False,
            opset_version=20,
            verbose=False,
        )
    model.train(training)
    proto = program.model_proto
    names = set(model.state_dict())
    if missing := names - {tensor.name for tensor in proto.graph.initializer}:
        raise ValueError(f"tensors that the graph does not use: {', '.join(sorted(missing))}")
    for tensor in proto.graph.initializer:
        if tensor.name in names:
            tensor.ClearField("raw_data")
            tensor.ClearField("external_data")
            tensor.data_location = onnx.TensorProto.EXTERNAL
            tensor.external_data.add(key="location", value=weights_file)
    proto.graph.ClearField("value_info")
    proto.graph.ClearField("metadata_props")
    for node in proto.graph.node:
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    return proto.SerializeToString()


def weights_of(model: nn.Module) -> dict[str, np.ndarray]:
    """The state dict as float32 numpy arrays."""
    return {name: tensor.detach().cpu().float().numpy() for name, tensor in model.state_dict().items()}
