"""``fedvit federate``: the vehicles of a data set train one model together, each on its own drives."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import click
import cv2
import numpy as np
import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from numpy.typing import NDArray

from fed_vit_autorl.cli.output import CommandError, emit, json_option
from fed_vit_autorl.data.datasets import Dataset, Purpose, Subset, open_dataset
from fed_vit_autorl.deployment import fleet_config, keys, release
from fed_vit_autorl.deployment.fleet_config import FleetConfig
from fed_vit_autorl.deployment.processes import end_with_parent
from fed_vit_autorl.deployment.release import Manifest
from fed_vit_autorl.edge import runtime
from fed_vit_autorl.evaluation.perceive import perceive_with
from fed_vit_autorl.evaluation.perception import PerceptionEvaluator, semantic_classes
from fed_vit_autorl.evaluation.released import TRUSTED, release_options, verified
from fed_vit_autorl.evaluation.segments import side_by_side
from fed_vit_autorl.federated.update import Tensors

from .export import weights_of
from .fleet_training import FleetTraining, Round
from .packaging import MODEL, build, export_perception, perception_files
from .perception import ViTPerception

CONFIG = Path("config/federate.yaml")
HELD_OUT_SHARE = 0.2
TRAINING_SCALE = 0.75
"""Training enlarges crops, so that objects in a smaller picture look as large as in the full one, at half the cost
(Touvron et al., "Fixing the train-test resolution discrepancy", 2019).
"""
MAX_PIXELS = 352 * 480
"""The vehicles see in their pictures' own size up to this; in less, poles and people are narrower than what is told."""
SIGNING_KEY = TRUSTED[1] / "release.key"
GOLDEN_IMAGES = 2
PICTURE, PICTURE_WIDTH = "held_out.png", 1080
FIGURES = ("miou", "per_class", "pixel_accuracy", "map", "map50", "free_space_iou", "lane_iou", "drivable_iou")


@dataclass(frozen=True)
class Split:
    """Indices of the data set per vehicle, to train on and held out: the end of each drive."""

    train: dict[str, list[int]]
    held_out: dict[str, list[int]]

    @classmethod
    def of(cls, sources: Sequence[str], share: float) -> Split:
        train, held_out = {}, {}
        for name in sorted(set(sources)):
            indices = [index for index, source in enumerate(sources) if source == name]
            count = len(indices) - round(share * len(indices))
            train[name], held_out[name] = indices[:count], indices[count:]
        return cls(train, held_out)


class Scorer:
    """Figures of a model on held-out frames, through ONNX Runtime as a vehicle would run it."""

    def __init__(self, graph: bytes, data: Dataset, held_out: dict[str, list[int]]) -> None:
        self._graph, self._data, self._held_out = graph, data, held_out

    def __call__(self, weights: Tensors, vehicles: Sequence[str] = ()) -> dict:
        """On the frames of `vehicles`, of all if none are named; {} where nothing is held out."""
        chosen = [i for name, indices in self._held_out.items() if not vehicles or name in vehicles for i in indices]
        if not chosen:
            return {}
        with closing(runtime.create(self._graph, weights)) as engine:
            result = PerceptionEvaluator().evaluate(perceive_with(engine), Subset(self._data, chosen))
        by_source = {name: _chosen(figures) for name, figures in result["by_source"].items()}
        return _chosen(result) | {"by_source": by_source}

    def picture(self, weights: Tensors) -> NDArray[np.uint8] | None:
        """RGB: a held-out frame of each vehicle, its label, and what the model says; None where there are no labels."""
        rows = []
        with closing(runtime.create(self._graph, weights)) as engine:
            perceive = perceive_with(engine)
            for indices in filter(None, self._held_out.values()):
                sample = self._data[indices[len(indices) // 2]]
                said = semantic_classes(sample, perceive(sample))
                if said is not None and sample.labels.semantic is not None:
                    row = side_by_side(sample.image, sample.labels.semantic, said)
                    rows.append(cv2.resize(row, (PICTURE_WIDTH, PICTURE_WIDTH * row.shape[0] // row.shape[1])))
        return np.concatenate(rows) if rows else None


def _chosen(result: dict) -> dict:
    return {name: result[name] for name in FIGURES if name in result}


def fitted_size(pixels: float, image: tuple[int, int], patch: int) -> tuple[int, int]:
    """(height, width) with about so many pixels and the shape of `image`, in whole patches."""
    height = np.sqrt(pixels * image[0] / image[1])
    return tuple(max(round(side / patch), 1) * patch for side in (height, height * image[1] / image[0]))


def fitted_patch(pixels: float, model: ViTPerception) -> int:
    """Side of the patches, the model's own or twice, four times …, of which about as many cover so many pixels as cover
    the pictures that the model has learned from: its attention then looks at as large a part of a scene as it did, and
    costs no more.
    """
    height, width = model.img_size
    return model.backbone.patch_size * 2 ** max(round(np.log2(pixels / (height * width)) / 2), 0)


@click.command()
@click.option("--data", required=True, help="camvid:DIR or store:DIR; every source in it is a vehicle.")
@click.option("--rounds", type=click.IntRange(1), default=15, show_default=True)
@click.option("--config", type=click.Path(path_type=Path), default=CONFIG, show_default=True, help="The fleet's file.")
@release_options
@click.option(
    "--output", type=click.Path(path_type=Path), default="out/federated", show_default=True, help="New release."
)
@click.option(
    "--work", type=click.Path(path_type=Path), default="out/federate", show_default=True, help="For resuming."
)
@click.option(
    "--hold-out", type=click.FloatRange(0, 0.9), default=HELD_OUT_SHARE, show_default=True, help="Of each drive."
)
@click.option("--compare", is_flag=True, help="Also train on pooled data, and each vehicle alone.")
@click.option("--jobs", type=click.IntRange(1), default=2, show_default=True, help="Vehicles that train at once.")
@click.option("--key", type=click.Path(path_type=Path), default=SIGNING_KEY, help="Ed25519 key, made if there is none.")
@json_option
def federate(
    data: str,
    rounds: int,
    config: Path,
    model: Path,
    trusted: tuple[Path, ...],
    output: Path,
    work: Path,
    hold_out: float,
    compare: bool,
    jobs: int,
    key: Path,
    as_json: bool,
) -> None:
    """Train the perception model on a data set whose drives stay with their vehicles.

    Each vehicle trains on its own drive; what it sends goes through the fleet's update pipeline (clipping, compression,
    quantisation) and strategy. Scored after each round on the end of every drive, which nobody trained on; a frame of
    each, its label and what the model says are drawn in held_out.png beside the release. An interrupted run goes on
    where it stopped.

    \b
    Examples:
      fedvit federate --data camvid:~/camvid --rounds 15 --output releases/camvid
    """
    if output.exists():
        raise CommandError(f"{output} exists; name another folder with --output")
    try:
        settings = fleet_config.load(config)
        samples = open_dataset(data, Purpose.TRAIN)
        split = Split.of(samples.sources, hold_out)
        run = Run(settings, data, samples, split, rounds, verified(model, trusted), model, work)
        with ProcessPoolExecutor(jobs, get_context("spawn"), end_with_parent) as workers:
            fleet = run.training("fleet", split.train)
            weights = fleet.run(workers, _show("fleet"))
            result = run.result(fleet)
            if compare:
                result["comparison"] = run.comparison(workers)
    except (OSError, ValueError) as error:
        raise CommandError(str(error)) from error
    manifest = run.write(output, weights, result, keys.load_or_create_signing_key(key.expanduser()))
    emit({"release": str(output), "model_id": manifest.model_id, "rounds": rounds} | result, as_json)


def _show(name: str):
    def show(done: Round) -> None:
        figure = ", ".join(f"{key} {value:.3f}" for key, value in done.figures.items() if isinstance(value, float))
        click.echo(f"{name}: round {done.round}, loss {done.loss:.3f}, {figure}", err=True)

    return show


class Run:
    """The model of a base release, fitted to a data set, and its trainings under different partitions."""

    def __init__(
        self,
        config: FleetConfig,
        data: str,
        samples: Dataset,
        split: Split,
        rounds: int,
        base: Manifest,
        folder: Path,
        work: Path,
    ) -> None:
        self._config, self._data, self._samples, self._split, self._rounds = config, data, samples, split, rounds
        self._base = base
        torch.manual_seed(config.federation.seed)
        self._model = build(base.architecture[MODEL], release.read_weights(folder, base, MODEL))
        if "semantic" in self._model.heads:  # it has learned nothing in the embedded world
            self._model.replace_head("semantic", "fine_semantic")
        image = samples[0].image.shape[:2]
        pixels = min(image[0] * image[1], MAX_PIXELS)
        patch = fitted_patch(pixels, self._model)
        self._size = fitted_size(pixels, image, patch)
        self._model.set_input_size(fitted_size(TRAINING_SCALE**2 * pixels, image, patch), patch)
        self._architecture = dict(self._model.architecture)
        self._graph = export_perception(self._full_size(weights_of(self._model)))
        self._scorer = Scorer(self._graph, samples, split.held_out)
        identity = f"{base.digest} {config.digest} {data} {split} {rounds} {self._architecture} {self._size}"
        self._work = work / hashlib.sha256(identity.encode()).hexdigest()[:12]

    def _score(self, weights: Tensors, vehicles: Sequence[str] = ()) -> dict:
        return self._scorer(weights_of(self._full_size(weights)), vehicles)

    def _full_size(self, weights: Tensors) -> ViTPerception:
        """The model that the vehicles run."""
        model = build(self._architecture, weights)
        model.set_input_size(self._size)
        return model

    @property
    def _golden(self) -> np.ndarray:
        height, width = self._size
        return np.stack([cv2.resize(self._samples[i].image, (width, height)) for i in range(GOLDEN_IMAGES)])

    def training(self, name: str, parts: dict[str, list[int]]) -> FleetTraining:
        """The training of `parts` {vehicle: indices}, kept under `name`."""
        weights = weights_of(self._model)
        return FleetTraining(
            self._config, self._data, parts, self._rounds, self._architecture, weights, self._work / name, self._score
        )

    def result(self, fleet: FleetTraining) -> dict:
        """Figures of the last round, the curve, and what was sent."""
        sent = [size for done in fleet.rounds for size in done.bytes.values()]
        return fleet.rounds[-1].figures | {
            "vehicles": {name: len(indices) for name, indices in self._split.train.items()},
            "curve": [
                {"round": done.round, "loss": done.loss, "miou": done.figures.get("miou")} for done in fleet.rounds
            ],
            "bytes_per_update": float(np.mean(sent)),
            "bytes_dense_float32": fleet.dense_bytes,
        }

    def comparison(self, workers: Executor) -> dict:
        """The same training on pooled data, and of each vehicle alone: figures on its own and on the others' drives."""
        everything = sorted(index for indices in self._split.train.values() for index in indices)
        partitions = {"pooled": {"pooled": everything}} | {name: {name: i} for name, i in self._split.train.items()}
        trainings = {name: self.training(name.replace("/", "_"), parts) for name, parts in partitions.items()}
        with ThreadPoolExecutor(len(trainings)) as threads:
            runs = [threads.submit(training.run, workers, _show(name)) for name, training in trainings.items()]
            weights = dict(zip(trainings, (run.result() for run in runs), strict=True))
        alone = {}
        for name in self._split.train:
            others = [other for other in self._split.train if other != name]
            alone[name] = {"own": self._score(weights[name], [name]), "others": self._score(weights[name], others)}
        return {"pooled": trainings["pooled"].rounds[-1].figures, "alone": alone}

    def write(self, output: Path, weights: Tensors, result: dict, key: Ed25519PrivateKey) -> Manifest:
        """The signed release of the trained model, and beside its files a picture of what it sees."""
        trained = self._full_size(weights)
        files, golden = perception_files(trained, self._golden, self._graph)
        files[release.GOLDEN] = release.pack_golden({MODEL: golden})
        files[release.CARD] = _card(self._data, self._split, result).encode()
        manifest = release.write_release(
            output,
            files,
            key,
            version=self._base.version + 1,
            parent=self._base.digest,
            round=len(result["curve"]),
            architecture={MODEL: trained.architecture},
            metrics={name: value for name, value in result.items() if isinstance(value, float)},
            configuration=self._config.digest,
        )
        seen = self._scorer.picture(weights_of(trained))
        if seen is not None:
            cv2.imwrite(str(output / PICTURE), cv2.cvtColor(seen, cv2.COLOR_RGB2BGR))
        return manifest


def _card(data: str, split: Split, result: dict) -> str:
    vehicles = "\n".join(f"- {name}: {len(indices)} frames" for name, indices in split.train.items())
    figures = "\n".join(f"- {name}: {value:.3f}" for name, value in result.items() if isinstance(value, float))
    return f"""# Perception model, trained by a fleet

Trained from its parent release by federated rounds over the drives of `{data.partition(":")[0]}`; a drive's frames
never left its vehicle. It holds no policy, because a policy belongs to the features it was trained on.

**Vehicles**

{vehicles}

**Figures** on the end of each drive, which nobody trained on

{figures}
"""
