"""Labelled scenes that no vehicle trains on: for the aggregator's gate, and for the report."""

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from pathlib import Path

from fed_vit_autorl.data.store import SampleFolder
from fed_vit_autorl.deployment import release
from fed_vit_autorl.deployment.keys import load_public_keys
from fed_vit_autorl.evaluation.reference import evaluate_perception
from fed_vit_autorl.models.collect import Drive, collect
from fed_vit_autorl.simulation.town import TownSpec

METRICS = ("map50", "free_space_iou")


def held_out(
    folder: Path,
    towns: Sequence[TownSpec],
    domains: Sequence[str],
    samples: int,
    report: Callable[[str, int], None],
) -> Path:
    """``samples`` scenes of each town in each domain's weather; what is there already counts."""
    for domain in domains:
        for number, town in enumerate(towns):
            before = number * samples
            report(domain, before)
            collect(
                Drive(town=town, weather=domain, samples=samples),
                folder / f"{domain}-{town.seed}",
                lambda kept, of=domain, before=before: report(of, before + kept),
            )
    return folder


def figures(
    folder: Path, trusted_keys: Sequence[Path], scenes: Path, domains: Sequence[str]
) -> dict[str, dict[str, float]]:
    """A release's detection mAP50 and free-space IoU on the scenes of each domain."""
    keys = [key for path in trusted_keys for key in load_public_keys(path)]
    manifest = release.read_manifest(folder, keys)
    result: dict[str, dict[str, float]] = {}
    for domain in domains:
        samples = chain.from_iterable(SampleFolder(town) for town in sorted(scenes.glob(f"{domain}-*")))
        found: Mapping[str, float] = evaluate_perception(folder, manifest, {}, samples)
        result[domain] = {metric: found[metric] for metric in METRICS}
    return result
