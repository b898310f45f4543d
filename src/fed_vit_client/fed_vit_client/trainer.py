"""`python -m fed_vit_client.trainer FOLDER`: one training, at the lowest priority, on one thread; job and result are
files.
"""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path

import msgspec
import numpy as np

from fed_vit_autorl.data.store import Key, SampleFolder
from fed_vit_autorl.deployment import release
from fed_vit_autorl.deployment.candidate import models_of
from fed_vit_autorl.deployment.keys import load_public_keys
from fed_vit_autorl.federated.client import ClientReason
from fed_vit_autorl.federated.client_training import JOB, Job, write_refusal, write_result
from fed_vit_autorl.federated.model_tensors import trainable
from fed_vit_autorl.federated.update import Tensors

NICEST = 19


def train(folder: Path) -> None:
    """Reads the job in `folder` and writes its result there."""
    job = msgspec.json.decode((folder / JOB).read_bytes(), type=Job)
    samples = SampleFolder(job.experience)
    keys, _ = samples.split()
    if len(keys) < job.training["min_samples"]:
        write_refusal(folder, ClientReason.TOO_FEW_SAMPLES)
        return
    keys = keys[-int(job.training["max_samples"]) :]
    base = Path(job.release)
    manifest = release.read_manifest(base, load_public_keys(Path(job.trusted_keys)))
    weights = {model: release.read_weights(base, manifest, model) for model in models_of(manifest)}
    flat = trainable(weights, job.trainable)
    delta = {name: np.zeros_like(tensor) for name, tensor in flat.items()}
    trained, metrics = _train_perception(
        job, manifest.architecture["perception"], weights["perception"], samples, keys, flat
    )
    delta |= trained
    write_result(folder, delta, len(keys), metrics)


def _train_perception(
    job: Job, architecture: dict, weights: Tensors, samples: SampleFolder, keys: list[Key], flat: Tensors
) -> tuple[Tensors, dict[str, float]]:
    """Trained minus base by flat name, and the parts of the loss."""
    import torch

    from fed_vit_autorl.federated.local import ProximalTerm
    from fed_vit_autorl.models.training import Progress, TrainingOptions, fit_folder

    torch.set_num_threads(1)
    batch_size = int(job.training["batch_size"])
    options = TrainingOptions(
        steps=math.ceil(job.training["epochs"] * len(keys) / batch_size),
        batch_size=batch_size,
        learning_rate=job.training["lr"],
        seed=int(job.training["seed"]) + job.round,
    )
    corrections = []
    if "proximal_mu" in job.strategy:
        corrections.append(_first_time(lambda model: ProximalTerm(model, job.strategy["proximal_mu"])))
    delta, losses = fit_folder(
        architecture,
        weights,
        samples,
        keys,
        options,
        trainable=lambda name: f"perception/{name}" in flat,
        progress=Progress(after_backward=corrections),
    )
    return {f"perception/{name}": tensor for name, tensor in delta.items()}, losses


def _first_time(make):
    """A correction that is made from the model as it is before the first step."""
    made = []

    def correct(model) -> None:
        if not made:
            made.append(make(model))
        made[0].correct(model)

    return correct


def main() -> None:
    """Lowers the priority and trains."""
    os.nice(NICEST)
    train(Path(sys.argv[1]))


if __name__ == "__main__":
    main()
