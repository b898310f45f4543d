"""Federated training on one machine: vehicles are processes, updates go through the real pipeline and strategy."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import msgspec
import numpy as np
import safetensors.numpy
import torch

from fed_vit_autorl.data.augmentation import Augmenter
from fed_vit_autorl.data.datasets import Purpose, Subset, open_dataset
from fed_vit_autorl.deployment.fleet_config import FleetConfig
from fed_vit_autorl.federated.local import ProximalTerm
from fed_vit_autorl.federated.pipeline import Pipeline
from fed_vit_autorl.federated.selection import weighting
from fed_vit_autorl.federated.strategies import STRATEGIES
from fed_vit_autorl.federated.update import Layout, Tensors, Update, UpdateMetadata

from .batches import Batches
from .packaging import build
from .training import Progress, TrainingOptions, fit

GLOBAL, PROGRESS = "global.safetensors", "progress.json"
AUGMENTATION = {"flip": 0.5, "crop": 0.4, "zoom": 0.4, "colour": 0.5, "light": 0.6}
KEPT_SAMPLES = 512
"""Decoded ones that a vehicle's training keeps in memory: about 1.4 MB each for CamVid's pictures."""
FINAL_RATE = 0.1
"""Share of the learning rate that is left in the last round."""


@dataclass(frozen=True)
class VehicleTask:
    """One vehicle's training in one round, in a process of its own; `folder` keeps what it remembers between rounds."""

    vehicle: str
    data: str
    indices: tuple[int, ...]
    architecture: Mapping
    base: Path
    folder: Path
    round: int
    options: TrainingOptions
    stages: list
    strategy: dict[str, float]


def train_vehicle(task: VehicleTask) -> bytes:
    """Wire bytes of the vehicle's update: trained minus global, through the fleet's stages."""
    torch.set_num_threads(1)
    weights = safetensors.numpy.load_file(task.base)
    model = build(task.architecture, weights)
    data = Subset(open_dataset(task.data, Purpose.TRAIN), task.indices)
    options = task.options
    load = lru_cache(KEPT_SAMPLES)(data.load)
    batches = Batches(load, len(data), model.img_size, options.batch_size, Augmenter(AUGMENTATION), options.seed)
    terms = [ProximalTerm(model, task.strategy["proximal_mu"]).correct] if "proximal_mu" in task.strategy else []
    losses = fit(model, batches, options, Progress(after_backward=terms))
    delta = {name: tensor.detach().numpy() - weights[name] for name, tensor in model.state_dict().items()}
    metadata = UpdateMetadata(task.round, task.round - 1, task.vehicle, len(data), losses)
    pipeline = Pipeline.from_config(task.stages, Layout.of(delta))
    residual = task.folder / "residual.safetensors"
    if residual.exists():
        pipeline.load_state_dict(safetensors.numpy.load_file(residual))
    encoded = pipeline.encode(Update(delta, metadata))
    task.folder.mkdir(parents=True, exist_ok=True)
    safetensors.numpy.save_file(pipeline.state_dict(), residual)
    return encoded


class Round(msgspec.Struct, frozen=True):
    """What a round left: `figures` of its model, `bytes` of each vehicle's update, the mean training `loss`."""

    round: int
    figures: dict
    bytes: dict[str, int]
    loss: float


class FleetTraining:
    """Rounds over a partition {vehicle: indices of `data`}; an interrupted run in `folder` is gone on with.

    `weights` are those of round 0; `evaluate` gives the figures of a model after each round.
    """

    def __init__(
        self,
        config: FleetConfig,
        data: str,
        parts: Mapping[str, Sequence[int]],
        rounds: int,
        architecture: Mapping,
        weights: Tensors,
        folder: Path,
        evaluate: Callable[[Tensors], dict],
    ) -> None:
        self._config, self._data, self._parts, self._rounds = config, data, dict(parts), rounds
        self._architecture, self._folder, self._evaluate = architecture, folder, evaluate
        self._strategy = STRATEGIES.build(config.strategy)
        self._weight = weighting(config.federation.weighting)
        self._pipeline = Pipeline.from_config(config.stages, Layout.of(weights))
        self.weights = {name: tensor.astype(np.float32) for name, tensor in weights.items()}
        self.rounds: list[Round] = []
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / PROGRESS).exists():
            self.rounds = msgspec.json.decode((folder / PROGRESS).read_bytes(), type=list[Round])
            self.weights = safetensors.numpy.load_file(folder / GLOBAL)

    @property
    def dense_bytes(self) -> int:
        """Bytes of an update as dense float32."""
        return 4 * self._pipeline.layout.size

    def run(self, workers: Executor, report: Callable[[Round], None]) -> Tensors:
        """Trains until all rounds are done; the global model after the last."""
        while len(self.rounds) < self._rounds:
            done = self._round(len(self.rounds) + 1, workers)
            self.rounds.append(done)
            safetensors.numpy.save_file(self.weights, self._folder / GLOBAL)
            (self._folder / PROGRESS).write_bytes(msgspec.json.encode(self.rounds))
            report(done)
        return self.weights

    def _round(self, number: int, workers: Executor) -> Round:
        base = self._folder / "base.safetensors"
        safetensors.numpy.save_file(self.weights, base)
        self._strategy.begin(self.weights, number)
        # the largest first: it decides how long the round takes
        order = sorted(self._parts, key=lambda vehicle: -len(self._parts[vehicle]))
        tasks = [self._task(vehicle, base, number) for vehicle in order]
        sent = dict(zip(order, workers.map(train_vehicle, tasks), strict=True))
        losses = []
        for vehicle in sorted(sent):
            update = self._pipeline.decode(sent[vehicle])
            self._strategy.add(update, self._weight(update.metadata))
            losses.append(sum(update.metadata.metrics.values()))
        self.weights = self._strategy.finish()
        sizes = {vehicle: len(encoded) for vehicle, encoded in sent.items()}
        return Round(number, self._evaluate(self.weights), sizes, float(np.mean(losses)))

    def _task(self, vehicle: str, base: Path, number: int) -> VehicleTask:
        training, indices = self._config.training, tuple(self._parts[vehicle])
        left = FINAL_RATE + (1 - FINAL_RATE) * 0.5 * (1 + math.cos(math.pi * (number - 1) / self._rounds))
        options = TrainingOptions(
            steps=math.ceil(training.epochs * len(indices) / training.batch_size),
            batch_size=training.batch_size,
            learning_rate=self._config.federation.client_lr * left,
            seed=1000 * self._config.federation.seed + number,
        )
        folder = self._folder / vehicle.replace("/", "_")
        return VehicleTask(
            vehicle, self._data, indices, self._architecture, base, folder, number, options, self._config.stages,
            self._strategy.client_settings(),
        )  # fmt: skip
