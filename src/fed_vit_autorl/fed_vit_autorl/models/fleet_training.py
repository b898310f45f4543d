"""Federated training on one machine: vehicles are processes, updates go through the real pipeline and strategy."""

from __future__ import annotations

import math
import shutil
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
from fed_vit_autorl.data.datasets import Purpose, open_dataset
from fed_vit_autorl.data.sample import Sample
from fed_vit_autorl.deployment.fleet_config import FleetConfig
from fed_vit_autorl.federated.local import ProximalTerm
from fed_vit_autorl.federated.pipeline import Pipeline
from fed_vit_autorl.federated.selection import weighting
from fed_vit_autorl.federated.strategies import STRATEGIES
from fed_vit_autorl.federated.update import Layout, Tensors, Update, UpdateMetadata
from fed_vit_autorl.files import write_file

from .batches import Batches
from .packaging import build
from .training import Progress, Stretch, TrainingOptions, fit

PROGRESS = "progress.json"
OPTIMIZER, RESIDUAL = "optimizer.pt", "residual.safetensors"
AUGMENTATION = {"flip": 0.5, "crop": 0.4, "zoom": 0.4, "colour": 0.5, "light": 0.6}
KEPT_SAMPLES = 512
"""Decoded ones that a process keeps in memory: about 1.4 MB each for CamVid's pictures."""


@dataclass(frozen=True)
class VehicleTask:
    """One vehicle's training in one round, in a process of its own: steps up to `last` of the `options`.

    `before` and `after`: folders of what it remembers from round to round: its optimizer's memory (without which every
    round would begin with blind steps) and what compression kept back.
    """

    vehicle: str
    data: str
    indices: tuple[int, ...]
    architecture: Mapping
    base: Path
    before: Path
    after: Path
    round: int
    options: TrainingOptions
    last: int
    stages: list
    strategy: dict[str, float]


def train_vehicle(task: VehicleTask) -> bytes:
    """Wire bytes of the vehicle's update: trained minus global, through the fleet's stages."""
    torch.set_num_threads(1)
    weights = safetensors.numpy.load_file(task.base)
    model = build(task.architecture, weights)
    options, load = task.options, _reader(task.data)
    count = len(task.indices)
    batches = Batches(
        lambda drawn: load(task.indices[drawn]), count, model.img_size, options.batch_size, Augmenter(AUGMENTATION),
        options.seed,
    )  # fmt: skip
    terms = [ProximalTerm(model, task.strategy["proximal_mu"]).correct] if "proximal_mu" in task.strategy else []
    task.after.mkdir(parents=True, exist_ok=True)
    stretch = Stretch(task.last, task.before / OPTIMIZER, task.after / OPTIMIZER)
    losses = fit(model, batches, options, Progress(after_backward=terms), stretch=stretch)
    delta = {name: tensor.detach().numpy() - weights[name] for name, tensor in model.state_dict().items()}
    metadata = UpdateMetadata(task.round, task.round - 1, task.vehicle, count, losses)
    pipeline = Pipeline.from_config(task.stages, Layout.of(delta))
    if (task.before / RESIDUAL).exists():
        pipeline.load_state_dict(safetensors.numpy.load_file(task.before / RESIDUAL))
    encoded = pipeline.encode(Update(delta, metadata))
    safetensors.numpy.save_file(pipeline.state_dict(), task.after / RESIDUAL)
    return encoded


@lru_cache(1)
def _reader(data: str) -> Callable[[int], Sample]:
    """Samples of a data set by index; those read before are in memory, for the rounds that this process still does."""
    return lru_cache(KEPT_SAMPLES)(open_dataset(data, Purpose.TRAIN).load)


class Round(msgspec.Struct, frozen=True):
    """What a round left: `figures` of its model, `bytes` of each vehicle's update, the mean training `loss`."""

    round: int
    figures: dict
    bytes: dict[str, int]
    loss: float


class FleetTraining:
    """Rounds over a partition {vehicle: indices of `data`}; an interrupted run in `folder` is gone on with.

    The learning rate warms up and decays once, over all rounds: to a vehicle they are one training, whose weights are
    averaged with the others' on the way. All do as many steps in a round as the one with the most data, which the
    others would wait for: else who has a third of it, and does a third of the steps, counts for a ninth (Wang et al.,
    "Tackling the objective inconsistency problem in heterogeneous federated optimization", 2020).

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
        self.rounds: list[Round] = []
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / PROGRESS).exists():
            self.rounds = msgspec.json.decode((folder / PROGRESS).read_bytes(), type=list[Round])
            self.weights = safetensors.numpy.load_file(self._global(len(self.rounds)))
        else:
            self.weights = {name: tensor.astype(np.float32) for name, tensor in weights.items()}
            safetensors.numpy.save_file(self.weights, self._global(0))

    @property
    def dense_bytes(self) -> int:
        """Bytes of an update as dense float32."""
        return 4 * self._pipeline.layout.size

    def run(self, workers: Executor, report: Callable[[Round], None]) -> Tensors:
        """Trains until all rounds are done; the global model after the last."""
        while len(self.rounds) < self._rounds:
            done = self._round(len(self.rounds) + 1, workers)
            self.rounds.append(done)
            safetensors.numpy.save_file(self.weights, self._global(done.round))
            write_file(self._folder / PROGRESS, msgspec.json.encode(self.rounds))
            # Until here what the round began with was needed, to do it again.
            self._global(done.round - 1).unlink()
            for vehicle in self._parts:
                shutil.rmtree(self._memory(vehicle, done.round - 1), ignore_errors=True)
            report(done)
        return self.weights

    def _round(self, number: int, workers: Executor) -> Round:
        self._strategy.begin(self.weights, number)
        # the largest first: it decides how long the round takes
        order = sorted(self._parts, key=lambda vehicle: -len(self._parts[vehicle]))
        tasks = [self._task(vehicle, number) for vehicle in order]
        sent = dict(zip(order, workers.map(train_vehicle, tasks), strict=True))
        losses = []
        for vehicle in sorted(sent):
            update = self._pipeline.decode(sent[vehicle])
            self._strategy.add(update, self._weight(update.metadata))
            losses.append(sum(update.metadata.metrics.values()))
        self.weights = self._strategy.finish()
        sizes = {vehicle: len(encoded) for vehicle, encoded in sent.items()}
        return Round(number, self._evaluate(self.weights), sizes, float(np.mean(losses)))

    def _task(self, vehicle: str, number: int) -> VehicleTask:
        training, indices = self._config.training, tuple(self._parts[vehicle])
        largest = max(len(indices) for indices in self._parts.values())
        steps = math.ceil(training.epochs * largest / training.batch_size)
        options = TrainingOptions(
            steps=self._rounds * steps,
            batch_size=training.batch_size,
            learning_rate=self._config.federation.client_lr,
            seed=self._config.federation.seed,
        )
        before, after = (self._memory(vehicle, one) for one in (number - 1, number))
        return VehicleTask(
            vehicle, self._data, indices, self._architecture, self._global(number - 1), before, after, number, options,
            number * steps, self._config.stages, self._strategy.client_settings(),
        )  # fmt: skip

    def _global(self, number: int) -> Path:
        return self._folder / f"global_{number}.safetensors"

    def _memory(self, vehicle: str, number: int) -> Path:
        return self._folder / vehicle.replace("/", "_") / str(number)
