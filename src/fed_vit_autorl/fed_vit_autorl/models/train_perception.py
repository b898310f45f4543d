"""`fedvit train perception`: collect in the embedded world, train, evaluate on towns never seen, sign a release."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
import msgspec
import torch
from rich.console import Console
from rich.progress import Progress as Bar

from fed_vit_autorl.cli.output import CommandError, emit, json_option
from fed_vit_autorl.deployment import keys, release
from fed_vit_autorl.deployment.candidate import other_models
from fed_vit_autorl.deployment.release import Manifest
from fed_vit_autorl.edge import runtime
from fed_vit_autorl.evaluation.released import TRUSTED, verified

from .model_card import model_card
from .packaging import build
from .perception import ViTPerception
from .tracking import Tracker
from .training import Progress, TrainingOptions, fit
from .training_setup import (
    TrainPerception,
    as_metrics,
    batches_of,
    camera_of,
    collected,
    figures_by_domain,
    packaged,
    read_settings,
)

SIGNING_KEY = Path("~/.config/fed-vit-autorl/release.key")


@click.command()
@click.option("--config", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True)
@click.option("--base", type=click.Path(path_type=Path), help="Release to train further; its other models are kept.")
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Instead of what the file says.")
@click.option("--output", type=click.Path(path_type=Path), default="out/release", help="Folder of the new release.")
@click.option("--work", type=click.Path(path_type=Path), default="out/train_perception", help="Samples and checkpoint.")
@click.option("--key", type=click.Path(path_type=Path), default=SIGNING_KEY, help="Ed25519 key, made if there is none.")
@click.option("--jobs", type=click.IntRange(1), default=2, help="Processes that collect, then threads that train.")
@click.option("--track", help="MLflow's tracking URI; a file in --work if left out.", default="")
@click.option("--fresh", is_flag=True, help="Forget the checkpoint of an earlier run instead of going on from it.")
@json_option
def perception(
    config: Path,
    base: Path | None,
    changes: tuple[str, ...],
    output: Path,
    work: Path,
    key: Path,
    jobs: int,
    track: str,
    fresh: bool,
    as_json: bool,
) -> None:
    """Train the perception model, from nothing or from a release's, and write a signed release.

    An interrupted run goes on where it stopped: samples are kept, and training saves every 200 steps.

    \b
    Examples:
      fedvit train perception --config config/train_noon.yaml --output releases/new
    """
    if output.exists():
        raise CommandError(f"{output} exists; name another folder with --output")
    settings = read_settings(config, changes)
    parent = verified(base, TRUSTED) if base else None
    checkpoint = work / f"checkpoint-{settings.digest[:8]}-{parent.digest[:8] if parent else 'new'}.pt"
    if fresh:
        checkpoint.unlink(missing_ok=True)
    with Bar(console=Console(stderr=True)) as bar:
        drives, held_out = collected(settings, work, jobs, bar)
        torch.set_num_threads(jobs)
        torch.manual_seed(settings.training.seed)
        model = settings.model.build(camera_of(drives)) if parent is None else _model_of(base, parent)
        described = msgspec.to_builtins(settings) | {"configuration": settings.digest}
        tracker = Tracker(work, track, output.name, described)
        _train(model, settings, drives, checkpoint, bar, tracker)
        files, golden = packaged(model, held_out)
        engine = runtime.create(files["perception.onnx"], release.decode_weights(files["perception.safetensors"]))
        figures = figures_by_domain(engine, held_out, bar)
        tracker.ended(as_metrics(figures))
    batches, architecture = {"perception": golden}, {"perception": model.architecture}
    command = f"fedvit train perception --config {config}" + (f" --base {base}" if base else "")
    command += "".join(f" --set {change}" for change in changes)
    if parent is not None:
        kept, kept_golden = other_models(base, parent, "perception")
        files, batches, architecture = files | kept, kept_golden | batches, {**parent.architecture, **architecture}
    files[release.GOLDEN] = release.pack_golden(batches)
    files[release.CARD] = model_card(settings, figures, command, parent.model_id if parent else "").encode()
    manifest = release.write_release(
        output,
        files,
        keys.load_or_create_signing_key(key.expanduser()),
        version=parent.version + 1 if parent else 1,
        parent=parent.digest if parent else "",
        architecture=architecture,
        metrics=as_metrics(figures),
        configuration=settings.digest,
    )
    emit({"release": str(output), "model_id": manifest.model_id, "held_out": figures}, as_json)


def _model_of(folder: Path, manifest: Manifest) -> ViTPerception:
    return build(manifest.architecture["perception"], release.read_weights(folder, manifest, "perception"))


def _train(
    model: ViTPerception,
    settings: TrainPerception,
    folders: Sequence[Path],
    checkpoint: Path,
    bar: Bar,
    tracker: Tracker,
) -> None:
    options = TrainingOptions(**msgspec.structs.asdict(settings.training), workers=1)
    task = bar.add_task("training", total=options.steps)

    def report(step: int, parts: dict[str, float]) -> None:
        losses = " ".join(f"{name} {value:.2f}" for name, value in parts.items())
        bar.update(task, completed=step + 1, description=f"training ({losses})")
        tracker.step(step, parts)

    fit(model, batches_of(settings, folders, model, options.seed), options, Progress(report), checkpoint)
