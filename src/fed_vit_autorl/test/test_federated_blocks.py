import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from fed_vit_autorl.federated import blocks
from fed_vit_autorl.federated.strategies.kept import squared_distances
from fed_vit_autorl.federated.update import Layout


@pytest.fixture(params=[1, 2, 7])
def cores(request, monkeypatch):
    monkeypatch.setattr(blocks, "CORES", request.param)
    return request.param


def test_scaled_sum_is_the_same_on_any_number_of_cores(cores):
    generator = np.random.default_rng(0)
    shapes = {"large": (3, blocks.PIECE), "ragged": (blocks.PIECE + 1,), "scalar": (), "empty": (0, 4), "small": (5, 2)}
    totals = {
        name: np.float32(generator.standard_normal(shape)) * np.ones(shape, np.float32)
        for name, shape in shapes.items()
    }
    values = {name: np.asarray(generator.standard_normal(shape), np.float32) for name, shape in shapes.items()}
    expected = {name: totals[name] + np.float32(0.3) * values[name] for name in shapes}
    totals = {name: np.array(total) for name, total in totals.items()}
    blocks.add_scaled(totals, values, 0.3)
    for name in shapes:
        np.testing.assert_array_equal(totals[name], expected[name])


def test_tensors_of_one_vector_add_up_as_others_do():
    generator = np.random.default_rng(2)
    tensors = {"b": generator.standard_normal((7, 11), np.float32), "a": generator.standard_normal(5, np.float32)}
    layout = Layout.of(tensors)
    flat, total = layout.unflatten(layout.flatten(tensors)), layout.zeros()
    blocks.add_scaled(total, flat, 0.3)  # one vector
    blocks.add_scaled(total, tensors, 2.0)  # one by one
    for name, tensor in tensors.items():
        expected = np.float32(0.3) * tensor + np.float32(2.0) * tensor
        np.testing.assert_array_equal(total[name], expected)
    with pytest.raises(TypeError, match="view"):
        total["a"] = tensors["a"]
    copied = pickle.loads(pickle.dumps(total))
    assert type(copied) is dict
    assert copied.keys() == total.keys()


def test_a_sum_does_not_wait_for_cores_that_others_keep_busy(monkeypatch):
    monkeypatch.setattr(blocks, "CORES", 3)
    totals, free = {"a": np.zeros(3 * blocks.PIECE, np.float32)}, threading.Event()
    with ThreadPoolExecutor(1) as pool:
        monkeypatch.setattr(blocks, "_pool", lambda: pool)
        busy = pool.submit(free.wait, 60)
        blocks.add_scaled(totals, {"a": np.ones(3 * blocks.PIECE, np.float32)}, 2.0)
        assert not busy.done()
        free.set()
    assert (totals["a"] == 2.0).all()


def test_distances_over_many_blocks_are_those_of_numpy():
    generator = np.random.default_rng(1)
    flat = generator.standard_normal((6, 400_000)).astype(np.float32)
    updates = [{"a": row[:300_000], "b": row[300_000:]} for row in flat]
    expected = ((flat[:, None].astype(np.float64) - flat[None]) ** 2).sum(axis=2)
    np.testing.assert_allclose(squared_distances(updates), expected, rtol=1e-5)
