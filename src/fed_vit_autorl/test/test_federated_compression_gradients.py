"""`GradientCompressor` as its users call it."""

import numpy as np
import pytest

from fed_vit_autorl.federated.refusal import ConfigurationRefused, UpdateReason, UpdateRefused
from fed_vit_autorl.federated.research.compression import GradientCompressor


def gradients(seed=0):
    generator = np.random.default_rng(seed)
    return {"w": generator.normal(size=(100, 50)).astype(np.float32), "b": generator.normal(size=50).astype(np.float32)}


def test_documented_use():
    compressor = GradientCompressor(method="top_k_sparsification", compression_ratio=0.01, error_feedback=True)
    compressed = compressor.quantize(compressor.compress(gradients()), bits=8)
    # 51 of 5,050 values: 51 bytes, about 52 for their positions, and the names of three arrays.
    assert compressor.get_size_mb(compressed) < 500e-6
    arrived = compressor.decompress(compressed)
    assert arrived["w"].shape == (100, 50)
    kept = np.concatenate([arrived["b"], arrived["w"].reshape(-1)])
    given = np.concatenate([gradients()["b"], gradients()["w"].reshape(-1)])
    largest = np.argsort(-np.abs(given))[:51]
    assert set(np.flatnonzero(kept)) == set(largest)
    np.testing.assert_allclose(kept[largest], given[largest], atol=np.abs(given).max() / 254)


@pytest.mark.parametrize("method", ["top_k_sparsification", "random_k_sparsification"])
@pytest.mark.parametrize("bits", [None, 8, 4])
def test_error_feedback_loses_nothing(method, bits):
    compressor, total, arrived = GradientCompressor(method, 0.05), 0.0, 0.0
    for seed in range(20):
        compressed = compressor.compress(gradients(seed))
        compressed = compressed if bits is None else compressor.quantize(compressed, bits)
        total += gradients(seed)["w"]
        arrived += compressor.decompress(compressed)["w"]
    residual = compressor.state_dict()["residual"][50:].reshape(100, 50)
    np.testing.assert_allclose(arrived + residual, total, atol=1e-4)


def test_a_restart_keeps_the_residual():
    straight, before, after = (GradientCompressor() for _ in range(3))
    for compressor in (straight, before):
        compressor.compress(gradients(1))
    after.load_state_dict(before.state_dict())
    first, second = (c.decompress(c.compress(gradients(2)))["w"] for c in (straight, after))
    np.testing.assert_array_equal(first, second)


def test_bad_input_is_refused():
    with pytest.raises(ConfigurationRefused):
        GradientCompressor(method="magic")
    compressor = GradientCompressor()
    with pytest.raises(UpdateRefused) as refused:
        compressor.compress({"w": np.array([np.nan], np.float32)})
    assert refused.value.reason == UpdateReason.NOT_FINITE
    compressor.compress(gradients())
    with pytest.raises(UpdateRefused) as refused:
        compressor.compress({"w": np.ones(3, np.float32)})
    assert refused.value.reason == UpdateReason.WRONG_LAYOUT
