"""The model card of a trained perception model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CARD = """# Perception model

A vision transformer ({model.embed_dim} wide, {model.depth} blocks, {model.img_size[0]}×{model.img_size[1]} pixels, \
stem "{model.stem}") with heads for objects (vehicle, pedestrian, cyclist), free space, the ego lane's corridor, the \
drivable surface and semantic classes.

**Trained** {start} in the embedded world only, for {training.steps} steps of {training.batch_size} \
images: {samples} images of {towns} generated towns (weather: {weathers}). No real picture, no weight from elsewhere. \
The semantic head has seen no label: it is there to be trained on real drives.

**Made by** `{command}`

**Figures** on towns it never saw (COCO average precision, intersection over union):

{table}

**Use** it to start a fleet's learning from. It knows only what the embedded world draws; it has not been shown to see \
anything on a real road, and in weathers it was not trained on it is visibly worse.
"""
COLUMNS = {"mAP50": "map50", "mAP50-95": "map", "free space": "free_space_iou", "lane": "lane_iou"}


def model_card(settings: Any, figures: Mapping[str, Mapping[str, float]], command: str, parent: str = "") -> str:
    """Markdown from the training's settings and the figures per held-out domain."""
    return CARD.format(
        model=settings.model,
        training=settings.training,
        samples=sum(drive.samples for drive in settings.drives),
        towns=len({drive.town.seed for drive in settings.drives}),
        weathers=", ".join(sorted({drive.weather for drive in settings.drives})),
        command=command,
        start=f"further from release {parent}" if parent else "from random weights",
        table=_table(figures),
    )


def pruned_card(base: str, result: Any, figures: Mapping[str, Mapping[str, Mapping[str, float]]], command: str) -> str:
    """Markdown for a model pruned from release `base` by `command`; figures {whole or pruned: {domain: figures}}."""
    rows = {f"{domain}, {which}": found for which, group in figures.items() for domain, found in group.items()}
    return (
        f"# Perception model, pruned\n\nMade from release {base} by structured pruning of {result.ratio:.0%} of its "
        f"blocks' inner widths, fine-tuned after each step ({result.end}). One image takes {result.latency_ms:.1f} ms "
        f"on one thread of the machine that made it.\n\n**Made by** `{command}`\n\n{_table(rows)}\n"
    )


def _table(figures: Mapping[str, Mapping[str, float]]) -> str:
    rows = ["| conditions | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    for name, found in figures.items():
        rows.append(f"| {name} | " + " | ".join(f"{found[key]:.3f}" for key in COLUMNS.values()) + " |")
    return "\n".join(rows)
