"""Proximal policy optimisation (Schulman et al. 2017) with generalised advantages (Schulman et al. 2016)."""

from collections.abc import Callable
from dataclasses import dataclass

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fed_vit_autorl.reinforcement.algorithms.actor_critic import ActorCritic


@dataclass(frozen=True)
class PPOConfig:
    """Hyper-parameters with the documented defaults."""

    clip_epsilon: float = 0.2
    gamma: float = 0.99
    gae_lambda: float = 0.95
    value_coef: float = 0.5
    entropy_coef: float = 0.01
    learning_rate: float = 3e-4
    epochs: int = 10
    minibatch: int = 64
    gradient_norm: float = 0.5


@dataclass(frozen=True)
class Rollout:
    """T steps of E environments: arrays (T, E, …); ``advantage`` and ``target`` come from ``advantages``."""

    observation: NDArray[np.float32]
    action: NDArray
    log_probability: NDArray[np.float32]
    advantage: NDArray[np.float32]
    target: NDArray[np.float32]


def advantages(
    reward: NDArray, value: NDArray, done: NDArray, last_value: NDArray, gamma: float, gae_lambda: float
) -> NDArray[np.float32]:
    """Generalised advantage estimates (T, E) by the backward recursion Â_t = δ_t + γλ(1-d_t) Â_{t+1}.

    Args:
        reward, value, done: (T, E); ``done`` is 1 where the episode ended with that step.
        last_value: (E,), value of the state after the last step.
    """
    result = np.zeros_like(reward, dtype=np.float32)
    following, carried = last_value, np.zeros_like(last_value)
    for step in reversed(range(len(reward))):
        delta = reward[step] + gamma * (1 - done[step]) * following - value[step]
        carried = delta + gamma * gae_lambda * (1 - done[step]) * carried
        result[step], following = carried, value[step]
    return result


def flat(rollout: Rollout) -> dict[str, Tensor]:
    """The rollout's steps as rows (T · E, …)."""
    return {
        name: torch.from_numpy(np.ascontiguousarray(array.reshape(-1, *array.shape[2:])))
        for name, array in vars(rollout).items()
    }


class PPO:
    """A policy and its value, improved from rollouts.

    Args:
        model: the actor-critic.
        config: hyper-parameters.
        seed: of minibatches; weights come with the model.
    """

    def __init__(self, model: ActorCritic, config: PPOConfig = PPOConfig(), seed: int = 0) -> None:
        self.model = model
        self.config = config
        self._generator = np.random.default_rng(seed)
        self._optimiser = torch.optim.Adam(model.parameters(), config.learning_rate, eps=1e-5)

    @torch.no_grad()
    def act(self, observation: NDArray) -> tuple[NDArray, NDArray[np.float32], NDArray[np.float32]]:
        """Actions (E, …), their log-probabilities (E,) and the states' values (E,) for observations (E, O)."""
        tensor = torch.as_tensor(observation, dtype=torch.float32)
        distribution = self.model.policy(tensor)
        action = distribution.sample()
        return action.numpy(), distribution.log_prob(action).numpy(), self.model.value(tensor).squeeze(1).numpy()

    def update(self, rollout: Rollout) -> dict[str, float]:
        """Several epochs of clipped updates; returns the mean policy loss, value loss and entropy."""
        rows = flat(rollout)
        count = len(rows["target"])
        losses = []
        for _ in range(self.config.epochs):
            for indices in np.array_split(self._generator.permutation(count), max(1, count // self.config.minibatch)):
                batch = {name: tensor[indices] for name, tensor in rows.items()}
                loss, parts = self.loss(batch)
                self._optimiser.zero_grad(set_to_none=True)
                self.backward(loss)
                self._optimiser.step()
                losses.append(parts)
        return {name: float(np.mean([parts[name] for parts in losses])) for name in losses[0]}

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        """Clipped surrogate, value error and entropy bonus: loss per sample (B,), and the means of its parts."""
        distribution = self.model.policy(batch["observation"])
        advantage = self.scaled(batch["advantage"])
        ratio = (distribution.log_prob(batch["action"]) - batch["log_probability"]).exp()
        clipped = ratio.clamp(1 - self.config.clip_epsilon, 1 + self.config.clip_epsilon)
        policy = -torch.minimum(ratio * advantage, clipped * advantage)
        value = (self.model.value(batch["observation"]).squeeze(1) - batch["target"]).pow(2)
        entropy = distribution.entropy()
        loss = policy + self.config.value_coef * value - self.config.entropy_coef * entropy
        parts = {"policy": policy.mean().item(), "value": value.mean().item(), "entropy": entropy.mean().item()}
        return loss, parts

    def scaled(self, advantage: Tensor) -> Tensor:
        """Advantages (B,) with mean 0 and deviation 1 over the batch."""
        return (advantage - advantage.mean()) / (advantage.std() + 1e-8)

    def backward(self, loss: Tensor) -> None:
        """Gradients of the mean of per-sample losses (B,), their norm clipped."""
        loss.mean().backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.config.gradient_norm)


class VectorRollouts:
    """Steps environments in turn and collects rollouts; episodes go on from one rollout to the next.

    Args:
        make: builds an environment.
        environments: how many.
        seed: of their first resets.
    """

    def __init__(self, make: Callable[[], gymnasium.Env], environments: int, seed: int = 0) -> None:
        self._environments = [make() for _ in range(environments)]
        self._observation = np.stack([env.reset(seed=seed + i)[0] for i, env in enumerate(self._environments)])
        self._return = np.zeros(environments)
        self.returns: list[float] = []

    def collect(self, learner: PPO, steps: int) -> Rollout:
        """``steps`` steps of every environment under the learner's policy; finished returns go to ``returns``."""
        records: list[tuple] = []
        for _ in range(steps):
            observation = self._observation.astype(np.float32)
            action, log_probability, value = learner.act(observation)
            reward, done = self._step(action, learner)
            records.append((observation, action, log_probability, reward, value, done))
        last = learner.act(self._observation)[2]
        observation, action, log_probability, reward, value, done = map(np.stack, zip(*records, strict=True))
        gain = advantages(reward, value, done, last, learner.config.gamma, learner.config.gae_lambda)
        return Rollout(observation, action, log_probability, gain, gain + value)

    def _step(self, actions: NDArray, learner: PPO) -> tuple[NDArray, NDArray]:
        reward, done = np.zeros(len(actions), np.float32), np.zeros(len(actions), np.float32)
        following = []
        for index, (environment, action) in enumerate(zip(self._environments, actions, strict=True)):
            observation, gained, terminated, truncated, _ = environment.step(_within(environment, action))
            self._return[index] += gained
            reward[index], done[index] = gained, terminated or truncated
            if truncated and not terminated:
                # Cut off by time, not by failure: what would have followed still has its value.
                reward[index] += learner.config.gamma * learner.act(observation[None])[2][0]
            if terminated or truncated:
                self.returns.append(float(self._return[index]))
                self._return[index] = 0.0
                observation, _ = environment.reset()
            following.append(observation)
        self._observation = np.stack(following)
        return reward, done


def _within(environment: gymnasium.Env, action: NDArray) -> NDArray | int:
    space = environment.action_space
    return int(action) if isinstance(space, gymnasium.spaces.Discrete) else np.clip(action, space.low, space.high)
