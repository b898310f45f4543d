"""The training process: what it reads, what it hands over, and what it says when there is nothing to hand over."""

import shutil
import subprocess
import sys

import msgspec
import numpy as np
import pytest
import safetensors.numpy
import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fed_vit_autorl.data.sample import CameraModel, EgoState, Labels, Sample
from fed_vit_autorl.data.store import ExperienceStore
from fed_vit_autorl.deployment import keys, release
from fed_vit_autorl.deployment.candidate import make_candidate
from fed_vit_autorl.federated.pipeline import Pipeline
from fed_vit_autorl.federated.strategies import STRATEGIES
from fed_vit_autorl.federated.update import Layout, Update, UpdateMetadata
from fed_vit_autorl.federated.vehicle.training_process import DELTA, JOB, RESULT, Job
from fed_vit_autorl.models.packaging import perception_files
from fed_vit_autorl.models.perception import ViTPerception
from fed_vit_autorl.reinforcement.driving_log import FOLDER, DrivingLog
from fed_vit_autorl.reinforcement.policy import VisionPolicy, example_inputs
from fed_vit_autorl.reinforcement.policy_io import SceneView
from fed_vit_autorl.reinforcement.policy_release import write_with_policy
from fed_vit_autorl.reinforcement.route import Route
from fed_vit_autorl.simulation.vehicle import Control
from fed_vit_client import trainer

HEIGHT, WIDTH = 64, 96


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    """(release, trusted keys): a tiny perception and a policy on its features."""
    folder = tmp_path_factory.mktemp("shipped")
    torch.manual_seed(0)
    model = ViTPerception((HEIGHT, WIDTH), 16, 0, 48, 1, 3, stem="conv")
    images = np.random.default_rng(0).integers(0, 255, (1, HEIGHT, WIDTH, 3), np.uint8)
    files, golden = perception_files(model, images)
    files[release.GOLDEN] = release.pack_golden({"perception": golden})
    key, architecture = Ed25519PrivateKey.generate(), {"perception": model.architecture}
    seen = release.write_release(folder / "seeing", files, key, version=1, architecture=architecture)
    features = golden[1]["features"].shape[1]
    inputs = {name: tensor.numpy() for name, tensor in example_inputs(features).items()}
    policy = VisionPolicy(features, 16).eval()
    write_with_policy(folder / "seeing", seen, folder / "base", policy, inputs, key, {})
    keys.save_public_key(key.public_key(), folder / "keys" / "fleet.pub")
    return folder / "base", folder / "keys"


def experience(folder, count: int) -> None:
    """A bright road below, a dark sky above, nobody about."""
    store, random = ExperienceStore(folder), np.random.default_rng(1)
    road = np.zeros((HEIGHT, WIDTH), np.uint8)
    road[HEIGHT // 2 :] = 1
    for index in range(count):
        image = (random.integers(0, 60, (HEIGHT, WIDTH, 3)) + 150 * road[..., None]).astype(np.uint8)
        labels = Labels.unknown(HEIGHT, WIDTH, free_space=road, boxes=np.zeros((0, 4), np.float32))
        store.add(Sample(image, CameraModel.nominal(WIDTH, HEIGHT), labels=labels, stamp=float(index), source="v1"))


def drives(folder, width: int, count: int) -> None:
    """A straight drive at 8 m/s in which the shield brakes in every fourth frame."""
    log = DrivingLog(folder)
    log.on_route(Route(np.array([[300.0 * number, 0.0] for number in range(4)])))
    for number in range(count):
        stamp = 0.2 * number
        log.on_ego(EgoState(stamp, (8.0 * stamp, 0.0, 0.0), 0.0, 8.0))
        log.on_scene(stamp, SceneView(np.zeros(width, np.float32)))
        held_back = number % 4 == 0
        log.on_command(stamp, Control(0.0, 0.0, 0.5 * held_back), "obstacle" if held_back else "")
    log.flush()


def prepare(shipped, tmp_path, patterns: list[str], strategy: dict | None = None, came_with=None, **fields):
    """The folder of a job, of a vehicle that still runs the release that it `came_with` unless another is given."""
    folder = tmp_path / "job"
    folder.mkdir(exist_ok=True)
    training = {
        "lr": 1e-3,
        "seed": 0,
        "epochs": 1,
        "batch_size": 4,
        "max_samples": 16,
        "min_samples": 8,
        "timeout_s": 60.0,
    }
    job = Job(
        "v1",
        "run",
        1,
        str(shipped[0]),
        str(came_with or shipped[0]),
        str(shipped[1]),
        str(tmp_path / "experience"),
        patterns,
        training,
        strategy or {},
        **fields,
    )
    (folder / JOB).write_bytes(msgspec.json.encode(job))
    return folder


def train(*arguments, **fields):
    """The folder of a job that the training process has done."""
    folder = prepare(*arguments, **fields)
    subprocess.run([sys.executable, "-m", "fed_vit_client.trainer", str(folder)], check=True, timeout=600)
    return folder


def test_it_hands_over_what_changed_in_the_tensors_that_the_fleet_trains(shipped, tmp_path):
    experience(tmp_path / "experience", 40)
    folder = train(shipped, tmp_path, ["perception/masks.*", "perception/pyramid.*"])
    weights = safetensors.numpy.load_file(shipped[0] / "perception.safetensors")
    delta = safetensors.numpy.load_file(folder / DELTA)
    assert set(delta) == {f"perception/{name}" for name in weights if name.startswith(("masks.", "pyramid."))}
    assert all(np.isfinite(tensor).all() for tensor in delta.values())
    assert np.abs(delta["perception/masks.weight"]).max() > 0
    result = msgspec.json.decode((folder / RESULT).read_bytes())
    assert result["samples"] == 16
    assert result["reason"] == ""


def test_a_vehicle_that_runs_another_release_reads_the_one_it_came_with_and_trusts_no_other(shipped, tmp_path):
    experience(tmp_path / "experience", 40)
    came_with = shutil.copytree(shipped[0].parent / "seeing", tmp_path / "came_with")
    folder = prepare(shipped, tmp_path, ["perception/masks.*"], came_with=came_with)
    trainer.train(folder)
    assert np.abs(safetensors.numpy.load_file(folder / DELTA)["perception/masks.weight"]).max() > 0
    weights = bytearray((came_with / "perception.safetensors").read_bytes())
    weights[-1] ^= 1
    (came_with / "perception.safetensors").write_bytes(weights)
    with pytest.raises(release.ReleaseRefused, match=r"perception\.safetensors"):
        trainer.train(folder)


def test_scaffold_descends_from_the_vehicles_own_head_with_the_correction_and_says_how_far_it_went(shipped, tmp_path):
    experience(tmp_path / "experience", 40)
    name = "perception/masks.bias"
    shape = safetensors.numpy.load_file(shipped[0] / "perception.safetensors")["masks.bias"].shape
    own, correction = tmp_path / "own.safetensors", tmp_path / "correction.safetensors"
    safetensors.numpy.save_file({name: np.full(shape, 3.0, np.float32)}, own)
    safetensors.numpy.save_file({name: np.full(shape, 1e3, np.float32)}, correction)  # outweighs every gradient
    files = {"personal": str(own), "correction": str(correction)}
    folder = train(shipped, tmp_path, [name], {"scaffold": 1.0}, **files)
    metrics = msgspec.json.decode((folder / RESULT).read_bytes())["metrics"]
    assert (metrics["local_steps"], metrics["local_lr"]) == (4.0, 1e-3)
    moved = safetensors.numpy.load_file(folder / DELTA)[name]  # from 3.0, not from the release's values
    # Four steps of 1e-3 against a gradient that is clipped to a norm of 5, shared by the tensor's values.
    np.testing.assert_allclose(moved, -4 * 1e-3 * 5 / np.sqrt(moved.size), rtol=0.01)


def test_a_device_class_trains_the_tensors_that_are_left_to_it_and_not_all_of_them_thinner(shipped, tmp_path):
    experience(tmp_path / "experience", 40)
    patterns = ["perception/masks.*", "perception/pyramid.*"]
    folder = train(shipped, tmp_path, patterns, profile={"name": "nano", "keep": ["perception/masks.*"]})
    assert {name.split(".")[0] for name in safetensors.numpy.load_file(folder / DELTA)} == {"perception/masks"}
    folder = train(shipped, tmp_path, patterns, profile={"name": "thin", "width": 0.5})
    assert msgspec.json.decode((folder / RESULT).read_bytes())["reason"] == "narrow_model"


def test_a_weak_device_trains_blocks_with_half_of_their_hidden_layers(shipped, tmp_path):
    """HeteroFL's slice: the leading half. What it sends moves these coordinates of the global model and no others."""
    experience(tmp_path / "experience", 40)
    thin = {"width": 0.5, "thinned": ["*.mlp.fc1.*:0", "*.mlp.fc2.weight:1"]}
    folder = prepare(shipped, tmp_path, ["perception/*"], profile={"name": "thin", **thin})
    trainer.train(folder)
    assert msgspec.json.decode((folder / RESULT).read_bytes())["reason"] == ""
    delta = safetensors.numpy.load_file(folder / DELTA)
    weights = safetensors.numpy.load_file(shipped[0] / "perception.safetensors")
    model = {name: weights[name.removeprefix("perception/")] for name in delta}
    shapes = {name: (delta[name].shape, tensor.shape) for name, tensor in model.items()}
    smaller = {name.partition(".blocks.0.")[2]: shape for name, shape in shapes.items() if shape[0] != shape[1]}
    assert smaller == {
        "mlp.fc1.weight": ((96, 48), (192, 48)),
        "mlp.fc1.bias": ((96,), (192,)),
        "mlp.fc2.weight": ((48, 96), (48, 192)),
    }
    strategy = STRATEGIES.build({"submodels": {"profiles": {"thin": thin}}})
    strategy.begin(model, 1)
    strategy.add(Update(delta, UpdateMetadata(1, 1, "v1", 16, profile="thin")), 16.0)
    moved = strategy.finish()
    [hidden] = [name for name in model if name.endswith("mlp.fc2.weight")]
    np.testing.assert_array_equal(moved[hidden][:, 96:], model[hidden][:, 96:])
    assert np.abs(delta[hidden]).max() > 0
    np.testing.assert_allclose(moved[hidden][:, :96], model[hidden][:, :96] + delta[hidden], rtol=1e-6)
    one_sided = {"name": "thin", "width": 0.5, "thinned": ["*.mlp.fc1.*:0"]}
    folder = prepare(shipped, tmp_path, ["perception/*"], profile=one_sided)
    trainer.train(folder)
    assert msgspec.json.decode((folder / RESULT).read_bytes())["reason"] == "narrow_model"


def test_what_the_shield_corrected_becomes_an_update_of_the_policy(shipped, tmp_path):
    """Through the fleet's pipeline and into a candidate that the vehicle could load."""
    base, trusted = shipped
    experience(tmp_path / "experience", 40)
    manifest = release.verify(base, keys.load_public_keys(trusted))
    drives(tmp_path / "experience" / FOLDER, manifest.architecture["policy"]["feature_width"], 200)
    folder = train(shipped, tmp_path, ["policy/longitudinal.*", "policy/encoder.mix.*"])
    delta = safetensors.numpy.load_file(folder / DELTA)
    assert {name.split(".")[0] for name in delta} == {"policy/longitudinal", "policy/encoder"}
    assert all(np.abs(tensor).max() > 0 for tensor in delta.values())
    figures = msgspec.json.decode((folder / RESULT).read_bytes())["metrics"]
    assert figures["policy.rows"] == 199
    assert figures["policy.corrected"] == pytest.approx(0.25, abs=0.01)
    update = Update(delta, UpdateMetadata(1, manifest.version, "v1", 16))
    stages = ["clip", {"top_k": {"ratio": 0.1}}, {"quantise": {"bits": 8}}]
    wire = Pipeline.from_config(stages, Layout.of(delta)).encode(update)
    arrived = Pipeline.from_config(stages, Layout.of(delta)).decode(wire).tensors
    bias = release.read_weights(base, manifest, "policy")["longitudinal.bias"] + arrived["policy/longitudinal.bias"]
    assert bias[0] < 0.0  # it has become more careful
    make_candidate(
        base,
        manifest,
        tmp_path / "next",
        {"policy": {"longitudinal.bias": bias}},
        Ed25519PrivateKey.generate(),
        version=3,
    )


def test_too_little_driving_leaves_the_policy_as_it_is(shipped, tmp_path):
    experience(tmp_path / "experience", 40)
    folder = train(shipped, tmp_path, ["policy/longitudinal.*"])
    delta = safetensors.numpy.load_file(folder / DELTA)
    assert set(delta) == {"policy/longitudinal.weight", "policy/longitudinal.bias"}
    assert all((tensor == 0.0).all() for tensor in delta.values())


def test_too_little_experience_is_a_reason_and_no_update(shipped, tmp_path):
    experience(tmp_path / "experience", 3)
    folder = train(shipped, tmp_path, ["perception/*"])
    assert msgspec.json.decode((folder / RESULT).read_bytes())["reason"] == "too_few_samples"
    assert not (folder / DELTA).exists()
