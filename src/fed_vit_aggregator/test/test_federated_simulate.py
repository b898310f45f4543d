"""Virtual regions below a global cloud, spread by Ray: real brokers, aggregators and vehicles all."""

from pathlib import Path

import numpy as np
import safetensors.numpy
from click.testing import CliRunner

from fed_vit_aggregator.simulate import simulate, simulate_fleet


def weights(folder: Path, version: int) -> dict[str, np.ndarray]:
    return safetensors.numpy.load_file(folder / "cloud" / "state" / "releases" / str(version) / "linear.safetensors")


def test_two_regions_learn_one_model(tmp_path):
    result = simulate_fleet(3, rounds=1, width=20, regions=2, engine="ray", keep=tmp_path)
    assert (result["updates_accepted"], result["messages_lost"], result["refused"]) == (3, 0, 0)
    first, second = (weights(tmp_path / region, 2) for region in ("region0", "region1"))
    for name, tensor in weights(tmp_path / "region0", 1).items():
        np.testing.assert_array_equal(first[name], second[name])
        assert (first[name] != tensor).any()


def test_more_regions_than_vehicles_is_refused():
    refused = CliRunner().invoke(simulate, ["--vehicles", "2", "--regions", "3"])
    assert "3 regions need at least as many vehicles" in str(refused.exception)
