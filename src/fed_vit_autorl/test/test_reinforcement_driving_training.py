"""Collect, clone, export: short, but all of it, in the world without sensors."""

import numpy as np
import pytest
import safetensors.numpy
import torch
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fed_vit_autorl.cli.output import CommandError
from fed_vit_autorl.deployment import keys, release
from fed_vit_autorl.edge import runtime
from fed_vit_autorl.evaluation.run_log import InfractionKind
from fed_vit_autorl.reinforcement import policy_release, train_policy
from fed_vit_autorl.reinforcement.cloning import CloningSettings, clone
from fed_vit_autorl.reinforcement.closed_loop import record
from fed_vit_autorl.reinforcement.collect import CollectSettings, collect
from fed_vit_autorl.reinforcement.degrade import DegradedPerception
from fed_vit_autorl.reinforcement.demonstrations import Disturbance, load_shards
from fed_vit_autorl.reinforcement.drivers import ExpertDriver, PolicyDriver, TruthPerception
from fed_vit_autorl.reinforcement.policy import VisionPolicy, example_inputs
from fed_vit_autorl.reinforcement.policy_runtime import feature_width
from fed_vit_autorl.simulation.config import EgoConfig, WorldConfig
from fed_vit_autorl.simulation.town import TownKind
from fed_vit_autorl.simulation.vehicle import Control
from fed_vit_autorl.simulation.world import World

WIDTH = 16
SHORT = CollectSettings(
    routes_per_town=1,
    town_seeds=(1,),
    kinds=(TownKind.GRID,),
    egos=1,
    vehicles=6,
    pedestrians=4,
    limit_s=8.0,
    every=2,
    streets=1,
    street_limit_s=8.0,
)


def degraded(rng: np.random.Generator) -> TruthPerception:
    return TruthPerception(DegradedPerception(WIDTH, rng))


@pytest.fixture(scope="module")
def demonstrations(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demonstrations")
    collect(SHORT, folder, degraded, WIDTH)
    return folder


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A release whose perception gives features of the right length, and the key that signs."""
    key, folder = Ed25519PrivateKey.generate(), tmp_path_factory.mktemp("base")
    keys.save_public_key(key.public_key(), folder / "base.pub")
    golden = release.pack_golden({"perception": ({}, {"features": np.zeros((1, WIDTH), np.float32)})})
    files = {"perception.onnx": b"graph", release.GOLDEN: golden, release.CARD: b"# Card\n"}
    release.write_release(folder / "release", files, key, version=3, architecture={"perception": {"embed_dim": WIDTH}})
    return folder, key


def test_what_is_collected_already_is_not_driven_again(demonstrations):
    count = len(load_shards(demonstrations)["ego"])
    assert 2 * 70 <= count <= 2 * 85
    (demonstrations / "drive_0001.safetensors").unlink()
    added = collect(SHORT, demonstrations, degraded, WIDTH)
    assert 0 < added < count
    assert len(load_shards(demonstrations)["ego"]) == count


def test_cloning_unlearns_a_wrong_bias_and_repeats_to_the_bit(demonstrations):
    data = load_shards(demonstrations)
    results = []
    for epochs in (1, 12, 12):
        torch.manual_seed(0)
        policy = VisionPolicy(WIDTH)
        torch.nn.init.constant_(policy.longitudinal.bias, -1.0)
        results.append(clone(policy, data, CloningSettings(epochs=epochs, batch_size=32)))
    assert results[1]["acceleration_mae"] < 0.5 * results[0]["acceleration_mae"]
    assert results[1] == results[2]


def test_a_policy_joins_the_perception_in_a_signed_release(base, demonstrations, tmp_path):
    folder, key = base
    trusted = [key.public_key()]
    parent = release.verify(folder / "release", trusted)
    policy = VisionPolicy(feature_width(folder / "release", parent)).eval()
    golden = {name: array.numpy() for name, array in example_inputs(WIDTH, 2).items()}
    policy_release.write_with_policy(
        folder / "release", parent, tmp_path / "new", policy, golden, key, {"policy/x": 1.0}
    )
    manifest = release.verify(tmp_path / "new", trusted)
    assert (manifest.version, manifest.parent) == (4, parent.digest)
    assert set(manifest.architecture) == {"perception", "policy"}
    assert "driving policy" in (tmp_path / "new" / release.CARD).read_text().lower()
    runtime.load(tmp_path / "new", manifest, "policy").close()
    again = policy_release.build(
        manifest.architecture["policy"], release.read_weights(tmp_path / "new", manifest, "policy")
    )
    for name, tensor in policy.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], tensor)


def test_expert_and_policy_leave_run_logs(base):
    _folder, _key = base
    config = WorldConfig(egos={"a": EgoConfig(route_length=60.0)}, vehicles=0, pedestrians=0, image=False, scan=False)
    engine = policy_release.engine(VisionPolicy(WIDTH).eval())
    with World(config) as world:
        (expert,) = record(world, 0, lambda name, seen: ExpertDriver(seen), limit_s=30.0)
        rng = np.random.default_rng(0)
        (driven,) = record(world, 0, lambda name, seen: PolicyDriver(seen, engine, degraded(rng)), limit_s=20.0)
    assert len(expert.steps) > 100
    assert not [one for one in expert.infractions if one.kind is not InfractionKind.RED_LIGHT]
    assert driven.completion > 0.2
    assert not driven.infractions
    assert not any(step.intervention for step in driven.steps)


def test_disturbances_come_and_go_and_stay_within_the_pedals():
    disturb = Disturbance(np.random.default_rng(0), rate=0.05)
    controls = [disturb(Control(0.0, 0.5, 0.0)) for _ in range(400)]
    pushed = sum(control != Control(0.0, 0.5, 0.0) for control in controls)
    assert 50 < pushed < 350
    assert all(0.0 <= control.throttle <= 1.0 and 0.0 <= control.brake <= 1.0 for control in controls)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("collect: {route_lenght: 3}", "route_lenght"),
        ("clon: {}", "clon"),
        ("collect: {town_seeds: [1000]}", "kept for evaluation"),
        ("collect: {perception: psychic}", "psychic"),
        ("clone: {epochs: many}", "epochs"),
        ("[", "yaml"),
    ],
)
def test_a_wrong_configuration_is_refused_by_name(tmp_path, text, message):
    path = tmp_path / "train.yaml"
    path.write_text(text)
    with pytest.raises(CommandError, match=message):
        train_policy.read_config(path)


def test_the_command_runs_every_phase(base, tmp_path):
    folder, _ = base
    config = tmp_path / "train.yaml"
    config.write_text(
        "collect: {routes_per_town: 1, town_seeds: [1], kinds: [grid], egos: 1, vehicles: 0, pedestrians: 0,"
        " limit_s: 4.0, every: 1, streets: 0}\nclone: {epochs: 1, batch_size: 16}\n"
        "reinforce: {iterations: 1, environments: 1, steps: 16, validate_every: 1, validation_drives: 1}\n"
        "validate: {scenarios: 1}\n"
    )
    options = ["--config", config, "--base", folder / "release", "--trusted-keys", folder, "--key", tmp_path / "key"]
    result = CliRunner().invoke(
        train_policy.policy, [*map(str, options), "--out", str(tmp_path / "out"), "--json"], catch_exceptions=False
    )
    assert result.exit_code == 0
    manifest = release.verify(tmp_path / "out" / "release", keys.load_public_keys(tmp_path))
    assert "policy.onnx" in manifest.files
    assert safetensors.numpy.load_file(tmp_path / "out" / "policy.safetensors")
    assert len((tmp_path / "out" / "scenarios.jsonl").read_text().splitlines()) == 1
