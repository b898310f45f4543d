"""`fedvit tune`: a search for the settings of a perception training, with Optuna, over the space that stands here."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import msgspec
import optuna
import torch
from rich.console import Console
from rich.progress import Progress as Bar

from fed_vit_autorl.cli.output import emit, json_option
from fed_vit_autorl.edge.torch_runtime import TorchRuntime

from .export import weights_of
from .perception import ViTPerception
from .training import Progress, TrainingOptions, fit
from .training_setup import TrainPerception, batches_of, camera_of, collected, figures_by_domain, read_settings

LOOKS = 4
"""How often a trial is measured on the held-out towns; one that does worse than most did by then is given up."""


def suggest(trial: optuna.Trial, settings: TrainPerception, steps: int) -> TrainPerception:
    """The space: learning rate 2e-4 to 4e-3, weight decay 0.01 to 0.2 (both logarithmic), warm-up 0 to 0.15, width of
    the heads 32, 48 or 64, blocks 4, 6 or 8, repeat threshold 0 to 0.5, and how much the pictures' look is varied.
    """
    model = msgspec.structs.replace(
        settings.model,
        head_width=trial.suggest_categorical("head_width", [32, 48, 64]),
        depth=trial.suggest_categorical("depth", [4, 6, 8]),
    )
    training = msgspec.structs.replace(
        settings.training,
        steps=steps,
        learning_rate=trial.suggest_float("learning_rate", 2e-4, 4e-3, log=True),
        weight_decay=trial.suggest_float("weight_decay", 0.01, 0.2, log=True),
        warmup=trial.suggest_float("warmup", 0.0, 0.15),
    )
    look = trial.suggest_float("look", 0.0, 0.8)
    return msgspec.structs.replace(
        settings,
        model=model,
        training=training,
        augmentation=settings.augmentation | {"colour": look, "light": look, "noise": look / 2},
        repeat_threshold=trial.suggest_float("repeat_threshold", 0.0, 0.5),
    )


@click.command()
@click.option("--config", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True)
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Instead of what the file says.")
@click.option("--trials", type=click.IntRange(1), default=20, show_default=True, help="In this call.")
@click.option("--steps", type=click.IntRange(LOOKS), default=600, show_default=True, help="Of one training.")
@click.option("--work", type=click.Path(path_type=Path), default="out/train_perception", help="Samples and the study.")
@click.option("--jobs", type=click.IntRange(1), default=2, help="Processes that collect, then threads that train.")
@json_option
def tune(config: Path, changes: tuple[str, ...], trials: int, steps: int, work: Path, jobs: int, as_json: bool) -> None:
    """Search for good settings of `fedvit train perception`: mAP50 in held-out towns, averaged over their weathers.

    The study is kept in --work and gone on with. The best settings are for the configuration file.

    \b
    Examples:
      fedvit tune --config config/train_noon.yaml --trials 30
    """
    settings = read_settings(config, changes)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    torch.set_num_threads(jobs)
    with Bar(console=Console(stderr=True), disable=not sys.stderr.isatty()) as bar:
        drives, held_out = collected(settings, work, jobs, bar)

        def objective(trial: optuna.Trial) -> float:
            return _train(trial, suggest(trial, settings, steps), drives, held_out, bar)

        study = optuna.create_study(
            study_name=f"perception-{settings.digest[:12]}-{steps}",
            storage=f"sqlite:///{work.resolve() / 'tune.sqlite'}",
            direction="maximize",
            sampler=optuna.samplers.TPESampler(seed=settings.training.seed, multivariate=True),
            pruner=optuna.pruners.MedianPruner(n_startup_trials=4),
            load_if_exists=True,
        )
        study.optimize(objective, trials)
    states = [trial.state for trial in study.trials]
    emit(
        {
            "map50": study.best_value,
            "best": study.best_params,
            "trials": len(states),
            "given_up_early": states.count(optuna.trial.TrialState.PRUNED),
        },
        as_json,
    )


def _train(trial: optuna.Trial, settings: TrainPerception, drives: list[Path], held_out: list[Path], bar: Bar) -> float:
    """mAP50 after the training; raises TrialPruned on the way when it does worse than most."""
    options = TrainingOptions(**msgspec.structs.asdict(settings.training), workers=1)
    torch.manual_seed(options.seed)
    model = settings.model.build(camera_of(drives))

    def look(step: int, parts: dict[str, float]) -> None:
        if (step + 1) % (options.steps // LOOKS) == 0 and step + 1 < options.steps:
            trial.report(_map50(model, held_out, bar), step + 1)
            if trial.should_prune():
                raise optuna.TrialPruned

    fit(model, batches_of(settings, drives, model, options.seed), options, Progress(look))
    return _map50(model, held_out, bar)


def _map50(model: ViTPerception, held_out: list[Path], bar: Bar) -> float:
    figures = figures_by_domain(TorchRuntime(model.architecture, weights_of(model), "cpu"), held_out, bar)
    return sum(found["map50"] for found in figures.values()) / len(figures)
