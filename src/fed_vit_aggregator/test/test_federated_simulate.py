"""Virtual regions below a global level give what one flat fleet of the same vehicles gives."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from fed_vit_aggregator.simulate import merged, simulate_fleet

VEHICLES, ROUNDS, WIDTH = 3, 2, 20


def final_weights(folder: Path) -> dict[str, np.ndarray]:
    """Of the newest release of a region."""
    releases = sorted((folder / "cloud" / "state" / "releases").glob("[0-9]*"), key=lambda path: int(path.name))
    return safetensors.numpy.load_file(releases[-1] / "linear.safetensors")


@pytest.fixture(scope="module")
def flat(tmp_path_factory):
    folder = tmp_path_factory.mktemp("flat")
    result = simulate_fleet(VEHICLES, ROUNDS, WIDTH, keep=folder)
    assert result["messages_lost"] == 0
    assert result["updates_accepted"] == VEHICLES * ROUNDS
    return final_weights(folder / "region0")


def test_two_regions_give_the_model_of_a_flat_fleet(flat, tmp_path):
    """Spread by Ray where it is installed; the regions themselves are the same."""
    engine = "ray" if importlib.util.find_spec("ray") else "local"
    result = simulate_fleet(VEHICLES, ROUNDS, WIDTH, regions=2, engine=engine, keep=tmp_path)
    assert (result["messages_lost"], result["refused"]) == (0, 0)
    assert result["updates_accepted"] == VEHICLES * ROUNDS
    for region in ("region0", "region1"):
        found = final_weights(tmp_path / region)
        for name, tensor in flat.items():
            np.testing.assert_allclose(found[name], tensor, atol=1e-6)


def test_regions_count_by_their_updates():
    models = [{"w": np.full(2, value, np.float32)} for value in (1.0, 4.0, 100.0)]
    np.testing.assert_allclose(merged(models, [2, 1, 0], 1)["w"], 2.0)  # (2 · 1 + 1 · 4) / 3
