"""Hot swap: a good release takes over between two frames, any other leaves the old one in place."""

import numpy as np
import pytest
import safetensors.numpy
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fed_vit_autorl.deployment import release
from fed_vit_autorl.deployment.keys import save_public_key
from fed_vit_autorl.edge.hot_swap import HotSwap

KEY = Ed25519PrivateKey.generate()


def make(folder, version, key=KEY):
    weights = safetensors.numpy.save({"version": np.array([version])})
    return folder, release.write_release(folder, {"w.safetensors": weights}, key, version=version, architecture={})


def load(folder, manifest):
    return int(release.read_weights(folder, manifest, "w")["version"][0])


@pytest.fixture
def swap(tmp_path):
    folder, _ = make(tmp_path / "first", 5)
    save_public_key(KEY.public_key(), tmp_path / "keys" / "fleet.pub")
    return HotSwap(folder, tmp_path / "keys", load)


def settle(swap):
    swap.finish()
    return swap.swap()


def test_a_newer_release_becomes_active_at_the_next_swap_only(swap, tmp_path):
    folder, manifest = make(tmp_path / "next", 6)
    swap.request(folder, 6, manifest.digest)
    swap.finish()
    assert swap.loading
    assert swap.active.model == 5
    outcome = swap.swap()
    assert outcome.reason == ""
    assert (swap.active.model, swap.active.manifest.digest) == (6, manifest.digest)
    assert swap.swap() is None
    assert not swap.loading


def test_a_fleets_new_key_counts_from_the_next_release_on(swap, tmp_path):
    new = Ed25519PrivateKey.generate()
    save_public_key(new.public_key(), tmp_path / "keys" / "fleet.pub")
    folder, manifest = make(tmp_path / "next", 6, new)
    swap.request(folder, 6, manifest.digest)
    assert settle(swap).reason == ""
    (tmp_path / "keys" / "fleet.pub").write_text("no key")
    folder, manifest = make(tmp_path / "later", 7, new)
    swap.request(folder, 7, manifest.digest)
    assert settle(swap).reason == "bad_signature"
    assert swap.active.model == 6


@pytest.mark.parametrize(
    ("version", "key", "announced", "reason"),
    [
        (6, Ed25519PrivateKey.generate(), 6, "bad_signature"),
        (5, KEY, 5, "version_not_newer"),
        (4, KEY, 4, "version_not_newer"),
        (7, KEY, 6, "bad_digest"),
    ],
)
def test_any_other_release_is_refused_and_the_old_one_stays(swap, tmp_path, version, key, announced, reason):
    folder, manifest = make(tmp_path / "next", version, key)
    swap.request(folder, announced, manifest.digest)
    outcome = settle(swap)
    assert (outcome.version, outcome.reason) == (announced, reason)
    assert swap.active.model == 5


def test_a_folder_that_is_not_there_is_refused(swap, tmp_path):
    swap.request(tmp_path / "nowhere", 6, "0" * 64)
    assert settle(swap).reason == "missing_file"
