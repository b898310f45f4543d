"""``fedvit train policy``: collect with the expert, clone, export into a release. Every phase resumes where it stopped."""

import sys
from dataclasses import dataclass, field
from pathlib import Path

import click
import msgspec
import numpy as np
import safetensors.torch
import torch

from fed_vit_autorl.cli.output import CommandError, emit, json_option
from fed_vit_autorl.deployment import keys, release
from fed_vit_autorl.deployment.release import Manifest
from fed_vit_autorl.edge import runtime
from fed_vit_autorl.edge.perceiver import Perceiver
from fed_vit_autorl.models.export import export_graph, weights_of
from fed_vit_autorl.reinforcement.cloning import CloningSettings, clone
from fed_vit_autorl.reinforcement.degrade import DegradedPerception
from fed_vit_autorl.reinforcement.demonstrations import INPUTS, Demonstrator, load_shards, save_shard
from fed_vit_autorl.reinforcement.drivers import ModelPerception, Perception, TruthPerception
from fed_vit_autorl.reinforcement.policy import VisionPolicy, example_inputs
from fed_vit_autorl.reinforcement.policy_io import OUTPUTS

FIRST_EVALUATION_SEED = 1000
GOLDEN_ROWS = 8


@dataclass(frozen=True)
class CollectSettings:
    """Where and how demonstrations are driven; see `config/train_policy.yaml`."""

    drives: int = 60
    town_seeds: tuple[int, ...] = (1, 2, 3, 4, 5, 6)
    kinds: tuple[str, ...] = ("grid", "spider", "random")
    weathers: tuple[str, ...] = ("noon",)
    egos: int = 2
    route_length: float = 300.0
    vehicles: int = 30
    pedestrians: int = 30
    limit_s: float = 200.0
    every: int = 4
    perception: str = "degraded"

    def __post_init__(self) -> None:
        if self.perception not in ("degraded", "model"):
            raise ValueError(f"perception: {self.perception!r}; known: degraded, model")
        if max(self.town_seeds) >= FIRST_EVALUATION_SEED:
            raise ValueError(f"town_seeds: those from {FIRST_EVALUATION_SEED} on are kept for evaluation")


@dataclass(frozen=True)
class PolicyTraining:
    """The whole configuration file."""

    collect: CollectSettings = field(default_factory=CollectSettings)
    clone: CloningSettings = field(default_factory=CloningSettings)


class _Strict(msgspec.Struct, forbid_unknown_fields=True):
    """The file's two sections, each refused where it has an unknown key."""

    collect: dict = {}
    clone: dict = {}


def read_config(path: Path) -> PolicyTraining:
    """The configuration in a YAML file. Raises CommandError that names what is wrong."""
    try:
        raw = msgspec.yaml.decode(path.read_bytes(), type=_Strict)
        sections = {"collect": CollectSettings, "clone": CloningSettings}
        for name, kind in sections.items():
            if unknown := set(getattr(raw, name)) - set(kind.__dataclass_fields__):
                known = ", ".join(kind.__dataclass_fields__)
                raise CommandError(f"{path}: {name} has no key {', '.join(sorted(unknown))}; it has: {known}")
        return msgspec.convert(msgspec.to_builtins(raw), PolicyTraining)
    except (OSError, msgspec.MsgspecError, ValueError) as error:
        raise CommandError(f"{path}: {error}") from error


def perception_of(settings: CollectSettings, base: "Base", rng: np.random.Generator) -> Perception:
    """What the demonstrations' perception is."""
    if settings.perception == "model":
        return ModelPerception(Perceiver(runtime.load(base.folder, base.manifest, "perception")))
    return TruthPerception(DegradedPerception(base.feature_width, rng))


@dataclass(frozen=True)
class Base:
    """The verified release that the policy is made for."""

    folder: Path
    manifest: Manifest

    @classmethod
    def open(cls, folder: Path, trusted: Path) -> "Base":
        """Verify the release. Raises CommandError."""
        try:
            return cls(folder, release.verify(folder, keys.load_public_keys(trusted)))
        except (release.ReleaseRefused, OSError) as error:
            raise CommandError(f"{folder}: {error}") from error

    @property
    def feature_width(self) -> int:
        """Length of the perception's features."""
        _, outputs = release.unpack_golden(
            release.read_file(self.folder, self.manifest, release.GOLDEN), "perception"
        )
        return outputs["features"].shape[1]

    def policy(self) -> runtime.ModelRuntime | None:
        """Its policy, if it has one."""
        return runtime.load(self.folder, self.manifest, "policy") if "policy.onnx" in self.manifest.files else None
