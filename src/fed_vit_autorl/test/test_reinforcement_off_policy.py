"""SAC and TD3: densities by an independent formula, and that both learn a standard task as far as a peer does."""

import gymnasium
import numpy as np
import pytest
import torch
from torch.distributions import Normal, TanhTransform, TransformedDistribution

from fed_vit_autorl.reinforcement.algorithms.off_policy import (
    LEARNERS,
    SAC,
    TD3,
    OffPolicyConfig,
    SquashedGaussianActor,
)
from fed_vit_autorl.reinforcement.algorithms.replay import ReplayBuffer


def test_the_squashed_density_is_that_of_the_transformed_distribution():
    torch.manual_seed(1)
    actor = SquashedGaussianActor(3, 2, 8)
    observation = torch.randn(64, 3)
    action, log_probability = actor.sample(observation)
    mean, log_std = actor(observation)
    expected = TransformedDistribution(Normal(mean, log_std.exp()), TanhTransform()).log_prob(action).sum(dim=1)
    torch.testing.assert_close(log_probability, expected, atol=1e-3, rtol=1e-3)


def test_td3_moves_its_policy_every_second_step_only():
    learner = TD3(2, 1, OffPolicyConfig(hidden=8))
    before = [parameter.clone() for parameter in learner.actor.parameters()]
    observation = torch.rand(16, 2)
    learner.improve(observation)
    assert all(torch.equal(a, b) for a, b in zip(before, learner.actor.parameters(), strict=True))
    learner.improve(observation)
    assert not all(torch.equal(a, b) for a, b in zip(before, learner.actor.parameters(), strict=True))


def test_sac_lowers_its_temperature_where_the_policy_is_random_enough():
    learner = SAC(2, 1, OffPolicyConfig(hidden=8, learning_rate=1e-2))
    for parameter in learner.actor.parameters():
        torch.nn.init.zeros_(parameter)  # standard deviation 1: entropy of tanh(N(0, 1)) is 0.64 nats, above -1
    learner.improve(torch.rand(256, 2))
    assert learner.log_temperature.item() < 0


@pytest.mark.parametrize("name", LEARNERS)
def test_it_swings_the_pendulum_up(name):
    torch.set_num_threads(1)
    environment = gymnasium.make("Pendulum-v1")
    learner = LEARNERS[name](3, 1, OffPolicyConfig(hidden=64, learning_rate=1e-3), seed=0)
    buffer = ReplayBuffer(10_000, (3,), (1,), np.float32, seed=0)
    generator = np.random.default_rng(0)
    observation, _ = environment.reset(seed=0)
    for step in range(8000):
        action = generator.uniform(-1, 1, 1).astype(np.float32) if step < 1000 else learner.act(observation)
        following, reward, terminated, truncated, _ = environment.step(2 * action)
        buffer.add(observation, action, reward / 10, following, terminated)
        observation = environment.reset()[0] if truncated else following
        if step >= 1000:
            learner.learn(buffer.sample(128))
    # A random policy returns about -1,200; stable-baselines3's tuned agents reach -150 to -250.
    assert np.mean([episode_return(environment, learner, seed) for seed in range(10)]) > -250


def episode_return(environment, learner, seed):
    observation, _ = environment.reset(seed=seed)
    total, over = 0.0, False
    while not over:
        observation, reward, _, over, _ = environment.step(2 * learner.act(observation, explore=False))
        total += float(reward)
    return total
