"""``fedvit evaluate labels``: the labels that vehicles make themselves against the simulator's truth."""

from __future__ import annotations

import click
from rich.console import Console
from rich.progress import Progress

from fed_vit_autorl.cli.output import CommandError, emit, json_option
from fed_vit_autorl.data.datasets import open_dataset
from fed_vit_autorl.simulation.weather import WEATHERS

from .evaluate_perception import labelled
from .held_out import held_out_samples
from .label_quality import auto_label_quality


@click.command()
@click.option("--data", help="A labelled set with LiDAR, as store:DIR or kitti:DIR; simulated towns if left out.")
@click.option(
    "--jobs", type=click.IntRange(1), default=2, show_default=True, help="Processes that drive through towns."
)
@json_option
def labels(data: str | None, jobs: int, as_json: bool) -> None:
    """Measure the labels that a vehicle makes from its LiDAR and its driven track: precision, recall, masks.

    \b
    Examples:
      fedvit evaluate labels --json
      fedvit evaluate labels --data store:out/my_drive
    """
    with Progress(console=Console(stderr=True)) as bar:
        try:
            parts = [open_dataset(data)] if data else held_out_samples(jobs, bar, tuple(WEATHERS))
            result = auto_label_quality(labelled(parts, bar))
        except ValueError as error:
            raise CommandError(str(error)) from error
    emit(result, as_json)
