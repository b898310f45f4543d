"""Asynchronous buffer, hierarchy, sub-models, personal heads, selection and weights."""

import numpy as np
import pytest
import torch

from fed_vit_autorl.federated.asynchronous import AsyncAggregator
from fed_vit_autorl.federated.hierarchy import FleetManager
from fed_vit_autorl.federated.local import ControlVariate, ProximalTerm
from fed_vit_autorl.federated.refusal import AggregationReason, AggregationRefused
from fed_vit_autorl.federated.selection import label_quality, sample_vehicles, weighting
from fed_vit_autorl.federated.strategies import FedAvg, FedAvgM, SubModels
from fed_vit_autorl.federated.submodel import extract, narrow, split_personal
from fed_vit_autorl.federated.update import Update, UpdateMetadata


def update(value, vehicle="v", version=0, samples=1, profile="", **metrics):
    tensors = value if isinstance(value, dict) else {"w": np.array(value, np.float32)}
    return Update(tensors, UpdateMetadata(0, version, vehicle, samples, metrics, profile))


class TestAsynchronous:
    def test_weights_are_polynomial_in_staleness(self):
        aggregator = AsyncAggregator(staleness_factor=0.5, buffer_size=1000)
        assert [aggregator.compute_weight(staleness) for staleness in (0, 3, 8)] == [1, 1 / 2, pytest.approx(1 / 3)]

    def test_stale_updates_move_the_model_less(self):
        # Versions 3 and 0 at version 3: weights 1 and 1/2; (2·1 + 4·1/2) / 2 = 2.
        aggregator = AsyncAggregator(buffer_size=2)
        aggregator.start({"w": np.array([10], np.float32)}, version=3)
        assert aggregator.on_update_received(update([2], version=3)) is None
        assert aggregator.on_update_received(update([4], version=0))["w"] == 12
        assert (aggregator.version, aggregator.buffered) == (4, 0)

    def test_a_buffer_of_all_fresh_updates_is_a_synchronous_round(self):
        generator = np.random.default_rng(3)
        model = {"w": generator.normal(size=50).astype(np.float32)}
        updates = [update(generator.normal(size=50)) for _ in range(5)]
        aggregator = AsyncAggregator(buffer_size=5, strategy=FedAvgM())
        aggregator.start(model, 0)
        synchronous = FedAvgM()
        synchronous.begin(model, 0)
        for index, given in enumerate(updates):
            result = aggregator.on_update_received(given, weight=index + 1)
            synchronous.add(given, index + 1)
        np.testing.assert_array_equal(result["w"], synchronous.finish()["w"])

    def test_an_update_from_the_future_is_refused_and_not_counted(self):
        aggregator = AsyncAggregator(buffer_size=2)
        aggregator.start({"w": np.zeros(1, np.float32)}, 0)
        with pytest.raises(AggregationRefused):
            aggregator.add_update(update([1], version=1))
        assert aggregator.buffered == 0


class TestFleetManager:
    def test_means_of_regional_means_are_the_flat_mean(self):
        generator = np.random.default_rng(1)
        model = {"w": generator.normal(size=30).astype(np.float32)}
        fleet, flat = FleetManager(num_vehicles=40, regions=["a", "b", "c"]), FedAvg()
        fleet.begin(model, 0)
        flat.begin(model, 0)
        for index in range(40):
            given = update(generator.normal(size=30), vehicle=f"v{index}")
            fleet.add(given, 1 + index % 3)
            flat.add(given, 1 + index % 3)
        np.testing.assert_allclose(fleet.finish()["w"], flat.finish()["w"], rtol=1e-5, atol=1e-6)

    def test_a_lying_region_is_outvoted(self):
        table = {f"{region}{index}": region for region in "abc" for index in range(2)}
        fleet = FleetManager(num_vehicles=6, regions=table, overall="median")
        fleet.begin({"w": np.zeros(1, np.float32)}, 0)
        for vehicle, region in table.items():
            fleet.add(update([1000.0 if region == "c" else 1.0], vehicle=vehicle), 1.0)
        assert fleet.finish()["w"] == 1

    def test_a_vehicle_counts_once_and_no_more_than_the_fleet_do(self):
        fleet = FleetManager(num_vehicles=2, regions=["a"])
        fleet.begin({"w": np.zeros(1, np.float32)}, 0)
        fleet.add(update([1], vehicle="x"), 1.0)
        with pytest.raises(AggregationRefused) as refused:
            fleet.add(update([1], vehicle="x"), 1.0)
        assert refused.value.reason == AggregationReason.DUPLICATE
        fleet.add(update([1], vehicle="y"), 1.0)
        with pytest.raises(AggregationRefused) as refused:
            fleet.add(update([1], vehicle="z"), 1.0)
        assert refused.value.reason == AggregationReason.TOO_MANY_UPDATES


class TestSubModels:
    def test_each_coordinate_is_the_mean_of_those_that_trained_it(self):
        model = {"w": np.zeros((4, 2), np.float32), "head": np.zeros(2, np.float32)}
        strategy = SubModels({"half": {"width": 0.5, "keep": ["w"]}})
        strategy.begin(model, 0)
        strategy.add(update({"w": np.full((4, 2), 1.0, np.float32), "head": np.ones(2, np.float32)}), 1.0)
        strategy.add(update({"w": np.full((2, 1), 5.0, np.float32)}, profile="half"), 3.0)
        result = strategy.finish()
        # Both trained rows 0-1 of column 0: (1·1 + 3·5) / 4 = 4.
        np.testing.assert_array_equal(result["w"], [[4, 1], [4, 1], [1, 1], [1, 1]])
        np.testing.assert_array_equal(result["head"], [1, 1])

    def test_what_nobody_trained_stays(self):
        strategy = SubModels({"half": {"width": 0.5}})
        strategy.begin({"w": np.array([7, 7], np.float32)}, 0)
        strategy.add(update([1], profile="half"), 1.0)
        np.testing.assert_array_equal(strategy.finish()["w"], [8, 7])

    def test_an_update_of_another_shape_is_refused(self):
        strategy = SubModels({"half": {"width": 0.5}})
        strategy.begin({"w": np.zeros(2, np.float32)}, 0)
        for wrong in (update([1, 2], profile="half"), update([1]), update([1], profile="unknown")):
            with pytest.raises(AggregationRefused) as refused:
                strategy.add(wrong, 1.0)
            assert refused.value.reason == AggregationReason.WRONG_LAYOUT

    def test_narrow_thins_fused_heads_part_by_part(self):
        model = {"qkv.weight": np.arange(24.0).reshape(12, 2), "blocks.1.w": np.ones(2), "classes": np.ones((3, 2))}
        selection = narrow(model, 0.5, keep=["qkv*", "classes"], fixed=["classes:0"], groups={"qkv*": 3})
        part = extract(model, selection)
        np.testing.assert_array_equal(part["qkv.weight"][:, 0], [0, 2, 8, 10, 16, 18])  # rows 0, 1 of each four
        assert part["classes"].shape == (3, 1)
        assert set(part) == {"qkv.weight", "classes"}

    def test_personal_heads_are_split_off_by_pattern(self):
        shared, personal = split_personal({"body.w": np.ones(1), "head.w": np.ones(1)}, ["head.*"])
        assert (set(shared), set(personal)) == ({"body.w"}, {"head.w"})


class TestSelection:
    vehicles = tuple(f"v{index}" for index in range(20))

    def test_same_round_same_vehicles_in_whatever_order_they_are_listed(self):
        first = sample_vehicles(self.vehicles, 5, seed=1, round_number=2)
        assert first == sample_vehicles(self.vehicles[::-1], 5, seed=1, round_number=2)
        assert len(set(first)) == 5
        assert first != sample_vehicles(self.vehicles, 5, seed=1, round_number=3)

    def test_more_than_there_are_gives_all(self):
        assert sample_vehicles(["b", "a"], 10, 0, 0) == ["a", "b"]

    def test_draws_are_in_proportion_to_the_weights(self):
        # One of two with weights 3 and 1: the first in 3/4 of the rounds; 2000 draws, σ 0.0097.
        draws = [sample_vehicles(["a", "b", "never"], 1, 7, n, {"a": 3, "b": 1})[0] for n in range(2000)]
        assert draws.count("a") / 2000 == pytest.approx(0.75, abs=0.04)
        assert "never" not in draws

    def test_weights_by_name(self):
        metadata = UpdateMetadata(0, 0, "v", 40, {"data_quality": 0.25})
        assert [weighting(name)(metadata) for name in ("uniform", "samples", "data_quality")] == [1, 40, 10]

    def test_label_quality_is_share_times_balance(self):
        # Half labelled; shares 1/4, 3/4: entropy 0.8113 bit of 1.
        assert label_quality([1, 3], labelled=50, total=100) == pytest.approx(0.5 * 0.8113, rel=1e-3)
        assert label_quality([4, 4], 100, 100) == pytest.approx(1)
        assert label_quality([4, 0], 100, 100) == 0
        assert label_quality([], 0, 0) == 0


class TestVehicleSide:
    @staticmethod
    def model(value):
        model = torch.nn.Linear(1, 1, bias=False)
        torch.nn.init.constant_(model.weight, value)
        return model

    def test_proximal_term_pulls_to_the_global_model(self):
        model = self.model(1.0)
        term = ProximalTerm(model, proximal_mu=0.5)
        torch.nn.init.constant_(model.weight, 3.0)
        model.weight.grad = torch.full((1, 1), 10.0)
        term.correct(model)
        assert model.weight.grad.item() == 11  # 10 + 0.5·(3 - 1)

    def test_control_variate_after_option_two(self):
        # c 1, c_i 0, Kη 0.2, Δ -1: c_i ← 0 - 1 + 5 = 4; then gradients get c - c_i = -3.
        variate = ControlVariate({"weight": np.ones((1, 1))})
        variate.finish({"weight": np.full((1, 1), -1.0)}, steps=2, lr=0.1)
        assert variate.state_dict()["weight"].item() == pytest.approx(4)
        again = ControlVariate({"weight": np.ones((1, 1))}, variate.state_dict())
        model = self.model(0.0)
        model.weight.grad = torch.full((1, 1), 10.0)
        again.correct(model)
        assert model.weight.grad.item() == pytest.approx(7)
