"""A vehicle drives with the fleet's release and its own heads in it."""

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fed_vit_autorl.deployment import release
from fed_vit_autorl.deployment.candidate import make_candidate
from fed_vit_autorl.edge import runtime
from fed_vit_autorl.federated.vehicle.personal_release import PersonalReleases
from fed_vit_autorl.federated.virtual.vehicles import write_linear_release

WIDTH = 4


class Kept:
    def __init__(self, **tensors):
        self.tensors = {f"personal:linear/{name}": tensor for name, tensor in tensors.items()}

    def kept(self):
        return self.tensors | {"residual": np.zeros(3, np.float32)}


@pytest.fixture
def shipped(tmp_path):
    key = Ed25519PrivateKey.generate()
    write_linear_release(tmp_path / "base", key, WIDTH)
    return tmp_path / "base", release.verify(tmp_path / "base", [key.public_key()])


def test_without_heads_of_its_own_it_drives_with_the_fleets_release(shipped, tmp_path):
    own = PersonalReleases(tmp_path / "personal", Kept(), Ed25519PrivateKey.generate())
    assert own.of(*shipped) == shipped


def test_its_own_heads_are_in_a_release_that_its_nodes_can_load(shipped, tmp_path):
    key, bias = Ed25519PrivateKey.generate(), np.full(WIDTH, 5.0, np.float32)
    own = PersonalReleases(tmp_path / "personal", Kept(bias=bias), key)
    folder, manifest = own.of(*shipped)
    assert release.verify(folder, [key.public_key()]) == manifest
    assert (manifest.version, manifest.parent) == (2, shipped[1].digest)
    model = runtime.load(folder, manifest, "linear")  # its golden outputs are those of the new head
    np.testing.assert_allclose(model.run({"x": np.ones((1, WIDTH), np.float32)})["y"], [[6.0] * WIDTH])
    # The same after a restart, made once.
    made = (folder / "manifest.json").stat().st_mtime_ns
    again = PersonalReleases(tmp_path / "personal", Kept(bias=bias), key)
    assert again.of(*shipped) == (folder, manifest)
    assert (folder / "manifest.json").stat().st_mtime_ns == made


def test_each_release_of_the_fleet_gets_the_heads_of_its_time_under_a_rising_number(shipped, tmp_path):
    fleet_key, kept = Ed25519PrivateKey.generate(), Kept(bias=np.ones(WIDTH, np.float32))
    own = PersonalReleases(tmp_path / "personal", kept, Ed25519PrivateKey.generate())
    _, first = own.of(*shipped)
    weights = {"linear": {"weight": 2 * np.eye(WIDTH, dtype=np.float32)}}
    newer = make_candidate(*shipped, tmp_path / "newer", weights, fleet_key, version=2)
    kept.tensors = {"personal:linear/bias": np.full(WIDTH, 9.0, np.float32)}
    folder, second = own.of(tmp_path / "newer", newer)
    assert first.version < second.version
    tensors = release.read_weights(folder, second, "linear")
    np.testing.assert_array_equal(tensors["bias"], [9.0] * WIDTH)
    np.testing.assert_array_equal(tensors["weight"], 2 * np.eye(WIDTH))


def test_heads_that_do_not_fit_the_release_are_left_out(shipped, tmp_path):
    own = PersonalReleases(tmp_path / "personal", Kept(bias=np.ones(7, np.float32)), Ed25519PrivateKey.generate())
    assert own.of(*shipped) == shipped
