"""Vehicles and models without cars: what simulations, chaos runs and tests put through the real protocol."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import safetensors.numpy
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fed_vit_autorl.deployment import release

from ..cloud.records import ReleaseRecord, Round
from ..cloud.store import Store
from ..model_tensors import trainable
from ..objects import ObjectFolder
from ..protocol.wire import Pointer, Task
from ..update import Tensors
from ..vehicle.training import LocalTensors, TrainingResult

STEP = 0.1


def virtual_delta(vehicle: str, run: str, round: int, model: Tensors, step: float = STEP) -> Tensors:
    """What a virtual vehicle finds: noise of norm `step` from a counter-based generator, by its name and the round."""
    digest = hashlib.sha256(f"{vehicle}/{run}/{round}".encode()).digest()
    generator = np.random.Generator(np.random.Philox(int.from_bytes(digest[:8], "big")))
    delta = {name: generator.standard_normal(tensor.shape, np.float32) for name, tensor in model.items()}
    norm = np.sqrt(sum(float(np.square(tensor).sum()) for tensor in delta.values()))
    return {name: tensor * np.float32(step / norm) for name, tensor in delta.items()}


class VirtualTrainer:
    """Its update is a function of vehicle, round and the model's layout alone."""

    def __init__(self, vehicle: str, samples: int = 32, step: float = STEP) -> None:
        self._vehicle, self._samples, self._step = vehicle, samples, step
        self._job: tuple[Task, Path] | None = None

    @property
    def running(self) -> bool:
        return self._job is not None

    def start(self, task: Task, base: Path, local: LocalTensors, now: float) -> None:
        self._job = task, base

    def cancel(self) -> None:
        self._job = None

    def poll(self, now: float) -> TrainingResult | None:
        if self._job is None:
            return None
        (task, base), self._job = self._job, None
        weights = {path.stem: safetensors.numpy.load_file(path) for path in base.glob("*.safetensors")}
        model = trainable(
            {name: tensors for name, tensors in weights.items() if name not in ("golden", "control")},
            task.plan["trainable"],
        )
        delta = virtual_delta(self._vehicle, task.run, task.round, model, self._step)
        return TrainingResult(delta, self._samples, {"loss": 1.0 / (1 + task.round)})


class VirtualKeeper:
    """Has every release at once; models are not downloaded."""

    def __init__(self, folder: Path, version: int = 1) -> None:
        self._folder, self.version, self.metrics = folder, version, {}

    def folder(self, version: int) -> Path | None:
        return self._folder if version <= self.version else None

    def offer(self, pointer: Pointer) -> None:
        self.version = max(self.version, pointer.version)


class VirtualReleases:
    """A model of a few tensors whose releases are rows of the store and files beside it."""

    def __init__(
        self,
        store: Store,
        shapes: Mapping[str, tuple[int, ...]],
        announce: Callable[[int], None] = lambda version: None,
        quality: Callable[[Tensors], dict[str, float]] = lambda weights: {},
    ) -> None:
        """`announce(version)` is told of each release, `quality` is the evaluation."""
        self._store, self._announce, self._quality = store, announce, quality
        self.control: Tensors = {}  # beside the latest release
        self._objects: ObjectFolder = store.objects
        if not store.releases():
            first = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
            store.add_release(ReleaseRecord(1, self._put(first), "pretrained", 0, "", 0, self._quality(first), 0.0))

    @property
    def version(self) -> int:
        return self._store.releases()[-1].version

    def digest(self, version: int) -> str:
        """SHA-256 of a release's weights."""
        return next(record.digest for record in self._store.releases() if record.version == version)

    def weights(self, version: int) -> Tensors:
        return safetensors.numpy.load(self._objects.read(self.digest(version)))

    def evaluate(self, version: int, weights: Tensors | None) -> dict[str, float]:
        return self._quality(self.weights(version) if weights is None else weights)

    def publish(self, round: Round, weights: Tensors, metrics: dict[str, float], control: Tensors) -> int:
        version = round.base + 1
        self.control = control
        digest = self._put(self.weights(round.base) | weights)
        self._store.add_release(
            ReleaseRecord(version, digest, "round", round.base, round.run, round.number, metrics, 0.0)
        )
        self._announce(version)
        return version

    def _put(self, weights: Tensors) -> str:
        return self._objects.put(safetensors.numpy.save(weights))


def write_linear_release(folder: Path, key: Ed25519PrivateKey, width: int) -> None:
    """A signed release of one model, `linear`: y = x W + b with W = 1 (width, width), b = 0."""
    import onnx

    weights = {"weight": np.eye(width, dtype=np.float32), "bias": np.zeros(width, np.float32)}
    initializers = []
    for name, array in weights.items():
        tensor = onnx.TensorProto(name=name, data_type=onnx.TensorProto.FLOAT, dims=array.shape)
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="linear.safetensors")
        initializers.append(tensor)
    helper = onnx.helper
    nodes = [helper.make_node("MatMul", ["x", "weight"], ["p"]), helper.make_node("Add", ["p", "bias"], ["y"])]
    ends = [[helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, (1, width))] for name in ("x", "y")]
    graph = helper.make_graph(nodes, "linear", *ends, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    ones = np.ones((1, width), np.float32)
    files = {
        "linear.onnx": model.SerializeToString(),
        "linear.safetensors": safetensors.numpy.save(weights),
        release.GOLDEN: release.pack_golden({"linear": ({"x": ones}, {"y": ones})}),
        release.CARD: b"# A linear model for simulations of the protocol\n",
    }
    release.write_release(folder, files, key, version=1, architecture={"linear": {"width": width}})
