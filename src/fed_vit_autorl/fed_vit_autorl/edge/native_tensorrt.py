"""TensorRT behind `ModelRuntime`: engines are built offline, gated, cached, and only loaded here.

Written to the documented API of TensorRT 10 and 11: networks are strongly typed, so the graph's profile (`full`,
`half`) is the engine's precision. Buffers are PyTorch tensors.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from types import ModuleType

import numpy as np
import torch

from fed_vit_autorl.deployment.release import Reason, ReleaseRefused

from .engine_cache import EngineCache, EngineKey, digest_of
from .profiles import embedded, input_shapes
from .refusal import RuntimeReason, RuntimeRefused
from .runtime import ModelRuntime, RuntimeOptions, register

WORKSPACE_BYTES = 1 << 30


class TensorRtRuntime(ModelRuntime):
    """A deserialised engine with fixed shapes and its input and output buffers on the GPU."""

    provider = "native_tensorrt"

    def __init__(self, plan: bytes) -> None:
        trt = _tensorrt()
        self._engine = trt.Runtime(trt.Logger(trt.Logger.WARNING)).deserialize_cuda_engine(plan)
        if self._engine is None:
            raise RuntimeRefused(
                RuntimeReason.ENGINE_NOT_BUILT, "TensorRT does not take the cached engine; build it again"
            )
        self._context = self._engine.create_execution_context()
        self._stream = torch.cuda.Stream()
        self._buffers: dict[str, torch.Tensor] = {}
        self._outputs: list[str] = []
        self.input_shapes = {}
        for index in range(self._engine.num_io_tensors):
            name = self._engine.get_tensor_name(index)
            shape = tuple(self._engine.get_tensor_shape(name))
            self._buffers[name] = torch.empty(shape, dtype=torch.float32, device="cuda")
            self._context.set_tensor_address(name, self._buffers[name].data_ptr())
            if self._engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT:
                self.input_shapes[name] = shape
            else:
                self._outputs.append(name)

    def _run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        with torch.cuda.stream(self._stream):
            for name, array in inputs.items():
                self._buffers[name].copy_(torch.from_numpy(array), non_blocking=True)
            self._context.execute_async_v3(self._stream.cuda_stream)
            found = {name: self._buffers[name].to("cpu", non_blocking=True) for name in self._outputs}
        self._stream.synchronize()
        return {name: tensor.numpy() for name, tensor in found.items()}

    def close(self) -> None:
        self._context = self._engine = None
        self._buffers.clear()


def engine_key(graph: bytes, weights: Mapping[str, np.ndarray], precision: str) -> EngineKey:
    """What an engine for this graph on this machine's GPU is kept under. Raises RuntimeRefused without TensorRT or
    GPU."""
    trt = _tensorrt()
    if not torch.cuda.is_available():
        raise RuntimeRefused(RuntimeReason.PROVIDER_UNAVAILABLE, "there is no GPU here")
    major, minor = torch.cuda.get_device_capability()
    return EngineKey(
        graph=hashlib.sha256(graph).hexdigest(),
        weights=digest_of(weights),
        builder=f"tensorrt {trt.__version__}",
        device=f"{torch.cuda.get_device_name()} {major}.{minor}",
        precision=precision,
        shapes=input_shapes(graph),
    )


def build_engine(graph: bytes, weights: Mapping[str, np.ndarray]) -> bytes:
    """A serialised engine; takes minutes. Raises ReleaseRefused(bad_graph) with TensorRT's own words."""
    trt = _tensorrt()
    logger = trt.Logger(trt.Logger.WARNING)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(embedded(graph, weights).SerializeToString()):
        raise ReleaseRefused(Reason.BAD_GRAPH, "; ".join(str(parser.get_error(i)) for i in range(parser.num_errors)))
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, WORKSPACE_BYTES)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise ReleaseRefused(Reason.BAD_GRAPH, "TensorRT built no engine; its log says why")
    return bytes(plan)


@register("native_tensorrt")
def _factory(graph: bytes, weights: Mapping[str, np.ndarray], options: RuntimeOptions) -> ModelRuntime:
    """Never builds: an engine that is not in the cache is refused, with the command that builds it."""
    plan = EngineCache(options.cache).get(engine_key(graph, weights, options.profile))
    if plan is None:
        detail = f"run: fedvit engine build --profile {options.profile}"
        raise RuntimeRefused(RuntimeReason.ENGINE_NOT_BUILT, detail)
    return TensorRtRuntime(plan)


def _tensorrt() -> ModuleType:
    try:
        import tensorrt
    except ImportError as error:
        raise RuntimeRefused(
            RuntimeReason.PROVIDER_UNAVAILABLE, "TensorRT's Python package is not installed"
        ) from error
    return tensorrt
