"""The training process: what it reads, what it hands over, and what it says when there is nothing to hand over."""

import subprocess
import sys

import msgspec
import numpy as np
import pytest
import safetensors.numpy
import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fed_vit_autorl.data.sample import CameraModel, Labels, Sample
from fed_vit_autorl.data.store import ExperienceStore
from fed_vit_autorl.deployment import keys, release
from fed_vit_autorl.federated.client_training import DELTA, JOB, RESULT, Job
from fed_vit_autorl.models.packaging import perception_files
from fed_vit_autorl.models.perception import ViTPerception

HEIGHT, WIDTH = 64, 96


@pytest.fixture
def base(tmp_path):
    torch.manual_seed(0)
    model = ViTPerception((HEIGHT, WIDTH), 16, 0, 48, 1, 3, stem="conv")
    images = np.random.default_rng(0).integers(0, 255, (1, HEIGHT, WIDTH, 3), np.uint8)
    files, golden = perception_files(model, images)
    files[release.GOLDEN] = release.pack_golden({"perception": golden})
    key = Ed25519PrivateKey.generate()
    release.write_release(tmp_path / "base", files, key, version=1, architecture={"perception": model.architecture})
    (tmp_path / "keys").mkdir()
    keys.save_public_key(key.public_key(), tmp_path / "keys" / "fleet.pub")
    return tmp_path / "base"


def experience(folder, count: int) -> None:
    """A bright road below, a dark sky above."""
    store, random = ExperienceStore(folder), np.random.default_rng(1)
    road = np.zeros((HEIGHT, WIDTH), np.uint8)
    road[HEIGHT // 2 :] = 1
    for index in range(count):
        image = (random.integers(0, 60, (HEIGHT, WIDTH, 3)) + 150 * road[..., None]).astype(np.uint8)
        labels = Labels.unknown(HEIGHT, WIDTH, free_space=road)
        store.add(Sample(image, CameraModel.nominal(WIDTH, HEIGHT), labels=labels, stamp=float(index), source="v1"))


def train(base, tmp_path, patterns: list[str]):
    folder = tmp_path / "job"
    folder.mkdir()
    training = {
        "lr": 1e-3,
        "seed": 0,
        "epochs": 1,
        "batch_size": 4,
        "max_samples": 16,
        "min_samples": 8,
        "timeout_s": 60.0,
    }
    job = Job("v1", "run", 1, str(base), str(tmp_path / "keys"), str(tmp_path / "experience"), patterns, training, {})
    (folder / JOB).write_bytes(msgspec.json.encode(job))
    subprocess.run([sys.executable, "-m", "fed_vit_client.trainer", str(folder)], check=True, timeout=120)
    return folder


def test_it_hands_over_what_changed_in_the_tensors_that_the_fleet_trains(base, tmp_path):
    experience(tmp_path / "experience", 40)
    folder = train(base, tmp_path, ["perception/masks.*", "perception/pyramid.*"])
    weights = safetensors.numpy.load_file(base / "perception.safetensors")
    delta = safetensors.numpy.load_file(folder / DELTA)
    assert set(delta) == {f"perception/{name}" for name in weights if name.startswith(("masks.", "pyramid."))}
    assert all(np.isfinite(tensor).all() for tensor in delta.values())
    assert np.abs(delta["perception/masks.weight"]).max() > 0
    result = msgspec.json.decode((folder / RESULT).read_bytes())
    assert result["samples"] == 16
    assert result["reason"] == ""


def test_too_little_experience_is_a_reason_and_no_update(base, tmp_path):
    experience(tmp_path / "experience", 3)
    folder = train(base, tmp_path, ["perception/*"])
    assert msgspec.json.decode((folder / RESULT).read_bytes())["reason"] == "too_few_samples"
    assert not (folder / DELTA).exists()
