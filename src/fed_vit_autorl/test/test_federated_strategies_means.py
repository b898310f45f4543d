"""Means and server optimisers against arithmetic on paper and torch's optimisers."""

import numpy as np
import pytest
import torch

from fed_vit_autorl.federated.refusal import (
    AggregationReason,
    AggregationRefused,
    ConfigurationReason,
    ConfigurationRefused,
)
from fed_vit_autorl.federated.strategies import STRATEGIES
from fed_vit_autorl.federated.update import Update, UpdateMetadata

REQUIRED = {"scaffold": {"num_vehicles": 2}, "central_dp": {"noise_multiplier": 1.0, "expected_vehicles": 2}}


def tensors(*values):
    return {"w": np.array(values, np.float32)}


def update(*values, vehicle="v", samples=1, **metrics):
    return Update(tensors(*values), UpdateMetadata(0, 0, vehicle, samples, metrics))


def run(strategy, model, updates, weights=None, round_number=0):
    strategy.begin(model, round_number)
    for index, given in enumerate(updates):
        strategy.add(given, 1.0 if weights is None else weights[index])
    return strategy.finish()


def test_fedavg_is_the_weighted_mean_of_the_deltas():
    # (1·4 + 3·8) / 4 = 7 and (1·0 + 3·(-4)) / 4 = -3
    model = tensors(1, 10)
    result = run(STRATEGIES.build("fedavg"), model, [update(4, 0), update(8, -4)], [1, 3])
    np.testing.assert_array_equal(result["w"], [8, 7])
    np.testing.assert_array_equal(model["w"], [1, 10])


def test_server_lr_scales_the_step():
    result = run(STRATEGIES.build({"fedavg": {"server_lr": 0.5}}), tensors(1), [update(4)])
    assert result["w"] == 3


def test_fedprox_tells_vehicles_its_mu_and_averages():
    strategy = STRATEGIES.build({"fedprox": {"proximal_mu": 0.1}})
    assert strategy.client_settings() == {"proximal_mu": 0.1}
    assert run(strategy, tensors(0), [update(1), update(3)])["w"] == 2


def against_torch(strategy, make_optimiser, rounds=6):
    """Both start from one model and get the same pseudo-gradients -Δ."""
    generator = np.random.default_rng(5)
    model = {"w": generator.normal(size=7).astype(np.float32)}
    parameter = torch.nn.Parameter(torch.from_numpy(model["w"].copy()))
    optimiser = make_optimiser([parameter])
    for round_number in range(rounds):
        delta = generator.normal(size=7).astype(np.float32)
        model = run(strategy, model, [update(*delta)], round_number=round_number)
        parameter.grad = torch.from_numpy(-delta)
        optimiser.step()
    np.testing.assert_allclose(model["w"], parameter.detach().numpy(), rtol=1e-5, atol=1e-6)


def test_fedavgm_is_sgd_with_momentum_on_the_mean_update():
    against_torch(
        STRATEGIES.build({"fedavgm": {"server_lr": 0.3, "momentum": 0.8}}),
        lambda parameters: torch.optim.SGD(parameters, lr=0.3, momentum=0.8),
    )


def test_fedadagrad_is_adagrad_on_the_mean_update():
    against_torch(
        STRATEGIES.build({"fedadagrad": {"server_lr": 0.1, "tau": 1e-3}}),
        lambda parameters: torch.optim.Adagrad(parameters, lr=0.1, initial_accumulator_value=1e-6, eps=1e-3),
    )


def test_fedadam_two_rounds_on_paper():
    # τ 0.5, so v starts at 0.25. Round 1, Δ 2: m 0.2, v 0.99·0.25 + 0.01·4 = 0.2875, x 0.1·0.2/(√0.2875 + 0.5).
    # Round 2, Δ -1: m 0.08, v 0.99·0.2875 + 0.01 = 0.294625.
    strategy = STRATEGIES.build({"fedadam": {"server_lr": 0.1, "tau": 0.5}})
    first = run(strategy, tensors(0), [update(2)])
    x1 = 0.1 * 0.2 / (0.2875**0.5 + 0.5)
    assert first["w"][0] == pytest.approx(x1, rel=1e-5)
    second = run(strategy, first, [update(-1)])
    assert second["w"][0] == pytest.approx(x1 + 0.1 * 0.08 / (0.294625**0.5 + 0.5), rel=1e-5)


def test_fedyogi_two_rounds_on_paper():
    # τ 0.5, v 0.25. Round 1, Δ 2: v - 0.01·4·sign(0.25-4) = 0.29. Round 2, Δ 0.1: 0.29 - 0.01·0.01·sign(+) = 0.2899.
    strategy = STRATEGIES.build({"fedyogi": {"server_lr": 0.1, "tau": 0.5}})
    first = run(strategy, tensors(0), [update(2)])
    x1 = 0.1 * 0.2 / (0.29**0.5 + 0.5)
    assert first["w"][0] == pytest.approx(x1, rel=1e-5)
    second = run(strategy, first, [update(0.1)])
    assert second["w"][0] == pytest.approx(x1 + 0.1 * (0.9 * 0.2 + 0.1 * 0.1) / (0.2899**0.5 + 0.5), rel=1e-5)


@pytest.mark.parametrize("name", ["fedavgm", "fedadagrad", "fedadam", "fedyogi"])
def test_a_restart_between_rounds_changes_nothing(name):
    straight, before, after = (STRATEGIES.build(name) for _ in range(3))
    model = run(straight, tensors(1, 2), [update(0.5, -1)])
    run(before, tensors(1, 2), [update(0.5, -1)])
    after.load_state_dict(before.state_dict())
    np.testing.assert_array_equal(run(straight, model, [update(1, 1)])["w"], run(after, model, [update(1, 1)])["w"])


def test_moments_of_another_model_are_refused():
    strategy = STRATEGIES.build("fedadam")
    run(strategy, tensors(1, 2), [update(1, 1)])
    with pytest.raises(AggregationRefused) as refused:
        strategy.begin(tensors(1), 1)
    assert refused.value.reason == AggregationReason.WRONG_STATE


def test_scaffold_two_vehicles_of_four_on_paper():
    # Two steps of rate 0.1: Kη = 0.2. c = 0; c_i⁺ - c_i = -Δ_i/0.2 = -5 and 15, mean 5, times 2/4: c = 2.5.
    strategy = STRATEGIES.build({"scaffold": {"num_vehicles": 4}})
    sgd = {"local_steps": 2, "local_lr": 0.1}
    first = run(strategy, tensors(0), [update(1, **sgd), update(-3, **sgd)])
    assert first["w"] == -1
    assert strategy.client_tensors()["w"][0] == pytest.approx(2.5)
    # Next round, one vehicle, Δ 1: change -2.5 - 5 = -7.5, times 1/4: c = 0.625.
    run(strategy, first, [update(1, **sgd)])
    assert strategy.state_dict()["w"][0] == pytest.approx(0.625)


def test_scaffold_without_the_vehicles_rate_is_refused():
    strategy = STRATEGIES.build({"scaffold": {"num_vehicles": 4}})
    strategy.begin(tensors(0), 0)
    with pytest.raises(AggregationRefused) as refused:
        strategy.add(update(1), 1.0)
    assert refused.value.reason == AggregationReason.MISSING_METRIC


def test_trust_weights_are_the_positive_cosines():
    # θ = (1, 0). θ_1 = (1, 1): cos 1/√2. θ_2 = (-1, 0): cos -1, weight 0. So Σ w Δ = (0, 1), α 0.5: θ = (1, 0.5).
    result = run(STRATEGIES.build({"trust_cosine": {"alpha": 0.5}}), tensors(1, 0), [update(0, 1), update(-2, 0)])
    np.testing.assert_allclose(result["w"], [1, 0.5])


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_every_strategy_refuses_an_empty_round_a_wrong_layout_and_a_bad_weight(name):
    strategy = STRATEGIES.build({name: REQUIRED.get(name, {})})
    strategy.begin(tensors(1, 2), 0)
    with pytest.raises(AggregationRefused) as refused:
        strategy.add(update(1, 2, 3), 1.0)
    assert refused.value.reason == AggregationReason.WRONG_LAYOUT
    for weight in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(AggregationRefused) as refused:
            strategy.add(update(1, 2), weight)
        assert refused.value.reason == AggregationReason.BAD_WEIGHT
    with pytest.raises(AggregationRefused) as refused:
        strategy.finish()
    assert refused.value.reason == AggregationReason.NO_UPDATES


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ("fedavgg", ConfigurationReason.UNKNOWN_NAME),
        ({"fedavg": {"server_l": 1}}, ConfigurationReason.UNKNOWN_OPTION),
        ({"fedavg": {"server_lr": 0}}, ConfigurationReason.BAD_VALUE),
        ({"trimmed_mean": {"trim": 0.5}}, ConfigurationReason.BAD_VALUE),
        ({"fedadam": {"beta1": "much"}}, ConfigurationReason.BAD_VALUE),
        ({"a": {}, "b": {}}, ConfigurationReason.BAD_VALUE),
    ],
)
def test_a_wrong_name_option_or_value_is_refused(spec, reason):
    with pytest.raises(ConfigurationRefused) as refused:
        STRATEGIES.build(spec)
    assert refused.value.reason == reason
