"""``fedvit train policy``: collect, clone, reinforce, export, validate; each phase resumes by itself."""

from dataclasses import dataclass, field
from pathlib import Path

import click
import msgspec
import numpy as np
import safetensors.numpy
import safetensors.torch
import torch

from fed_vit_autorl.cli.output import CommandError, emit, json_option
from fed_vit_autorl.deployment import keys, release
from fed_vit_autorl.deployment.release import Manifest
from fed_vit_autorl.edge import runtime
from fed_vit_autorl.edge.perceiver import Perceiver
from fed_vit_autorl.reinforcement import policy_release
from fed_vit_autorl.reinforcement.cloning import CloningSettings, clone
from fed_vit_autorl.reinforcement.collect import CollectSettings, collect
from fed_vit_autorl.reinforcement.degrade import DegradedPerception
from fed_vit_autorl.reinforcement.demonstrations import INPUTS, load_shards
from fed_vit_autorl.reinforcement.drivers import ModelPerception, Perception, TruthPerception
from fed_vit_autorl.reinforcement.fine_tuning import FineTuningSettings, fine_tune
from fed_vit_autorl.reinforcement.policy import VisionPolicy
from fed_vit_autorl.reinforcement.policy_runtime import feature_width, load_policy
from fed_vit_autorl.reinforcement.validation import validate_safety

PHASES = ("collect", "clone", "reinforce", "export", "validate")
GOLDEN_ROWS = 8
CLONE, WEIGHTS, METRICS, SCENARIOS = "clone.safetensors", "policy.safetensors", "metrics.json", "scenarios.jsonl"


@dataclass(frozen=True)
class ValidationSettings:
    """How many scenarios the released policy has to go through."""

    scenarios: int = 1000


@dataclass(frozen=True)
class PolicyTraining:
    """The whole configuration file."""

    collect: CollectSettings = field(default_factory=CollectSettings)
    clone: CloningSettings = field(default_factory=CloningSettings)
    reinforce: FineTuningSettings = field(default_factory=FineTuningSettings)
    validate: ValidationSettings = field(default_factory=ValidationSettings)


def read_config(path: Path) -> PolicyTraining:
    """The configuration in a YAML file. Raises CommandError that names what is wrong."""
    try:
        raw = msgspec.yaml.decode(path.read_bytes(), type=dict[str, dict])
        for section, values in raw.items():
            kind = PolicyTraining.__dataclass_fields__.get(section)
            known = kind.type.__dataclass_fields__ if kind else PolicyTraining.__dataclass_fields__
            if unknown := sorted(set(values) - set(known)) if kind else [section]:
                raise CommandError(f"{path}: unknown key {', '.join(unknown)}; known: {', '.join(known)}")
        return msgspec.convert(raw, PolicyTraining)
    except (OSError, msgspec.MsgspecError, ValueError) as error:
        raise CommandError(f"{path}: {error}") from error


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
        except (release.ReleaseRefused, OSError, ValueError) as error:
            raise CommandError(f"{folder}: {error}") from error

    @property
    def feature_width(self) -> int:
        """Length of its perception's features."""
        return feature_width(self.folder, self.manifest)

    def policy(self) -> runtime.ModelRuntime | None:
        """Its policy, if it has one: it drives part of the demonstrations."""
        return load_policy(self.folder, self.manifest) if "policy.onnx" in self.manifest.files else None

    def perception(self, kind: str, rng: np.random.Generator) -> Perception:
        """What the demonstrations are perceived by."""
        if kind == "degraded":
            return TruthPerception(DegradedPerception(self.feature_width, rng))
        return ModelPerception(Perceiver(runtime.load(self.folder, self.manifest, "perception")))


def run_collect(config: PolicyTraining, base: Base, out: Path) -> dict[str, float]:
    """Drive the demonstrations that are missing."""

    def show(drive: int, total: int, added: int) -> None:
        click.echo(f"collect: drive {drive} of {total}, {added} demonstrations", err=True)

    settings = config.collect
    added = collect(
        settings,
        out / "demonstrations",
        lambda rng: base.perception(settings.perception, rng),
        base.feature_width,
        base.policy(),
        show,
    )
    return {"demonstrations_added": added}


def run_clone(config: PolicyTraining, base: Base, out: Path) -> dict[str, float]:
    """Train the policy on all demonstrations."""
    data = load_shards(out / "demonstrations")
    torch.manual_seed(config.clone.seed)
    policy = VisionPolicy(base.feature_width)

    def show(epoch: int, loss: float, held_out: float) -> None:
        text = f"clone: epoch {epoch + 1} of {config.clone.epochs}, loss {loss:.4f}, held out {held_out:.4f}"
        click.echo(text, err=True)

    errors = clone(policy, data, config.clone, show) | {"demonstrations": len(data["ego"])}
    safetensors.torch.save_file(policy.state_dict(), out / CLONE)
    safetensors.torch.save_file(policy.state_dict(), out / WEIGHTS)
    (out / METRICS).write_bytes(msgspec.json.encode(errors))
    return errors


def run_reinforce(config: PolicyTraining, base: Base, out: Path) -> dict[str, float]:
    """Improve the clone by PPO; without an improvement it stays as it is."""
    policy = _load(base, out / CLONE)

    def show(iteration: int, figures: dict[str, float]) -> None:
        text = ", ".join(f"{name} {value:.3f}" for name, value in figures.items())
        click.echo(f"reinforce: iteration {iteration} of {config.reinforce.iterations}, {text}", err=True)

    figures = fine_tune(policy, config.reinforce, out / WEIGHTS, show)
    metrics = msgspec.json.decode((out / METRICS).read_bytes()) | figures
    (out / METRICS).write_bytes(msgspec.json.encode(metrics))
    return figures


def run_export(config: PolicyTraining, base: Base, out: Path, key: Path) -> dict[str, float]:
    """Sign the release with the policy in it at `out`/release."""
    policy = _load(base, out / WEIGHTS)
    data = load_shards(out / "demonstrations")
    rows = np.linspace(0, len(data["ego"]) - 1, GOLDEN_ROWS).astype(int)
    golden = {name: data[name][rows] for name in INPUTS}
    metrics = {f"policy_{name}": value for name, value in msgspec.json.decode((out / METRICS).read_bytes()).items()}
    signing = keys.load_or_create_signing_key(key)
    folder = out / "release"
    manifest = policy_release.write_with_policy(base.folder, base.manifest, folder, policy, golden, signing, metrics)
    return {"version": manifest.version, "digest": manifest.digest, "release": str(folder)}


def run_validate(config: PolicyTraining, base: Base, out: Path) -> dict[str, float]:
    """Drive the scenarios with the policy and the shield."""
    policy = _load(base, out / WEIGHTS)
    engine = policy_release.engine(policy)
    every = max(config.validate.scenarios // 20, 1)

    def show(done: int, total: int) -> None:
        if done % every == 0:
            click.echo(f"validate: scenario {done} of {total}", err=True)

    return {"safety": validate_safety(engine, config.validate.scenarios, out / SCENARIOS, show)}


def _load(base: Base, weights: Path) -> VisionPolicy:
    return policy_release.build({"feature_width": base.feature_width}, safetensors.numpy.load_file(weights))


@click.command()
@click.option("--config", type=click.Path(path_type=Path), default=Path("config/train_policy.yaml"), show_default=True)
@click.option(
    "--base", "base_folder", type=click.Path(path_type=Path), default=Path("releases/base"), show_default=True
)
@click.option("--trusted-keys", type=click.Path(path_type=Path), default=Path("releases/keys"), show_default=True)
@click.option("--key", type=click.Path(path_type=Path), default=Path("out/train_policy/release.key"), show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=Path("out/train_policy"), show_default=True)
@click.option("--phase", type=click.Choice((*PHASES, "all")), default="all", show_default=True)
@json_option
def policy(
    config: Path, base_folder: Path, trusted_keys: Path, key: Path, out: Path, phase: str, as_json: bool
) -> None:
    """Train a driving policy and sign a release that holds it: collect, clone, reinforce, export, validate.

    Needs a base release with a perception model. Demonstrations that are in OUT already are not driven again; delete
    OUT to start afresh. A base with a policy drives part of them itself, so that a second round corrects the first.
    """
    settings, base = read_config(config), Base.open(base_folder, trusted_keys)
    out.mkdir(parents=True, exist_ok=True)
    steps = {
        "collect": lambda: run_collect(settings, base, out),
        "clone": lambda: run_clone(settings, base, out),
        "reinforce": lambda: run_reinforce(settings, base, out),
        "export": lambda: run_export(settings, base, out, key),
        "validate": lambda: run_validate(settings, base, out),
    }
    result: dict[str, float] = {}
    for name in PHASES if phase == "all" else (phase,):
        try:
            result |= steps[name]()
        except FileExistsError as error:
            raise CommandError(f"{error} exists; delete it or choose another --out") from error
        except FileNotFoundError as error:
            raise CommandError(str(error)) from error
    emit(result, as_json)
