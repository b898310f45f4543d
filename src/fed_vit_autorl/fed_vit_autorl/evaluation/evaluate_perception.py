"""``fedvit evaluate perception``: a release on labelled samples, simulated or real."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress

from fed_vit_autorl.cli.output import CommandError, emit, json_option
from fed_vit_autorl.data.augmentation import CORRUPTIONS
from fed_vit_autorl.data.datasets import Dataset, open_dataset
from fed_vit_autorl.data.sample import Sample
from fed_vit_autorl.simulation.weather import WEATHERS

from .held_out import UNSEEN_WEATHERS, held_out_samples
from .perceive import perceive_with
from .perception import PerceptionEvaluator, robustness
from .released import load_model, release_options


@click.command()
@click.option("--data", help="camvid:DIR, kitti:DIR, nuscenes:DIR or store:DIR; simulated towns if left out.")
@release_options
@click.option(
    "--weather",
    "weathers",
    type=click.Choice(list(WEATHERS)),
    multiple=True,
    default=UNSEEN_WEATHERS,
    show_default=True,
    help="Of the simulated towns.",
)
@click.option("--robust", is_flag=True, help="Also under noise, blur, fog, rain, dirt and with a dead camera.")
@click.option(
    "--jobs", type=click.IntRange(1), default=2, show_default=True, help="Processes that drive through towns."
)
@json_option
def perception(
    data: str | None,
    model: Path,
    trusted: tuple[Path, ...],
    weathers: tuple[str, ...],
    robust: bool,
    jobs: int,
    as_json: bool,
) -> None:
    """Measure a release's perception on labelled pictures.

    Without --data it drives through towns that no training saw, in weathers that no shipped model was trained on; the
    pictures are kept in out/held_out. Of a data set with a split of its own the part that is not for training is taken.

    \b
    Examples:
      fedvit evaluate perception --json
      fedvit evaluate perception --weather noon --weather night --robust
      fedvit evaluate perception --data camvid:~/camvid --model releases/camvid
    """
    perceive = perceive_with(load_model(model, trusted))
    with Progress(console=Console(stderr=True)) as bar:
        try:
            parts = [open_dataset(data)] if data else held_out_samples(jobs, bar, weathers)
            result = PerceptionEvaluator().evaluate(perceive, labelled(parts, bar))
            if robust:
                result["robustness"] = robustness(perceive, list(labelled(parts, bar)), CORRUPTIONS)
        except ValueError as error:
            raise CommandError(str(error)) from error
    emit({"model": str(model), "data": data or "held-out towns"} | result, as_json)


def labelled(parts: Sequence[Dataset], bar: Progress) -> Iterator[Sample]:
    """The samples that have labels, with progress."""
    everything = (sample for part in parts for sample in part)
    for sample in bar.track(everything, sum(map(len, parts)), description="seeing"):
        if sample.labels is not None:
            yield sample
