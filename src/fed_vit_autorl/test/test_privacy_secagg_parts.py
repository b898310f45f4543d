"""What secure aggregation is made of: masks, the ring that they cancel in, secrets in shares."""

import itertools
import secrets

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from hypothesis import given
from hypothesis import strategies as st

from fed_vit_autorl.privacy.secagg import SecAggReason, SecAggRefused, SecAggSettings, shamir
from fed_vit_autorl.privacy.secagg.ring import SEGMENT, add_masks, from_ring, to_ring


def reason_of(call, *arguments):
    with pytest.raises(SecAggRefused) as refused:
        call(*arguments)
    return refused.value.reason


def test_masks_are_chacha20_key_streams():
    # RFC 8439 A.1, test vectors 1 and 2: zero key and nonce, block counters 0 and 1.
    stream = bytes.fromhex(
        "76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7"
        "da41597c5157488d7724e03fb8d84a376a43b8f41518a11cc387b669b2ee6586"
        "9f07e7be5551387a98ba977c732d080dcb0f29a048e3656912c6533e32ee7aed"
        "29b721769ce64e43d57133b074d839d531ed1f28510afb45ace10a1f4b794d6f"
    )
    ring = np.zeros(32, np.uint32)
    add_masks(ring, [bytes(32)])
    assert ring.astype("<u4").tobytes() == stream


def test_segments_join_into_one_stream_and_masks_cancel():
    size = 2 * SEGMENT + 77
    key, other = secrets.token_bytes(32), secrets.token_bytes(32)
    ring = np.zeros(size, np.uint32)
    add_masks(ring, [key], [other])
    streams = [
        Cipher(algorithms.ChaCha20(k, bytes(16)), None).encryptor().update(bytes(4 * size)) for k in (key, other)
    ]
    first, second = (np.frombuffer(stream, "<u4") for stream in streams)
    np.testing.assert_array_equal(ring, first - second)
    add_masks(ring, [other], [key])
    assert not ring.any()


@pytest.mark.parametrize("value", [1.5, -1.01, np.nan, np.inf])
def test_values_that_would_overflow_are_refused(value):
    configured = SecAggSettings(10, 6)
    assert reason_of(to_ring, np.array([0, value, 0], np.float32), 1.0, configured) == SecAggReason.OVERFLOW


@given(st.integers(2, 4000), st.floats(-1, 1, width=32), st.floats(0.01, 1))
def test_the_sum_of_a_whole_fleet_at_the_limit_does_not_wrap(count, value, weight):
    configured = SecAggSettings(count, count)
    one = to_ring(np.array([value], np.float32), weight, configured)
    total = (one.astype(np.uint64) * count).astype(np.uint32)
    mean, weights = from_ring(total, configured)
    assert mean[0] == pytest.approx(value, abs=1 / configured.levels / weight + 1e-6)
    assert weights == pytest.approx(count * weight, rel=1e-2)


def test_too_many_vehicles_for_the_ring_are_refused():
    assert reason_of(SecAggSettings, 10_000_000, 9_000_000) == SecAggReason.OVERFLOW


@pytest.mark.parametrize("arguments", [(1, 1), (10, 5), (10, 11), (10, 8, 3), (10, 8, 10), (10, 8, None, 0.0)])
def test_settings_without_secrecy_are_refused(arguments):
    assert reason_of(SecAggSettings, *arguments) == SecAggReason.BAD_SETTINGS


class TestShamir:
    def test_a_line_on_paper(self, monkeypatch):
        # f(x) = 42 + 7x: shares 49, 56, 63.
        monkeypatch.setattr(shamir.secrets, "randbelow", lambda _: 7)
        shares = shamir.split((42).to_bytes(32), 2, [1, 2, 3])
        assert [int.from_bytes(share) for share in shares.values()] == [49, 56, 63]
        for some in itertools.combinations(shares.items(), 2):
            assert int.from_bytes(shamir.combine(dict(some), 2)) == 42

    @given(st.binary(min_size=32, max_size=32), st.integers(1, 8), st.integers(0, 8), st.randoms(use_true_random=False))
    def test_any_threshold_of_shares_opens_the_secret(self, secret, threshold, more, random):
        shares = shamir.split(secret, threshold, range(1, threshold + more + 1))
        some = dict(random.sample(sorted(shares.items()), threshold))
        assert shamir.combine(some, threshold) == secret

    def test_one_less_is_refused_and_fits_every_secret(self):
        shares = shamir.split(b"s" * 32, 3, [1, 2, 3, 4])
        two = {holder: shares[holder] for holder in (1, 2)}
        assert reason_of(shamir.combine, two, 3) == SecAggReason.BELOW_THRESHOLD
        # For any other secret there is a third share that makes the two tell it: f through (0, s), (1, a), (2, b).
        a, b, other = (int.from_bytes(part) for part in (two[1], two[2], b"other secret".ljust(32)))
        third = (other - 3 * a + 3 * b) % shamir.PRIME  # third differences of a parabola vanish
        assert shamir.combine(two | {3: third.to_bytes(66)}, 3) == b"other secret".ljust(32)

    def test_shares_that_do_not_belong_together_are_refused(self):
        first, second = (shamir.split(secrets.token_bytes(32), 2, [1, 2]) for _ in range(2))
        assert reason_of(shamir.combine, {1: first[1], 2: second[2]}, 2) == SecAggReason.BAD_SHARE
