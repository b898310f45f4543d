"""`fedvit prune`: a release's perception made smaller until it is fast enough, as a release of its own."""

from __future__ import annotations

from pathlib import Path

import click
import torch
from rich.console import Console
from rich.progress import Progress as Bar

from fed_vit_autorl.cli.output import CommandError, emit, json_option
from fed_vit_autorl.deployment import keys, release
from fed_vit_autorl.deployment.candidate import other_models
from fed_vit_autorl.edge import runtime
from fed_vit_autorl.evaluation.released import release_options, verified

from .distillation import Distilled
from .model_card import pruned_card
from .packaging import build
from .perception import ViTPerception
from .pruning import MAX_RATIO, PruningEnd, VehicleModelPruner
from .train_perception import SIGNING_KEY
from .training import Progress, TrainingOptions, fit
from .training_setup import as_metrics, batches_of, collected, figures_by_domain, packaged, read_settings


@click.command()
@release_options
@click.option("--config", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True)
@click.option("--target-latency", type=float, default=50.0, show_default=True, help="[ms], one image on one thread.")
@click.option("--min-accuracy", type=float, default=0.9, show_default=True, help="Share of mAP50 that must remain.")
@click.option("--ratio", type=float, default=MAX_RATIO, show_default=True, help="Share of the inner widths at the end.")
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Instead of what the file says.")
@click.option("--steps", type=click.IntRange(1), default=5, show_default=True, help="Steps of the pruning schedule.")
@click.option("--epochs", type=click.IntRange(1), default=5, show_default=True, help="Fine-tuning after each step.")
@click.option("--output", type=click.Path(path_type=Path), default="out/pruned", help="Folder of the new release.")
@click.option("--work", type=click.Path(path_type=Path), default="out/train_perception", help="Folder of the samples.")
@click.option("--key", type=click.Path(path_type=Path), default=SIGNING_KEY, help="Ed25519 key, made if there is none.")
@click.option("--jobs", type=click.IntRange(1), default=2, help="Processes that collect, then threads that train.")
@json_option
def prune(
    model: Path,
    trusted: tuple[Path, ...],
    config: Path,
    target_latency: float,
    min_accuracy: float,
    ratio: float,
    changes: tuple[str, ...],
    steps: int,
    epochs: int,
    output: Path,
    work: Path,
    key: Path,
    jobs: int,
    as_json: bool,
) -> None:
    """Prune a release's perception model until it is fast enough, with fine-tuning on the drives of --config, where it
    learns from the whole model beside the labels.

    It ends at the target, or says that the target needs more accuracy than may be lost; the last good model is kept.

    \b
    Examples:
      fedvit prune --config config/train_all_weather.yaml --target-latency 12 --output releases/pruned
    """
    if output.exists():
        raise CommandError(f"{output} exists; name another folder with --output")
    settings, base = read_settings(config, changes), verified(model, trusted)
    whole = build(base.architecture["perception"], release.read_weights(model, base, "perception"))
    with Bar(console=Console(stderr=True)) as bar:
        drives, held_out = collected(settings, work, jobs, bar)
        torch.set_num_threads(jobs)
        batch = settings.training.batch_size
        images = sum(drive.samples for drive in settings.drives)

        def fine_tune(candidate: ViTPerception, epochs: int) -> None:
            options = TrainingOptions(epochs * images // batch, batch, settings.training.learning_rate / 2, workers=1)
            task = bar.add_task("fine-tuning", total=options.steps)
            report = Progress(lambda step, parts: bar.update(task, completed=step + 1))
            fit(Distilled(candidate, whole), batches_of(settings, drives, candidate), options, report)

        def figures(candidate: ViTPerception) -> dict[str, dict]:
            files, _ = packaged(candidate, held_out)
            engine = runtime.create(files["perception.onnx"], release.decode_weights(files["perception.safetensors"]))
            return figures_by_domain(engine, held_out, bar)

        def accuracy(candidate: ViTPerception) -> float:
            return max(found["map50"] for found in figures(candidate).values())

        try:
            pruner = VehicleModelPruner(whole, target_latency, min_accuracy, steps, epochs, max_ratio=ratio)
        except ValueError as error:
            raise CommandError(str(error)) from error
        result = pruner.prune(fine_tune, accuracy)
        files, golden = packaged(result.model, held_out)
        found = {"whole": figures(whole), "pruned": figures(result.model)}
    kept_files, kept_golden = other_models(model, base, "perception")
    files |= kept_files
    files[release.GOLDEN] = release.pack_golden({**kept_golden, "perception": golden})
    command = f"fedvit prune --model {model} --config {config} --target-latency {target_latency:g} --ratio {ratio:g}"
    command += f" --min-accuracy {min_accuracy:g} --steps {steps} --epochs {epochs}"
    command += "".join(f" --set {change}" for change in changes)
    files[release.CARD] = pruned_card(base.model_id, result, found, command).encode()
    manifest = release.write_release(
        output,
        files,
        keys.load_or_create_signing_key(key.expanduser()),
        version=base.version + 1,
        parent=base.digest,
        architecture={**base.architecture, "perception": result.model.architecture},
        metrics=as_metrics(found["pruned"]) | {"latency_ms": result.latency_ms, "pruning_ratio": result.ratio},
        configuration=settings.digest,
    )
    reached = result.end == PruningEnd.TARGET_REACHED
    emit({"release": str(output), "model_id": manifest.model_id, "target_reached": reached, "end": result.end}
         | {"latency_ms": result.latency_ms, "ratio": result.ratio, "held_out": found}, as_json)  # fmt: skip
