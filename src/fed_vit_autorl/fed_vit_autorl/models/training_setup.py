"""What the commands that train perception share: their configuration, batches and figures."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import cv2
import msgspec
import numpy as np
from rich.progress import Progress as Bar

from fed_vit_autorl.cli.output import CommandError
from fed_vit_autorl.data.augmentation import Augmenter
from fed_vit_autorl.data.lidar import padded
from fed_vit_autorl.data.sample import CameraModel, Sample
from fed_vit_autorl.data.store import SampleFolder
from fed_vit_autorl.deployment.config_file import load_yaml
from fed_vit_autorl.edge.runtime import ModelRuntime
from fed_vit_autorl.evaluation.perceive import perceive_with
from fed_vit_autorl.evaluation.perception import PerceptionEvaluator
from fed_vit_autorl.federated.refusal import ConfigurationRefused

from .batches import Batches, repeat_factors
from .collect import Drive, collect_all
from .head_registry import CAMERA_HEADS
from .multimodal import MultiModalViT, projection_of
from .packaging import perception_files
from .perception import ViTPerception

GOLDEN_SAMPLES = 2
FIGURES = ("map", "map50", "free_space_iou", "lane_iou", "drivable_iou")


class Architecture(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """Arguments of `ViTPerception`, or of `MultiModalViT` where it takes LiDAR points."""

    img_size: tuple[int, int] = (192, 320)
    patch_size: int = 16
    num_classes: int = 0
    embed_dim: int = 192
    depth: int = 6
    num_heads: int = 3
    stem: str = "conv"
    backbone: str = ""
    head_width: int = 48
    lidar_points: int = 0
    fusion_layer: int = 0
    heads: tuple[str, ...] = CAMERA_HEADS
    merged_tokens: int = 0

    def build(self, camera: CameraModel) -> ViTPerception:
        """The network, untrained, for vehicles with `camera`. Raises ValueError for sizes that don't fit together."""
        options = msgspec.structs.asdict(self)
        points, layer = options.pop("lidar_points"), options.pop("fusion_layer")
        if not points:
            return ViTPerception(**options)
        return MultiModalViT(options.pop("img_size"), points, layer, projection=projection_of(camera), **options)


class Steps(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Arguments of `TrainingOptions`."""

    steps: int = 9000
    batch_size: int = 16
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    warmup: float = 0.05
    seed: int = 0


class TrainPerception(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The configuration file. `drives` are trained on, `held_out` evaluated on.

    `repeat_threshold`: classes in a smaller share of the images than this are drawn more often, 0 for none.
    """

    model: Architecture = Architecture()
    training: Steps = Steps()
    augmentation: dict[str, float] = {}
    repeat_threshold: float = 0.0
    drives: list[Drive]
    held_out: list[Drive]

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the configuration with all its defaults."""
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()


def read_settings(config: Path, changes: Sequence[str] = ()) -> TrainPerception:
    """The configuration in a YAML file, with `changes` ("training.steps=100") laid over it.

    Raises `CommandError` that names the key.
    """
    try:
        settings = load_yaml(config, TrainPerception, dict(change.split("=", 1) for change in changes))
        Augmenter(settings.augmentation)
    except (ConfigurationRefused, ValueError) as error:
        raise CommandError(str(error)) from error
    return settings


def collected(settings: TrainPerception, work: Path, jobs: int, bar: Bar) -> tuple[list[Path], list[Path]]:
    """Folders of the samples to train on and of those held out, below `work`; what is missing is driven."""
    return tuple(collect_all(getattr(settings, part), work / part, jobs, bar) for part in ("drives", "held_out"))


def camera_of(folders: Sequence[Path]) -> CameraModel:
    """The camera of the vehicles that left the samples in `folders`."""
    return next(iter(SampleFolder(folders[0]))).camera


def batches_of(settings: TrainPerception, folders: Sequence[Path], model: ViTPerception, seed: int = 0) -> Batches:
    """Augmented batches of all samples in `folders` for `model`."""
    stores = [SampleFolder(folder) for folder in folders]
    index = [(store, key) for store in stores for key in store.keys()]  # noqa: SIM118 (not a dict)
    augment = Augmenter(settings.augmentation)
    repeats = None
    if settings.repeat_threshold:
        found = (_read(index, number) for number in range(len(index)))
        repeats = repeat_factors(
            [sample.labels.classes if sample else np.zeros(0, np.int64) for sample in found], settings.repeat_threshold
        )
    batch = settings.training.batch_size
    points = getattr(model, "lidar_points", 0)
    return Batches(partial(_read, index), len(index), model.img_size, batch, augment, seed, points, repeats)


def _read(index: list, number: int) -> Sample | None:
    store, key = index[number]
    return store.get(key)


def packaged(model: ViTPerception, folders: Sequence[Path]) -> tuple[dict[str, bytes], tuple[dict, dict]]:
    """`perception_files` of `model`, its golden batch the first sample of each of the first folders."""
    samples = [next(iter(SampleFolder(folder))) for folder in folders[:GOLDEN_SAMPLES]]
    height, width = model.img_size
    images = np.stack([cv2.resize(sample.image, (width, height)) for sample in samples])
    points = None
    if isinstance(model, MultiModalViT):
        points = np.stack([padded(sample.returns_in_base, model.lidar_points) for sample in samples])
    return perception_files(model, images, golden_points=points)


def figures_by_domain(engine: ModelRuntime, folders: Sequence[Path], bar: Bar) -> dict[str, dict]:
    """What `PerceptionEvaluator` finds per domain of the samples in `folders`."""
    evaluator, perceive = PerceptionEvaluator(), perceive_with(engine)
    for folder in bar.track(folders, description="evaluating on held-out towns"):
        for sample in SampleFolder(folder):
            evaluator.add(sample, perceive(sample))
    return evaluator.result()["by_domain"]


def as_metrics(figures: dict[str, dict]) -> dict[str, float]:
    """Figures per domain as a manifest's flat metrics."""
    return {f"{domain}/{name}": found[name] for domain, found in figures.items() for name in FIGURES}
