"""``fedvit train fleet-policy``: does a fleet's policy beat each vehicle's own on the others' towns?"""

from collections.abc import Callable, Mapping
from pathlib import Path

import click
import msgspec
import numpy as np
from safetensors.numpy import save_file

from fed_vit_autorl.cli.output import CommandError, emit, json_option
from fed_vit_autorl.deployment import release
from fed_vit_autorl.federated.update import Tensors
from fed_vit_autorl.reinforcement.driving_log import load_drives
from fed_vit_autorl.reinforcement.evaluation_drives import open_release
from fed_vit_autorl.reinforcement.fleet_learning import (
    MOST_ROWS,
    TOWNS,
    Drive,
    FleetSettings,
    drive_town,
    error,
    learn_alone,
    learn_together,
)

HELD_OUT_SEED = 500_000
FLEET, SHIPPED = "fleet", "shipped"
Figures = dict[str, dict[str, float]]


class Study:
    """One study in a folder; drives that it holds are not driven again."""

    def __init__(self, architecture: Mapping, weights: Tensors, settings: FleetSettings, folder: Path) -> None:
        self.architecture, self.weights, self.settings, self.folder = architecture, weights, settings, folder

    def drives(self, policy: str, weights: Tensors, town: str, first: int, count: int) -> list[Drive]:
        """The drives with seeds from `first` on."""
        found = []
        for seed in range(first, first + count):
            folder = self.folder / policy / town / str(seed)
            done = folder / "drive.json"
            if not done.exists():
                driven = drive_town(self.architecture, weights, town, seed, self.settings.drive_s, folder)
                done.write_bytes(msgspec.json.encode(driven))
                click.echo(f"{policy} in {town}, drive {seed}: {driven.interventions} interventions", err=True)
            found.append(msgspec.json.decode(done.read_bytes(), type=Drive))
        return found

    def rows(self, policy: str, town: str, first: int, count: int) -> Mapping[str, np.ndarray]:
        """What those drives logged."""
        width = self.architecture["feature_width"]
        parts = [
            load_drives(self.folder / policy / town / str(seed), width, MOST_ROWS)
            for seed in range(first, first + count)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def run(self) -> dict:
        """Collect, learn alone and together, judge on held-out drives: by error, and by how they went."""
        settings = self.settings
        experience, judged = {}, {}
        for town in TOWNS:
            self.drives(SHIPPED, self.weights, town, 0, settings.drives)
            self.drives(SHIPPED, self.weights, town, HELD_OUT_SEED, settings.held_out)
            experience[town] = self.rows(SHIPPED, town, 0, settings.drives)
            judged[town] = self.rows(SHIPPED, town, HELD_OUT_SEED, settings.held_out)
        policies = {SHIPPED: self.weights}
        for town, rows in experience.items():
            policies[town] = learn_alone(self.architecture, self.weights, rows, settings)
        policies[FLEET] = learn_together(self.architecture, self.weights, experience, settings)
        for name, weights in policies.items():
            save_file(weights, self.folder / f"{name}.safetensors")
        errors = {
            name: {town: error(self.architecture, weights, judged[town]) for town in TOWNS}
            for name, weights in policies.items()
        }
        driven = {
            name: {town: self.drives(name, weights, town, HELD_OUT_SEED, settings.held_out) for town in TOWNS}
            for name, weights in policies.items()
        }
        figures = {"error": errors} | {
            figure: {name: {town: of(drives) for town, drives in towns.items()} for name, towns in driven.items()}
            for figure, of in DRIVING.items()
        }
        return {
            "rows": {town: len(rows["reward"]) for town, rows in experience.items()},
            "corrected_rows": {town: int(rows["corrected"].sum()) for town, rows in experience.items()},
            **figures,
            "elsewhere": {figure: elsewhere(found) for figure, found in figures.items()},
        }


def _metres(drives: list[Drive]) -> float:
    return sum(one.metres for one in drives)


DRIVING: dict[str, Callable[[list[Drive]], float]] = {
    "reward": lambda drives: float(np.mean([one.reward for one in drives])),
    "metres": _metres,
    "interventions_per_km": lambda drives: (
        1000.0 * sum(one.interventions for one in drives) / max(_metres(drives), 1.0)
    ),
}
"""How a policy drove: the mean reward of a moment, the way, and how often the shield stepped in. Who hardly moves needs
no intervention, so that the last says little without the others."""


def elsewhere(figures: Figures) -> Figures:
    """By vehicle's town: the mean over the others' towns of its `own` policy, the fleet's and the shipped one."""
    return {
        home: {
            name: float(np.mean([figures[policy][town] for town in TOWNS if town != home]))
            for name, policy in (("own", home), (FLEET, FLEET), (SHIPPED, SHIPPED))
        }
        for home in TOWNS
    }


@click.command("fleet-policy")
@click.option("--release", "base", type=click.Path(path_type=Path), default=Path("releases/base"), show_default=True)
@click.option("--trusted-keys", type=click.Path(path_type=Path), default=Path("releases/keys"), show_default=True)
@click.option("--drives", type=click.IntRange(1), default=8, show_default=True, help="to learn from, in each town")
@click.option("--held-out", type=click.IntRange(1), default=4, show_default=True, help="to judge by, in each town")
@click.option("--rounds", type=click.IntRange(1), default=8, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=Path("out/fleet_policy"), show_default=True)
@json_option
def fleet_policy(
    base: Path, trusted_keys: Path, drives: int, held_out: int, rounds: int, out: Path, as_json: bool
) -> None:
    """Let vehicles of unlike towns learn from their shields' corrections, alone and as a fleet, and compare.

    One town has queues, one people on the road, one cars that pull out and cross. `elsewhere` gives, for each vehicle,
    its own policy's and the fleet's figures in the towns of the others, on drives that nobody learned from.
    """
    manifest = open_release(base, trusted_keys)
    if "policy" not in manifest.architecture:
        raise CommandError(f"{base} has no policy; train one with `fedvit train policy`")
    weights = release.read_weights(base, manifest, "policy")
    settings = FleetSettings(drives=drives, held_out=held_out, rounds=rounds)
    study = Study(manifest.architecture["policy"], weights, settings, out / manifest.model_id)
    emit(study.run() | {"model": manifest.model_id}, as_json)
