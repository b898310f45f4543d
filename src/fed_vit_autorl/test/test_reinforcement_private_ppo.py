"""PPO under differential privacy: what is clipped, what noise is added, and that the budget holds."""

import numpy as np
import pytest
import torch
from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent
from dp_accounting.rdp import RdpAccountant

from fed_vit_autorl.privacy.refusal import PrivacyRefused
from fed_vit_autorl.reinforcement.algorithms.actor_critic import ActorCritic
from fed_vit_autorl.reinforcement.algorithms.ppo import PPOConfig, Rollout, flat
from fed_vit_autorl.reinforcement.algorithms.private_ppo import PrivatePPO


def rollout(learner: PrivatePPO, steps: int = 32, seed: int = 0) -> Rollout:
    """A bandit: action 1 is worth 1, action 0 nothing."""
    observation = np.random.default_rng(seed).normal(size=(steps, 1, 2)).astype(np.float32)
    action, log_probability, _ = learner.act(observation[:, 0])
    gain = 2.0 * action[:, None].astype(np.float32) - 1.0
    return Rollout(observation, action[:, None], log_probability[:, None], gain, gain)


def learner(**options) -> PrivatePPO:
    torch.manual_seed(0)
    return PrivatePPO(ActorCritic.discrete(2, 2, 8), **options)


def test_each_rows_gradient_is_clipped_before_the_sum():
    one = learner(config=PPOConfig(gradient_norm=0.5))
    rows = flat(rollout(one, 4))
    rows["advantage"] = rows["advantage"] * 1e4  # one row's gradient would be huge
    gradients, _ = one.get_private_gradients({name: value[:1] for name, value in rows.items()}, 1, add_noise=False)
    assert torch.sqrt(sum(part.square().sum() for part in gradients.values())).item() == pytest.approx(0.5, rel=1e-4)
    unclipped, _ = one.get_private_gradients(rows, 4, clip_gradients=False, add_noise=False)
    loss, _ = one.loss(rows)
    expected = torch.autograd.grad(loss.mean(), list(one.model.parameters()))
    for part, wanted in zip(unclipped.values(), expected, strict=True):
        torch.testing.assert_close(part, wanted, rtol=1e-3, atol=1e-3)


def test_noise_has_the_stated_deviation():
    one = learner(noise_multiplier=1.1, config=PPOConfig(gradient_norm=2.0))
    empty = {name: value[:0] for name, value in flat(rollout(one, 4)).items()}
    noise, parts = one.get_private_gradients(empty, 10)
    values = torch.cat([part.flatten() for part in noise.values()])
    # σ · C / B over some 170 values: within 20 %
    assert values.std().item() == pytest.approx(1.1 * 2.0 / 10, rel=0.2)
    assert parts == {}


def test_the_budget_is_the_accountants_and_is_never_overspent():
    one = learner(privacy_budget=8.0, config=PPOConfig(epochs=2, minibatch=8))
    one.update(rollout(one))
    accountant = RdpAccountant()
    accountant.compose(PoissonSampledDpEvent(8 / 32, GaussianDpEvent(1.1)), 8)
    assert one.spent == pytest.approx(accountant.get_epsilon(1e-5), rel=1e-6)
    one.privacy_budget = one.spent
    before = {name: value.clone() for name, value in one.model.state_dict().items()}
    with pytest.raises(PrivacyRefused, match="budget_exceeded"):
        one.update(rollout(one))
    assert one.spent == one.privacy_budget
    assert all(torch.equal(before[name], value) for name, value in one.model.state_dict().items())


def test_noise_without_clipping_is_refused():
    one = learner(privacy_budget=100.0)
    with pytest.raises(ValueError, match="clipping"):
        one.update(rollout(one), clip_gradients=False)


def test_it_learns_a_bandit_all_the_same():
    config = PPOConfig(epochs=2, minibatch=64, learning_rate=0.03, gradient_norm=1.0, entropy_coef=0.0)
    one = learner(privacy_budget=50.0, noise_multiplier=0.8, config=config)
    for seed in range(8):
        figures = one.update(rollout(one, 128, seed))
    chosen = one.act(np.random.default_rng(99).normal(size=(500, 2)).astype(np.float32))[0]
    assert chosen.mean() > 0.85
    assert figures["epsilon"] == one.spent
