"""Precision profiles: lighter forms of a model, made from its graph and weights on the vehicle.

A release ships one graph and one set of weights; a profile turns them into what a runtime is given. Each names how far
its outputs may be from the golden ones: a profile that ruins a model is refused when it is loaded.
"""

from __future__ import annotations

import importlib
import logging
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import onnxruntime

Tensors = Mapping[str, np.ndarray]
Model = tuple[bytes, Tensors]
"""Graph, and the weights that are not in it."""


@dataclass(frozen=True)
class Profile:
    """`make` turns a model into its lighter form, all of it in the graph; `tolerance` is the relative error that its
    golden outputs may have; `instant` is one that leaves the model as it is.

    Some forms need to see what the model will see: samples are float32 inputs by name, their batch the first axis.
    """

    make: Callable[[bytes, Tensors, Tensors], Model]
    tolerance: float
    instant: bool = False


class Rows:
    """Samples as ONNX Runtime's calibration reads them: one after the other, then None."""

    def __init__(self, samples: Tensors) -> None:
        count = min((len(array) for array in samples.values()), default=0)
        if not count:
            raise ValueError("static quantisation needs samples to see the activations' ranges on")
        self._rows = iter([{name: array[i : i + 1] for name, array in samples.items()} for i in range(count)])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._rows, None)


def full(graph: bytes, weights: Tensors, samples: Tensors) -> Model:
    """As it is."""
    return graph, weights


def int8_static(graph: bytes, weights: Tensors, samples: Tensors) -> Model:
    """Matrix products in 8 bits, activations scaled once for all by what `samples` make of them, around zero: TensorRT
    takes no other.
    """
    quantization = _quietly("onnxruntime.quantization")
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, "int8.onnx")
        quantization.quantize_static(
            folded(graph, weights),
            target,
            Rows(samples),
            op_types_to_quantize=["MatMul"],
            per_channel=True,
            activation_type=quantization.QuantType.QInt8,
            weight_type=quantization.QuantType.QInt8,
            extra_options={"ActivationSymmetric": True},
        )
        return target.read_bytes(), {}


def int8(graph: bytes, weights: Tensors, samples: Tensors) -> Model:
    """Matrix products in 8 bits: weights per channel, activations scaled as they come (dynamic quantisation)."""
    quantization = _quietly("onnxruntime.quantization")
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "folded.onnx"), Path(folder, "int8.onnx")
        source.write_bytes(folded(graph, weights).SerializeToString())
        quantization.quantize_dynamic(
            source,
            target,
            op_types_to_quantize=["MatMul"],
            per_channel=True,
            weight_type=quantization.QuantType.QInt8,
        )
        return target.read_bytes(), {}


def int4(graph: bytes, weights: Tensors, samples: Tensors) -> Model:
    """Matrices in 4 bits, in blocks of 32 with a scale each: a model of less than half the size, not a faster one."""
    make = _quietly("onnxruntime.quantization.matmul_nbits_quantizer").MatMulNBitsQuantizer
    quantiser = make(folded(graph, weights), block_size=32, is_symmetric=True, accuracy_level=4)
    quantiser.process()
    return quantiser.model.model.SerializeToString(), {}


def half(graph: bytes, weights: Tensors, samples: Tensors) -> Model:
    """Half precision throughout, for GPUs; inputs and outputs stay float32."""
    float16 = _quietly("onnxruntime.transformers.float16")
    model = float16.convert_float_to_float16(folded(graph, weights), keep_io_types=True)
    return model.SerializeToString(), {}


PROFILES: dict[str, Profile] = {
    "full": Profile(full, 1e-3, instant=True),
    "int8": Profile(int8, 0.05),
    "int8_static": Profile(int8_static, 0.2),
    "int4": Profile(int4, 0.2),
    "half": Profile(half, 0.02),
}


def input_shapes(graph: bytes) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a graph's inputs."""
    inputs = onnx.ModelProto.FromString(graph).graph.input
    return {entry.name: tuple(side.dim_value for side in entry.type.tensor_type.shape.dim) for entry in inputs}


def embedded(graph: bytes, weights: Tensors) -> onnx.ModelProto:
    """The model with its weights inside."""
    model = onnx.ModelProto.FromString(graph)
    for tensor in model.graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            tensor.ClearField("external_data")
            tensor.data_location = onnx.TensorProto.DEFAULT
            tensor.raw_data = np.ascontiguousarray(weights[tensor.name], np.float32).tobytes()
    return model


def folded(graph: bytes, weights: Tensors) -> onnx.ModelProto:
    """The model with its weights inside and its constants folded, matrix products left as such."""
    model = embedded(graph, weights)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 3
    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = str(Path(folder, "folded.onnx"))
        onnxruntime.InferenceSession(
            model.SerializeToString(),
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=["MatMulAddFusion"],
        )
        return onnx.load(options.optimized_model_filepath)


def _quietly(module: str) -> ModuleType:
    """A tool of ONNX Runtime, imported when it is needed and kept from configuring everybody's logging."""
    guard = logging.NullHandler()
    logging.root.addHandler(guard)
    try:
        imported = importlib.import_module(module)
    finally:
        logging.root.removeHandler(guard)
    logging.getLogger(module).setLevel(logging.WARNING)
    return imported
