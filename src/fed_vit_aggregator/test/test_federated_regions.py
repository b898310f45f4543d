"""Two regions below one aggregator, each with its broker, its aggregator and its vehicles: real processes all."""

import shutil

import numpy as np
import pytest
import safetensors.numpy
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fed_vit_aggregator.local import HOST, LocalCloud
from fed_vit_aggregator.settings import AboveSettings, Address
from fed_vit_aggregator.virtual_fleet import VirtualFleet
from fed_vit_autorl.deployment.config_file import from_mapping
from fed_vit_autorl.deployment.fleet_config import FleetConfig
from fed_vit_autorl.deployment.keys import save_public_key
from fed_vit_autorl.federated.virtual.vehicles import virtual_delta, write_linear_release

REGIONS = {"north": ["n0", "n1"], "south": ["s0"]}
ROUNDS = 2


def config(region, vehicles, **federation):
    federation = {
        "run": region,
        "region": region,
        "num_rounds": ROUNDS,
        "vehicles_per_round": vehicles,
        "min_vehicles": vehicles,
        "deadline_s": 120.0,
        "gather_s": 0.0,
    } | federation
    content = {"federation": federation, "communication": {"compression": "none", "quantization_bits": 32}}
    return from_mapping(content, FleetConfig)


@pytest.fixture
def fleet(tmp_path):
    """(the cloud above, region → fleet)"""
    key = Ed25519PrivateKey.generate()
    (tmp_path / "keys").mkdir()
    save_public_key(key.public_key(), tmp_path / "keys" / "shipped.pub")
    write_linear_release(tmp_path / "base", key, 30)
    cloud = LocalCloud(tmp_path / "above", config("above", len(REGIONS)), tmp_path / "base", tmp_path / "keys")
    regions = {}
    for region, vehicles in REGIONS.items():
        folder = tmp_path / region
        for name in ("base", "keys"):
            shutil.copytree(tmp_path / name, folder / name)
        identity = cloud.enrol(region).folder
        above = AboveSettings(region="above", broker=Address(HOST, cloud.broker.port), identity=str(identity))
        regions[region] = VirtualFleet(folder, config(region, len(vehicles)), vehicles, 1, above=above)
    yield cloud, regions
    for region in regions.values():
        region.stop()
    cloud.stop()


def weights(cloud, version):
    return safetensors.numpy.load_file(cloud.folder / "state" / "releases" / str(version) / "linear.safetensors")


def test_regions_learn_one_model_as_one_flat_fleet_would(fleet):
    cloud, regions = fleet
    cloud.start()
    for region in regions.values():
        region.hold.touch()
        region.start()
    north = regions["north"]
    north.cloud.wait(lambda state: bool(state["rounds"]), 90.0)
    north.cloud.stop_aggregator(kill=True)
    north.cloud.start_aggregator()
    for region in regions.values():
        region.hold.unlink()
    south = regions["south"]
    south.cloud.wait(lambda state: state["releases"][-1]["version"] == ROUNDS + 1, 180.0)
    north.cloud.wait(lambda state: state["releases"][-1]["version"] == ROUNDS + 1, 60.0)
    assert [each["phase"] for each in cloud.state()["rounds"]] == ["released"] * ROUNDS
    before = weights(cloud, 1)
    model = {f"linear/{name}": before[name] for name in sorted(before)}
    for number in range(1, ROUNDS + 1):
        # Three vehicles of the same weight, whatever region they are in.
        deltas = [virtual_delta(v, region, number, model) for region, names in REGIONS.items() for v in names]
        after = weights(cloud, number + 1)
        for name, tensor in before.items():
            mean = np.mean([delta[f"linear/{name}"] for delta in deltas], axis=0)
            np.testing.assert_allclose(after[name], tensor + mean, atol=1e-6)
            for region in regions.values():
                np.testing.assert_array_equal(weights(region.cloud, number + 1)[name], after[name])
        before = after
