"""`fedvit train perception`: collect in the embedded world, train, evaluate on towns never seen, sign a release."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import click
import msgspec
import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress as Bar

from fed_vit_autorl.cli.output import CommandError, emit, json_option
from fed_vit_autorl.data.augmentation import Augmenter
from fed_vit_autorl.data.store import SampleFolder
from fed_vit_autorl.deployment import keys, release
from fed_vit_autorl.deployment.fleet_config import load_yaml
from fed_vit_autorl.edge import runtime
from fed_vit_autorl.evaluation.perceive import perceive_with
from fed_vit_autorl.evaluation.perception import PerceptionEvaluator
from fed_vit_autorl.federated.refusal import ConfigurationRefused

from .batches import Batches
from .collect import Drive, collect_all
from .model_card import model_card
from .packaging import perception_files
from .perception import ViTPerception
from .training import Progress, TrainingOptions, fit

GOLDEN_IMAGES = 2
SIGNING_KEY = Path("~/.config/fed-vit-autorl/release.key")
FIGURES = ("map", "map50", "free_space_iou", "lane_iou", "drivable_iou")


class Architecture(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Arguments of `ViTPerception`."""

    img_size: tuple[int, int] = (192, 320)
    patch_size: int = 16
    num_classes: int = 0
    embed_dim: int = 192
    depth: int = 6
    num_heads: int = 3
    stem: str = "conv"
    backbone: str = ""
    head_width: int = 48


class Steps(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Arguments of `TrainingOptions`."""

    steps: int = 9000
    batch_size: int = 16
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    warmup: float = 0.05
    seed: int = 0


class TrainPerception(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The configuration file. `drives` are trained on, `held_out` evaluated on."""

    model: Architecture = Architecture()
    training: Steps = Steps()
    augmentation: dict[str, float] = {}
    drives: list[Drive]
    held_out: list[Drive]

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the configuration with all its defaults."""
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()


@click.command()
@click.option("--config", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True)
@click.option("--output", type=click.Path(path_type=Path), default="out/release", help="Folder of the new release.")
@click.option("--work", type=click.Path(path_type=Path), default="out/train_perception", help="Samples and checkpoint.")
@click.option("--key", type=click.Path(path_type=Path), default=SIGNING_KEY, help="Ed25519 key, made if there is none.")
@click.option("--jobs", type=click.IntRange(1), default=2, help="Processes that collect, then threads that train.")
@click.option("--fresh", is_flag=True, help="Forget the checkpoint of an earlier run instead of going on from it.")
@json_option
def perception(config: Path, output: Path, work: Path, key: Path, jobs: int, fresh: bool, as_json: bool) -> None:
    """Train the perception model from nothing and write a signed release.

    An interrupted run goes on where it stopped: samples are kept, and training saves every 200 steps.

    \b
    Examples:
      fedvit train perception --config config/train_perception.yaml --output releases/new
    """
    if output.exists():
        raise CommandError(f"{output} exists; name another folder with --output")
    try:
        settings = load_yaml(config, TrainPerception)
        augment = Augmenter(settings.augmentation)
    except (ConfigurationRefused, ValueError) as error:
        raise CommandError(str(error)) from error
    checkpoint = work / f"checkpoint-{settings.digest[:12]}.pt"
    if fresh:
        checkpoint.unlink(missing_ok=True)
    with Bar(console=Console(stderr=True)) as bar:
        folders = {
            part: collect_all(getattr(settings, part), work / part, jobs, bar) for part in ("drives", "held_out")
        }
        torch.set_num_threads(jobs)
        model = _train(settings, folders["drives"], augment, checkpoint, bar)
        files, golden = perception_files(model, _golden(folders["held_out"]))
        engine = runtime.create(files["perception.onnx"], release.decode_weights(files["perception.safetensors"]))
        figures = _evaluate(engine, folders["held_out"], bar)
    metrics = {f"{domain}/{name}": figures[domain][name] for domain in figures for name in FIGURES}
    files[release.GOLDEN] = release.pack_golden({"perception": golden})
    files[release.CARD] = model_card(settings, figures, f"fedvit train perception --config {config}").encode()
    manifest = release.write_release(
        output,
        files,
        keys.load_or_create_signing_key(key.expanduser()),
        version=1,
        architecture={"perception": model.architecture},
        metrics=metrics,
        configuration=settings.digest,
    )
    emit({"release": str(output), "model_id": manifest.model_id, "held_out": figures}, as_json)


def _train(
    settings: TrainPerception, folders: Sequence[Path], augment: Augmenter, checkpoint: Path, bar: Bar
) -> ViTPerception:
    torch.manual_seed(settings.training.seed)
    model = ViTPerception(**msgspec.structs.asdict(settings.model))
    options = TrainingOptions(**msgspec.structs.asdict(settings.training), workers=1)
    stores = [SampleFolder(folder) for folder in folders]
    index = [(store, key) for store in stores for key in store.keys()]  # noqa: SIM118 (not a dict)
    batches = Batches(partial(_read, index), len(index), model.img_size, options.batch_size, augment, options.seed)
    task = bar.add_task("training", total=options.steps)

    def report(step: int, parts: dict[str, float]) -> None:
        losses = " ".join(f"{name} {value:.2f}" for name, value in parts.items())
        bar.update(task, completed=step + 1, description=f"training ({losses})")

    fit(model, batches, options, Progress(report), checkpoint)
    return model


def _read(index: list, number: int):
    store, key = index[number]
    return store.get(key)


def _golden(folders: Sequence[Path]) -> np.ndarray:
    samples = [next(iter(SampleFolder(folder))) for folder in folders[:GOLDEN_IMAGES]]
    return np.stack([sample.image for sample in samples])


def _evaluate(engine: runtime.ModelRuntime, folders: Sequence[Path], bar: Bar) -> dict[str, dict]:
    """Figures per domain."""
    evaluator, perceive = PerceptionEvaluator(), perceive_with(engine)
    for folder in bar.track(folders, description="evaluating on held-out towns"):
        for sample in SampleFolder(folder):
            evaluator.add(sample, perceive(sample))
    return evaluator.result()["by_domain"]
