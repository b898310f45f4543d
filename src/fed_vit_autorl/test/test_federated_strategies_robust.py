"""Robust rules against naive re-computation and arithmetic on paper."""

import itertools

import numpy as np
import pytest

from fed_vit_autorl.federated.cloud.spool import Spool
from fed_vit_autorl.federated.refusal import AggregationReason, AggregationRefused
from fed_vit_autorl.federated.strategies import STRATEGIES
from fed_vit_autorl.federated.strategies.kept import squared_distances
from fed_vit_autorl.federated.strategies.krum import dealt
from fed_vit_autorl.federated.update import Update, UpdateMetadata


def updates_of(matrix):
    """One update per row; the columns are split over two tensors."""
    matrix = np.asarray(matrix, np.float32)
    half = matrix.shape[1] // 2
    return [
        Update({"a": row[:half].reshape(half, 1), "b": row[half:]}, UpdateMetadata(0, 0, f"v{index}", 1))
        for index, row in enumerate(matrix)
    ]


def aggregate(spec, matrix, round_number=0):
    updates = updates_of(matrix)
    strategy = STRATEGIES.build(spec)
    strategy.begin({name: np.zeros_like(tensor) for name, tensor in updates[0].tensors.items()}, round_number)
    for update in updates:
        strategy.add(update, 1.0)
    result = strategy.finish()
    return np.concatenate([result["a"].reshape(-1), result["b"]])


@pytest.fixture(params=[7, 8, 11])
def matrix(request):
    return np.random.default_rng(request.param).normal(size=(request.param, 3001)).astype(np.float32)


def test_median_is_numpys(matrix):
    np.testing.assert_allclose(aggregate("median", matrix), np.median(matrix, axis=0), rtol=1e-6)


def test_trimmed_mean_drops_the_ends(matrix):
    cut = int(0.3 * len(matrix))
    expected = np.sort(matrix.astype(float), axis=0)[cut : len(matrix) - cut].mean(axis=0)
    np.testing.assert_allclose(aggregate({"trimmed_mean": {"trim": 0.3}}, matrix), expected, rtol=1e-4, atol=1e-6)


def test_distances_of_one_gram_matrix_are_the_naive_ones(matrix):
    shifted = matrix + 1000  # what updates have in common must not cost precision
    flat = [{name: tensor.reshape(-1) for name, tensor in update.tensors.items()} for update in updates_of(shifted)]
    naive = ((shifted[:, None].astype(float) - shifted[None]) ** 2).sum(axis=2)
    np.testing.assert_allclose(squared_distances(flat), naive, rtol=1e-4)


def naive_krum(points, byzantine):
    """Blanchard et al., read literally."""
    scores = []
    for i, point in enumerate(points):
        others = sorted(float(((point - other) ** 2).sum()) for j, other in enumerate(points) if j != i)
        scores.append(sum(others[: max(1, len(points) - byzantine - 2)]))
    return int(np.argmin(scores))


def test_krum_picks_what_the_definition_picks(matrix):
    expected = matrix[naive_krum(matrix.astype(float), int(0.2 * len(matrix)))]
    np.testing.assert_allclose(aggregate("krum", matrix), expected, rtol=1e-6)


def test_krum_on_paper():
    # On a line, f = 1 of 5: n - f - 2 = 2 nearest. Scores of 0, 1, 2, 3, 100: 1+4, 1+1, 1+1, 1+4, 97²+98².
    points = np.repeat(np.array([[0.0], [1], [2], [3], [100]]), 2, axis=1)
    np.testing.assert_array_equal(aggregate("krum", points), [1, 1])
    # Multi-Krum: the best n - f = 4 of them, mean 1.5.
    np.testing.assert_array_equal(aggregate("multi_krum", points), [1.5, 1.5])


@pytest.mark.parametrize("round_number", [0, 7])
def test_krum_of_pairs_takes_the_pair_whose_mean_the_definition_picks(round_number):
    """Karimireddy et al. 2022, algorithm 1, read literally for the round's deal; f = 1 of 9, five buckets."""
    points = np.random.default_rng(5).normal(size=(9, 40)).astype(np.float32)
    buckets = dealt(9, 2, round_number)
    assert sorted(np.concatenate(buckets)) == list(range(9))
    means = np.array([points[bucket].astype(float).mean(axis=0) for bucket in buckets])
    found = aggregate({"krum": {"byzantine_share": 0.12, "bucket": 2}}, points, round_number)
    np.testing.assert_allclose(found, means[naive_krum(means, 1)], rtol=1e-5, atol=1e-6)


def test_pairs_are_dealt_anew_every_round_and_the_same_again_after_a_crash():
    first, again, next_round = (np.concatenate(dealt(30, 2, number)).tolist() for number in (1, 1, 2))
    assert first == again
    assert first != next_round


def test_krum_of_pairs_needs_as_many_pairs_as_krum_needs_vehicles():
    spec = {"krum": {"byzantine_share": 0.125, "bucket": 2}}  # f = 1 of 8 and of 9: five pairs
    np.testing.assert_array_equal(aggregate(spec, np.ones((9, 4))), np.ones(4))
    with pytest.raises(AggregationRefused) as refused:
        aggregate(spec, np.ones((8, 4)))
    assert refused.value.reason == AggregationReason.TOO_FEW_UPDATES


def naive_bulyan(points, byzantine):
    """El Mhamdi et al., read literally: the window is searched among all subsets."""
    left, chosen = list(range(len(points))), []
    while len(chosen) < len(points) - 2 * byzantine:
        chosen.append(left.pop(naive_krum(points[left], byzantine)))
    selected, nearest = points[chosen], len(chosen) - 2 * byzantine
    result = []
    for values in selected.T:
        median = np.median(values)
        best = min(
            itertools.combinations(values, nearest), key=lambda some: sorted(abs(v - median) for v in some)[::-1]
        )
        result.append(np.mean(best))
    return np.array(result)


@pytest.mark.parametrize("count", [7, 11])
def test_bulyan_is_its_definition(count):
    points = np.random.default_rng(count).normal(size=(count, 40)).astype(np.float32)
    expected = naive_bulyan(points.astype(float), min(int(0.2 * count), (count - 3) // 4))
    np.testing.assert_allclose(aggregate("bulyan", points), expected, rtol=1e-4, atol=1e-6)


def test_norm_clipping_on_paper():
    # Norms 5, 10, 100: median 10. The last is scaled by 0.1: mean of (3,4), (6,8), (6,8) = (5, 20/3).
    np.testing.assert_allclose(aggregate("norm_clipping", [[3, 4], [6, 8], [60, 80]]), [5, 20 / 3], rtol=1e-6)
    # Limit 5: (3,4) three times.
    limited = aggregate({"norm_clipping": {"norm": 5.0}}, [[3, 4], [6, 8], [60, 80]])
    np.testing.assert_allclose(limited, [3, 4], rtol=1e-6)


def test_trust_direction_gives_an_opposite_vehicle_no_weight():
    # Median (0, 1); cosines 1, 1, -1; all of norm 1.
    np.testing.assert_allclose(aggregate("trust_direction", [[0, 1], [0, 1], [0, -1]]), [0, 1], atol=1e-7)


def test_krum_with_too_few_vehicles_is_refused():
    with pytest.raises(AggregationRefused) as refused:
        aggregate({"krum": {"byzantine_share": 0.4}}, np.ones((5, 4)))  # f = 2 needs 7
    assert refused.value.reason == AggregationReason.TOO_FEW_UPDATES


@pytest.mark.parametrize("name", ["median", "multi_krum", "trust_direction", "norm_clipping"])
def test_spooled_updates_give_the_same_model(name, tmp_path, matrix):
    strategy = STRATEGIES.build(name)
    updates = updates_of(matrix)
    strategy.begin({key: np.zeros_like(tensor) for key, tensor in updates[0].tensors.items()}, 0)
    with Spool(tmp_path / "spool") as spool:
        for update in updates:
            strategy.add(spool.keep(update), 1.0)
        result = strategy.finish()
    assert not (tmp_path / "spool").exists()
    np.testing.assert_array_equal(np.concatenate([result["a"].reshape(-1), result["b"]]), aggregate(name, matrix))
