"""Proximal policy optimisation: its estimates by hand, and that it solves a standard task."""

import gymnasium
import numpy as np
import pytest
import torch

from fed_vit_autorl.reinforcement.algorithms.actor_critic import ActorCritic
from fed_vit_autorl.reinforcement.algorithms.ppo import PPO, PPOConfig, VectorRollouts, advantages


def test_advantages_by_hand():
    # γ = 0.5, λ = 0.5: δ_1 = 2 + 0.5·4 - 3 = 1, δ_0 = 1 + 0.5·3 - 2 = 0.5; Â_0 = 0.5 + 0.25·1.
    result = advantages(np.array([[1.0], [2.0]]), np.array([[2.0], [3.0]]), np.zeros((2, 1)), np.array([4.0]), 0.5, 0.5)
    np.testing.assert_allclose(result, [[0.75], [1.0]])


def test_nothing_flows_back_over_the_end_of_an_episode():
    done = np.array([[1.0], [0.0]])
    result = advantages(np.array([[1.0], [9.0]]), np.zeros((2, 1)), done, np.array([7.0]), 0.9, 0.9)
    np.testing.assert_allclose(result[0], 1.0)


def test_the_clipped_surrogate_stops_where_the_ratio_leaves_its_bounds():
    model = ActorCritic.discrete(2, 2)
    learner = PPO(model, PPOConfig(value_coef=0.0, entropy_coef=0.0))
    observation = torch.zeros(2, 2)
    now = model.policy(observation).log_prob(torch.tensor([0, 0])).detach()
    batch = {
        "observation": observation,
        "action": torch.tensor([0, 0]),
        "log_probability": now - torch.tensor([0.5, 0.0]),  # ratios e^0.5 > 1.2 and 1
        "advantage": torch.tensor([1.0, -1.0]),
        "target": torch.zeros(2),
    }
    loss, _ = learner.loss(batch)
    scale = 1 / np.sqrt(2)  # advantages are normalised by their standard deviation
    assert loss[0].item() == pytest.approx(-1.2 * scale, rel=1e-5)
    assert torch.autograd.grad(loss[0], model.policy.parameters(), retain_graph=True)[0].abs().max() == 0
    assert loss[1].item() == pytest.approx(scale, rel=1e-5)


def test_it_balances_the_pole():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    learner = PPO(ActorCritic.discrete(4, 2), PPOConfig(entropy_coef=0.0, learning_rate=1e-3, minibatch=256, epochs=8))
    rollouts = VectorRollouts(lambda: gymnasium.make("CartPole-v1"), environments=8, seed=0)
    for _ in range(30):
        learner.update(rollouts.collect(learner, steps=128))
    # Gymnasium calls CartPole-v0 solved at 195; a random policy reaches 22.
    assert np.mean(rollouts.returns[-20:]) > 195
