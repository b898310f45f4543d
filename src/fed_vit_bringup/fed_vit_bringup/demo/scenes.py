"""Labelled scenes that no vehicle trains on: for the aggregator's gate, and for the report."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from fed_vit_autorl.data.store import SampleFolder
from fed_vit_autorl.deployment import release
from fed_vit_autorl.deployment.keys import load_public_keys
from fed_vit_autorl.evaluation.reference import evaluate_perception
from fed_vit_autorl.models.collect import Drive, collect
from fed_vit_autorl.simulation.town import TownSpec

METRICS = ("map50", "free_space_iou")


def held_out(
    folder: Path, town: TownSpec, domains: Sequence[str], samples: int, report: Callable[[str, int], None]
) -> Path:
    """Scenes of a town in each domain's weather, ``samples`` of each; what is there already counts."""
    for domain in domains:
        report(domain, 0)
        collect(
            Drive(town=town, weather=domain, samples=samples), folder / domain, lambda kept, of=domain: report(of, kept)
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
        found: Mapping[str, float] = evaluate_perception(folder, manifest, {}, SampleFolder(scenes / domain))
        result[domain] = {metric: found[metric] for metric in METRICS}
    return result
