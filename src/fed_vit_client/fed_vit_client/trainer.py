"""`python -m fed_vit_client.trainer FOLDER`: one training, at the lowest priority, on one thread; job and result are
files.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import safetensors.numpy

from fed_vit_autorl.data.store import Key, SampleFolder
from fed_vit_autorl.deployment import release
from fed_vit_autorl.deployment.candidate import models_of
from fed_vit_autorl.deployment.keys import load_public_keys
from fed_vit_autorl.deployment.processes import stand_back
from fed_vit_autorl.federated.model_tensors import trainable
from fed_vit_autorl.federated.submodel import extract, narrow
from fed_vit_autorl.federated.update import Tensors
from fed_vit_autorl.federated.vehicle.training import ClientReason
from fed_vit_autorl.federated.vehicle.training_process import JOB, Job, write_refusal, write_result
from fed_vit_autorl.reinforcement.driving_log import FOLDER, load_drives

HIDDEN = {"fc1.weight": 0, "fc1.bias": 0, "fc2.weight": 1}  # the axis of a block's hidden layer
ROWS_PER_SAMPLE = 16  # a row of a drive takes a fraction of a picture's time


def train(folder: Path) -> None:
    """Reads the job in `folder` and writes its result there."""
    job = msgspec.json.decode((folder / JOB).read_bytes(), type=Job)
    samples = SampleFolder(job.experience)
    keys, _ = samples.split()
    if len(keys) < job.training["min_samples"]:
        write_refusal(folder, ClientReason.TOO_FEW_SAMPLES)
        return
    keys = keys[-int(job.training["max_samples"]) :]
    manifest = _manifest(job, job.release)
    weights = {model: release.read_weights(Path(job.release), manifest, model) for model in models_of(manifest)}
    flat = trainable(weights, job.trainable)
    for name, tensor in _tensors(job.personal).items():
        model, _, inner = name.partition("/")
        if name in flat and weights[model][inner].shape == tensor.shape:  # else the release has another head now
            weights[model][inner] = tensor
    thinned: Tensors = {}
    if job.profile:
        part = extract(flat, narrow(flat, **{key: value for key, value in job.profile.items() if key != "name"}))
        thinned = {name: tensor for name, tensor in part.items() if tensor.shape != flat[name].shape}
        if not _hidden_layers_only(flat, thinned):
            write_refusal(folder, ClientReason.NARROW_MODEL)
            return
        flat = part
    delta = {name: np.zeros_like(tensor) for name, tensor in flat.items()}
    metrics: dict[str, float] = {}
    for model, train_model in TRAINERS.items():
        chosen = {name.removeprefix(f"{model}/") for name in flat if name.startswith(f"{model}/")}
        if chosen and (model == "perception" or "scaffold" not in job.strategy):  # the others' learners are adaptive
            part = Part(job, manifest, weights[model], chosen, samples, keys, thinned)
            trained, figures = train_model(part)
            delta |= {f"{model}/{name}": tensor for name, tensor in trained.items()}
            metrics |= figures
    write_result(folder, delta, len(keys), metrics)


def _manifest(job: Job, folder: str) -> release.Manifest:
    return release.read_manifest(Path(folder), load_public_keys(Path(job.trusted_keys)))


def _shipped(job: Job, running: release.Manifest) -> tuple[dict, Tensors] | None:
    """Architecture and weights of the perception that the vehicle came with, None if it still runs that release."""
    manifest = _manifest(job, job.shipped)
    if manifest.digest == running.digest or "perception" not in models_of(manifest):
        return None
    return manifest.architecture["perception"], release.read_weights(Path(job.shipped), manifest, "perception")


def _hidden_layers_only(whole: Tensors, thinned: Tensors) -> bool:
    """Whether what became thinner are hidden layers of perception's blocks, each on both of its sides."""
    blocks = {name.rsplit(".mlp.", 1)[0] for name in thinned}
    axes = {f"{block}.mlp.{side}": axis for block in blocks for side, axis in HIDDEN.items()}

    def others(name: str, tensors: Tensors) -> list[int]:
        return np.delete(tensors[name].shape, axes[name]).tolist()

    return (
        all(block.startswith("perception/") for block in blocks)
        and thinned.keys() == axes.keys()
        and all(others(name, thinned) == others(name, whole) for name in thinned)
    )


@dataclass(frozen=True)
class Part:
    """What one model of a release is trained with; `chosen` are the names of the tensors that the fleet trains,
    `thinned` (by flat name) what is left of some of perception's on a weak device.
    """

    job: Job
    manifest: release.Manifest
    weights: Tensors
    chosen: set[str]
    samples: SampleFolder
    keys: list[Key]
    thinned: Tensors


def _train_perception(part: Part) -> tuple[Tensors, dict[str, float]]:
    """Trained minus base by name, and the parts of the loss."""
    import torch

    from fed_vit_autorl.models.local_training import Trained, fit_folder
    from fed_vit_autorl.models.training import Progress, TrainingOptions

    torch.set_num_threads(1)
    job, keys = part.job, part.keys
    batch_size = int(job.training["batch_size"])
    options = TrainingOptions(
        steps=math.ceil(job.training["epochs"] * len(keys) / batch_size),
        batch_size=batch_size,
        learning_rate=job.training["lr"],
        seed=int(job.training["seed"]) + job.round,
        sgd="scaffold" in job.strategy,
    )
    shipped = _shipped(job, part.manifest)
    delta, figures = fit_folder(
        Trained(part.manifest.architecture["perception"], part.weights),
        part.samples,
        keys,
        options,
        shipped=shipped and Trained(*shipped),
        trainable=part.chosen.__contains__,
        progress=Progress(after_backward=_corrections(job)),
        thinned={name.removeprefix("perception/"): tensor for name, tensor in part.thinned.items()},
    )
    return delta, figures | {"local_steps": float(options.steps), "local_lr": float(options.learning_rate)}


def _train_policy(part: Part) -> tuple[Tensors, dict[str, float]]:
    """Trained minus base by name, and figures of the drives; nothing where too little was driven."""
    import torch

    from fed_vit_autorl.reinforcement.driving_lessons import LessonSettings, learn

    torch.set_num_threads(1)
    job = part.job
    most = ROWS_PER_SAMPLE * int(job.training["max_samples"])
    architecture = part.manifest.architecture["policy"]
    drives = load_drives(Path(job.experience) / FOLDER, architecture["feature_width"], most)
    if len(drives["reward"]) < ROWS_PER_SAMPLE * job.training["min_samples"]:
        return {}, {}
    settings = LessonSettings(
        epochs=math.ceil(job.training["epochs"]),
        learning_rate=job.training["lr"],
        seed=int(job.training["seed"]) + job.round,
    )
    proximal = _proximal(job)
    correction = None if proximal is None else lambda policy: proximal(policy).correct
    return learn(architecture, part.weights, drives, settings, part.chosen.__contains__, correction)


TRAINERS: dict[str, Callable[[Part], tuple[Tensors, dict[str, float]]]] = {
    "perception": _train_perception,
    "policy": _train_policy,
}


def _proximal(job: Job) -> Callable | None:
    """What makes FedProx's term from a model, if the fleet's strategy asks for one."""
    from fed_vit_autorl.federated.local import ProximalTerm

    if "proximal_mu" not in job.strategy:
        return None
    return lambda model: ProximalTerm(model, job.strategy["proximal_mu"])


def _corrections(job: Job) -> list[Callable]:
    """What the fleet's strategy adds to perception's gradients."""
    from fed_vit_autorl.federated.local import Correction

    proximal = _proximal(job)
    terms = [_first_time(proximal)] if proximal else []
    own = {name.removeprefix("perception/"): tensor for name, tensor in _tensors(job.correction).items()}
    return [*terms, Correction(own).correct] if own else terms


def _tensors(path: str) -> Tensors:
    return safetensors.numpy.load_file(path) if path else {}


def _first_time(make):
    """A correction that is made from the model as it is before the first step."""
    made = []

    def correct(model) -> None:
        if not made:
            made.append(make(model))
        made[0].correct(model)

    return correct


def main() -> None:
    """Trains when nobody else wants the processor."""
    stand_back()
    train(Path(sys.argv[1]))


if __name__ == "__main__":
    main()
