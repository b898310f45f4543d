"""`fedvit train temporal`: what moves and where the vehicle goes on, from a few pictures; measured on unseen towns."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec
import numpy as np
import safetensors.numpy
import torch
from rich.console import Console
from rich.progress import Progress as Bar

from fed_vit_autorl.cli.output import CommandError, emit, json_option
from fed_vit_autorl.data.store import SampleFolder
from fed_vit_autorl.deployment import keys, release
from fed_vit_autorl.deployment.config_file import load_yaml
from fed_vit_autorl.edge import runtime
from fed_vit_autorl.edge.runtime import ModelRuntime
from fed_vit_autorl.evaluation.prediction import displacement_errors
from fed_vit_autorl.evaluation.segmentation import Confusion
from fed_vit_autorl.federated.refusal import ConfigurationRefused

from .clips import ClipBatches, Clips, collate
from .collect import Drive, collect_all
from .export import export_graph, weights_of
from .temporal import TemporalViT
from .train_perception import SIGNING_KEY
from .training import Progress, TrainingOptions, fit
from .training_setup import Steps

MODEL = "temporal"
LONGEST = 8
"""Frames: models of fewer see the same last pictures as one of so many, in training and evaluation."""
EVERY_CLIP = 3
"""Of the held-out clips one in so many is looked at: neighbours show nearly the same."""


class TemporalArchitecture(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Arguments of `TemporalViT`."""

    image_size: tuple[int, int] = (96, 160)
    num_frames: int = 8
    frame_patch_size: int = 16
    temporal_patch_size: int = 2
    use_3d_patches: bool = True
    embed_dim: int = 192
    depth: int = 4
    num_heads: int = 3


class TrainTemporal(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The configuration file. `drives` are trained on, `held_out` evaluated on; all have one `interval_s`."""

    model: TemporalArchitecture = TemporalArchitecture()
    training: Steps = Steps()
    drives: list[Drive]
    held_out: list[Drive]

    def __post_init__(self) -> None:
        if len({drive.interval_s for drive in (*self.drives, *self.held_out)}) != 1:
            raise ValueError("drives and held_out: the model's pictures are one interval_s apart, the same everywhere")


@click.command()
@click.option("--config", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True)
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Instead of what the file says.")
@click.option("--output", type=click.Path(path_type=Path), default="out/temporal", help="Folder of the new release.")
@click.option("--work", type=click.Path(path_type=Path), default="out/train_perception", help="Folder of the samples.")
@click.option("--key", type=click.Path(path_type=Path), default=SIGNING_KEY, help="Ed25519 key, made if there is none.")
@click.option("--jobs", type=click.IntRange(1), default=2, help="Processes that collect, then threads that train.")
@json_option
def temporal(
    config: Path, changes: tuple[str, ...], output: Path, work: Path, key: Path, jobs: int, as_json: bool
) -> None:
    """Train the temporal model in the embedded world and write a signed release with its figures on unseen towns.

    \b
    Examples:
      fedvit train temporal --config config/train_temporal.yaml --output out/temporal
    """
    if output.exists():
        raise CommandError(f"{output} exists; name another folder with --output")
    try:
        settings = load_yaml(config, TrainTemporal, dict(change.split("=", 1) for change in changes))
        torch.manual_seed(settings.training.seed)
        model = TemporalViT(**msgspec.structs.asdict(settings.model))
    except (ConfigurationRefused, ValueError) as error:
        raise CommandError(str(error)) from error
    with Bar(console=Console(stderr=True)) as bar:
        seen, unseen = (
            _clips(model, getattr(settings, part), collect_all(getattr(settings, part), work / part, jobs, bar))
            for part in ("drives", "held_out")
        )
        torch.set_num_threads(jobs)
        _train(model, seen, settings.training, bar)
        graph = export_graph(model, model.example, model.outputs, f"{MODEL}.safetensors")
        engine = runtime.create(graph, weights_of(model))
        figures = evaluate(engine, unseen, bar)
    inputs = {"frames": collate([unseen.get(0)]).inputs[0].numpy()}
    golden = {MODEL: (inputs, runtime.golden_outputs(engine, inputs))}
    files = {f"{MODEL}.onnx": graph, f"{MODEL}.safetensors": safetensors.numpy.save(weights_of(model))}
    files[release.GOLDEN] = release.pack_golden(golden)
    files[release.CARD] = f"# Temporal model\n\nTrained by `fedvit train temporal --config {config}`.\n".encode()
    manifest = release.write_release(
        output,
        files,
        keys.load_or_create_signing_key(key.expanduser()),
        version=1,
        architecture={MODEL: model.architecture},
        metrics=figures,
    )
    emit({"release": str(output), "model_id": manifest.model_id, "held_out": figures}, as_json)


def evaluate(engine: ModelRuntime, clips: Clips, bar: Bar) -> dict[str, float]:
    """`motion_iou` of the pixels that move, and `displacement_errors` of the path [m] where it is known."""
    motion, paths, truths = Confusion(2), [], []
    for index in bar.track(range(0, len(clips), EVERY_CLIP), description="evaluating on held-out towns"):
        batch = collate([clips.get(index)])
        outputs = engine.run({"frames": batch.inputs[0].numpy()})
        motion.add((outputs["motion"][0, 0] >= 0.5).astype(np.int64), batch.targets.motion[0, 0].numpy())
        paths.append(outputs["trajectory"])
        truths.append(batch.targets.trajectory.numpy())
    path, truth = np.stack(paths), np.concatenate(truths)
    errors = displacement_errors(path, np.ones((len(path), 1)), truth)
    return {"motion_iou": float(motion.iou[1]), "ade_m": errors["ade"], "fde_m": errors["fde"]}


def _clips(model: TemporalViT, drives: list[Drive], folders: list[Path]) -> Clips:
    stores = [SampleFolder(one) for one in folders]
    return Clips(stores, model.num_frames, drives[0].interval_s, model.img_size, LONGEST)


def _train(model: TemporalViT, clips: Clips, steps: Steps, bar: Bar) -> None:
    options = TrainingOptions(**msgspec.structs.asdict(steps), workers=1)
    task = bar.add_task("training", total=options.steps)
    report = Progress(lambda step, parts: bar.update(task, completed=step + 1))
    fit(model, ClipBatches(clips, options.batch_size, options.seed), options, report)
