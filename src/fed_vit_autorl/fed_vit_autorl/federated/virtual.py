"""Vehicles and models without cars and networks: what simulations, chaos runs and tests put through the real protocol."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import safetensors.numpy

from .client import TrainingResult
from .objects import ObjectFolder
from .store import ReleaseRecord, Round, Store
from .update import Tensors
from .wire import Pointer, Task


class VirtualTrainer:
    """Its update is a function of vehicle, round and model alone: noise of norm `step` from a counter-based generator."""

    def __init__(self, vehicle: str, shapes: Mapping[str, tuple[int, ...]], samples: int = 32, step: float = 0.1) -> None:
        self._vehicle, self._shapes, self._samples, self._step = vehicle, dict(shapes), samples, step
        self._task: Task | None = None

    @property
    def running(self) -> bool:
        return self._task is not None

    def start(self, task: Task, release: Path, now: float) -> None:
        self._task = task

    def cancel(self) -> None:
        self._task = None

    def poll(self, now: float) -> TrainingResult | None:
        task, self._task = self._task, None
        if task is None:
            return None
        digest = hashlib.sha256(f"{self._vehicle}/{task.run}/{task.round}".encode()).digest()
        generator = np.random.Generator(np.random.Philox(int.from_bytes(digest[:8], "big")))
        delta = {name: generator.standard_normal(shape, np.float32) for name, shape in self._shapes.items()}
        norm = np.sqrt(sum(float(np.square(tensor).sum()) for tensor in delta.values()))
        scaled = {name: tensor * np.float32(self._step / norm) for name, tensor in delta.items()}
        return TrainingResult(scaled, self._samples, {"loss": 1.0 / (1 + task.round)})


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

    def publish(self, round: Round, weights: Tensors, metrics: dict[str, float]) -> int:
        version = round.base + 1
        digest = self._put(weights)
        self._store.add_release(
            ReleaseRecord(version, digest, "round", round.base, round.run, round.number, metrics, 0.0)
        )
        self._announce(version)
        return version

    def _put(self, weights: Tensors) -> str:
        return self._objects.put(safetensors.numpy.save(weights))
