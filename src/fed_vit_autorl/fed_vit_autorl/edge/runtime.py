"""One interface over the engines that run a model, and the loading of a verified release through it.

A graph (`<model>.onnx`) holds no weights: its external initializers carry the names of the tensors of
`<model>.safetensors`, which are injected when a session is made. New weights therefore need no export.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from fed_vit_autorl.deployment import release
from fed_vit_autorl.deployment.release import Manifest, Reason, ReleaseRefused

from .engine_cache import EngineCache
from .prepared import prepared
from .profiles import PROFILES
from .refusal import RuntimeReason, RuntimeRefused


@dataclass(frozen=True)
class RuntimeOptions:
    """threads: threads of one inference. cache: folder of engines and of lighter forms that were made before.

    `load` fills in the model's architecture, for providers that build the network themselves, and the profile in force.
    """

    threads: int = 1
    cache: Path | None = None
    architecture: Mapping | None = None
    profile: str = "full"


class ModelRuntime(ABC):
    """A loaded model. `input_shapes` maps names to shapes (the batch is 1), `provider` names the engine that runs
    it."""

    provider: str
    input_shapes: dict[str, tuple[int, ...]]

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs by name, float32. Inputs are float32 of `input_shapes`; raises RuntimeRefused(bad_inputs)."""
        if inputs.keys() != self.input_shapes.keys():
            raise RuntimeRefused(RuntimeReason.BAD_INPUTS, f"takes {sorted(self.input_shapes)}, got {sorted(inputs)}")
        for name, array in inputs.items():
            if array.shape != self.input_shapes[name] or array.dtype != np.float32:
                expected = f"float32 {self.input_shapes[name]}"
                raise RuntimeRefused(RuntimeReason.BAD_INPUTS, f"{name} is {array.dtype} {array.shape}, not {expected}")
        return self._run(inputs)

    @abstractmethod
    def _run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]: ...

    @abstractmethod
    def close(self) -> None:
        """Free the engine; the runtime can't be used afterwards."""


Factory = Callable[[bytes, Mapping[str, np.ndarray], RuntimeOptions], ModelRuntime]
RUNTIMES: dict[str, Factory] = {}
ELSEWHERE = {
    "torch": "fed_vit_autorl.edge.torch_runtime",
    "native_tensorrt": "fed_vit_autorl.edge.native_tensorrt",
}
"""Runtimes with heavy imports: the module that registers each, imported when it is asked for."""


def register(name: str) -> Callable[[Factory], Factory]:
    """Decorator: make a runtime available to `create` by name."""

    def add(factory: Factory) -> Factory:
        RUNTIMES[name] = factory
        return factory

    return add


def create(
    graph: bytes, weights: Mapping[str, np.ndarray], provider: str = "cpu", options: RuntimeOptions = RuntimeOptions()
) -> ModelRuntime:
    """A runtime of the registered `provider`. Raises RuntimeRefused, and ReleaseRefused when graph and weights don't
    fit."""
    if provider in ELSEWHERE:
        importlib.import_module(ELSEWHERE[provider])
    if provider not in RUNTIMES:
        known = ", ".join(sorted(RUNTIMES.keys() | ELSEWHERE.keys()))
        raise RuntimeRefused(RuntimeReason.UNKNOWN_PROVIDER, f"{provider!r}; known: {known}")
    return RUNTIMES[provider](graph, weights, options)


def load(
    folder: Path,
    manifest: Manifest,
    model: str = "perception",
    provider: str = "cpu",
    options: RuntimeOptions = RuntimeOptions(),
    expected_inputs: Mapping[str, tuple[int, ...]] | None = None,
    profile: str = "full",
) -> ModelRuntime:
    """Load `model` of a release that `release.verify` has passed, warm, its golden batch checked.

    `expected_inputs`: what the caller will feed, refused as bad_inputs when the model takes something else. `profile`:
    a name of `profiles.PROFILES`. Raises ReleaseRefused (bad_digest, bad_graph, bad_weights, bad_inputs,
    golden_mismatch …) or RuntimeRefused.
    """
    if profile not in PROFILES:
        raise RuntimeRefused(RuntimeReason.UNKNOWN_PROFILE, f"{profile!r}; known: {', '.join(PROFILES)}")
    graph = release.read_file(folder, manifest, f"{model}.onnx")
    weights = release.read_weights(folder, manifest, model)
    golden = release.unpack_golden(release.read_file(folder, manifest, release.GOLDEN), model)
    check_weights(graph, weights)
    options = replace(options, architecture=manifest.architecture.get(model), profile=profile)
    lighter = prepared(graph, weights, as_floats(golden[0]), profile, EngineCache(options.cache))
    runtime = create(*lighter, provider, options)
    try:
        if expected_inputs is not None and dict(expected_inputs) != runtime.input_shapes:
            found = f"takes {runtime.input_shapes}, the caller feeds {dict(expected_inputs)}"
            raise ReleaseRefused(Reason.BAD_INPUTS, found)
        check_golden(runtime, *golden, PROFILES[profile].tolerance)
    except BaseException:
        runtime.close()
        raise
    return runtime


def as_floats(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Inputs as a model takes them: uint8 stands for value / 255."""
    return {
        name: array.astype(np.float32) / 255 if array.dtype == np.uint8 else array for name, array in inputs.items()
    }


def golden_outputs(runtime: ModelRuntime, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Run a golden batch row by row; the batch is the first axis of inputs and outputs, uint8 stands for value /
    255."""
    scaled = as_floats(inputs)
    count = min((len(array) for array in scaled.values()), default=0)
    try:
        rows = [runtime.run({name: array[row : row + 1] for name, array in scaled.items()}) for row in range(count)]
    except RuntimeRefused as error:
        raise ReleaseRefused(Reason.BAD_INPUTS, f"golden batch: {error.detail}") from error
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]} if rows else {}


def golden_error(outputs: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> float:
    """The worst output's error: norm of the difference over norm of the expected values."""
    return max(
        float(np.linalg.norm(outputs[name] - expected[name]) / max(np.linalg.norm(expected[name]), 1e-3))
        for name in expected
    )


def check_golden(
    runtime: ModelRuntime,
    inputs: Mapping[str, np.ndarray],
    expected: Mapping[str, np.ndarray],
    tolerance: float = PROFILES["full"].tolerance,
) -> None:
    """Raise ReleaseRefused(golden_mismatch) unless the runtime reproduces the golden outputs within `tolerance`."""
    outputs = golden_outputs(runtime, inputs)
    if not expected or {n: a.shape for n, a in outputs.items()} != {n: a.shape for n, a in expected.items()}:
        raise ReleaseRefused(Reason.GOLDEN_MISMATCH, "no golden batch, or its outputs are not the model's")
    error = golden_error(outputs, expected)
    if not error <= tolerance:  # NaN is no match either
        raise ReleaseRefused(Reason.GOLDEN_MISMATCH, f"off by {error:.3g}, at most {tolerance:.3g}")


@dataclass
class OnnxRuntime(ModelRuntime):
    """ONNX Runtime with one of its execution providers."""

    session: onnxruntime.InferenceSession
    provider: str
    input_shapes: dict[str, tuple[int, ...]] = field(init=False)

    def __post_init__(self) -> None:
        self.input_shapes = {entry.name: tuple(entry.shape) for entry in self.session.get_inputs()}
        self._outputs = [entry.name for entry in self.session.get_outputs()]

    def _run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return dict(zip(self._outputs, self.session.run(self._outputs, dict(inputs)), strict=True))

    def close(self) -> None:
        del self.session


def external_initializers(graph: bytes) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the weights that a graph expects to be given. Raises ReleaseRefused(bad_graph)."""
    try:
        model = onnx.ModelProto.FromString(graph)
    except Exception as error:  # protobuf's DecodeError differs by its backend
        raise ReleaseRefused(Reason.BAD_GRAPH, "not an ONNX model") from error
    return {
        entry.name: tuple(entry.dims)
        for entry in model.graph.initializer
        if entry.data_location == onnx.TensorProto.EXTERNAL
    }


def check_weights(graph: bytes, weights: Mapping[str, np.ndarray]) -> list[str]:
    """Names of the weights that the graph is to be given. Raises ReleaseRefused (bad_graph, bad_weights)."""
    wanted = external_initializers(graph)
    for name, shape in wanted.items():
        if name not in weights or weights[name].shape != shape:
            found = weights[name].shape if name in weights else "nothing"
            raise ReleaseRefused(Reason.BAD_WEIGHTS, f"{name}: the graph wants {shape}, the weights hold {found}")
    return list(wanted)


def _session(
    graph: bytes, weights: Mapping[str, np.ndarray], options: RuntimeOptions, providers: list
) -> onnxruntime.InferenceSession:
    wanted = check_weights(graph, weights)
    session_options = onnxruntime.SessionOptions()
    session_options.intra_op_num_threads = options.threads
    session_options.inter_op_num_threads = 1
    session_options.log_severity_level = 3  # its constant folding warns of every cast that it leaves to run time
    session_options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # two vehicles may share two cores
    values = [onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(weights[name])) for name in wanted]
    session_options.add_external_initializers(wanted, values)
    try:
        return onnxruntime.InferenceSession(graph, session_options, providers=providers)
    except Exception as error:  # ONNX Runtime raises a class per status code, all direct children of Exception
        raise ReleaseRefused(Reason.BAD_GRAPH, str(error)) from error


def _onnx_factory(name: str, execution_provider: str, provider_options: Callable[[RuntimeOptions], dict]) -> None:
    @register(name)
    def factory(graph: bytes, weights: Mapping[str, np.ndarray], options: RuntimeOptions) -> ModelRuntime:
        if execution_provider not in onnxruntime.get_available_providers():
            raise RuntimeRefused(RuntimeReason.PROVIDER_UNAVAILABLE, f"this ONNX Runtime has no {execution_provider}")
        session = _session(graph, weights, options, [(execution_provider, provider_options(options))])
        if execution_provider not in session.get_providers():
            raise RuntimeRefused(
                RuntimeReason.PROVIDER_UNAVAILABLE, f"{execution_provider} did not start on this machine"
            )
        return OnnxRuntime(session, name)


_onnx_factory("cpu", "CPUExecutionProvider", lambda options: {})
_onnx_factory("cuda", "CUDAExecutionProvider", lambda options: {"use_tf32": "0"})
_onnx_factory(
    "tensorrt",
    "TensorrtExecutionProvider",
    lambda options: {
        "trt_fp16_enable": "0",
        "trt_engine_cache_enable": "1" if options.cache else "0",
        **({"trt_engine_cache_path": str(options.cache)} if options.cache else {}),
    },
)
