"""Continuous control from replayed experience: SAC and TD3 share their critics and differ in their actors.

Actions are in [-1, 1]; an environment's own range is the caller's to scale.
"""

import copy
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fed_vit_autorl.reinforcement.algorithms.actor_critic import TwinQ, mlp
from fed_vit_autorl.reinforcement.algorithms.replay import Batch

LOG_STD_RANGE = (-20.0, 2.0)


@dataclass(frozen=True)
class OffPolicyConfig:
    """Hyper-parameters of SAC and TD3; the last three are TD3's (Fujimoto et al. 2018, section 5.3)."""

    gamma: float = 0.99
    tau: float = 0.005
    learning_rate: float = 3e-4
    hidden: int = 256
    exploration_noise: float = 0.1
    target_noise: float = 0.2
    target_noise_clip: float = 0.5
    policy_delay: int = 2


class SquashedGaussianActor(nn.Module):
    """A Gaussian squashed by tanh (Haarnoja et al. 2018, appendix C)."""

    def __init__(self, observations: int, actions: int, hidden: int) -> None:
        super().__init__()
        self.body = mlp([observations, hidden, hidden, 2 * actions], nn.ReLU)

    def forward(self, observation: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and logarithm of the standard deviation (B, A) before squashing."""
        mean, log_std = self.body(observation).chunk(2, dim=1)
        return mean, log_std.clamp(*LOG_STD_RANGE)

    def sample(self, observation: Tensor) -> tuple[Tensor, Tensor]:
        """Actions (B, A) in (-1, 1) by reparametrisation, and their log-probabilities (B,)."""
        mean, log_std = self(observation)
        noise = torch.randn_like(mean)
        raw = mean + log_std.exp() * noise
        gaussian = -0.5 * (noise**2 + math.log(2 * math.pi)) - log_std
        # log(1 - tanh²x) = 2 (log 2 - x - softplus(-2x)), which does not underflow.
        squash = 2 * (math.log(2) - raw - nn.functional.softplus(-2 * raw))
        return raw.tanh(), (gaussian - squash).sum(dim=1)


class OffPolicyLearner(ABC):
    """Twin critics with Polyak-averaged targets; a subclass has the actor.

    Args:
        actor: the policy's network.
        observations, actions: lengths of the vectors.
        config: hyper-parameters.
        seed: of weights and noise.
    """

    def __init__(
        self, actor: nn.Module, observations: int, actions: int, config: OffPolicyConfig, seed: int = 0
    ) -> None:
        self.config = config
        self.actor = actor
        self.critic = TwinQ(observations, actions, config.hidden)
        self.target_critic = copy.deepcopy(self.critic).requires_grad_(False)
        self._generator = np.random.default_rng(seed)
        self._actor_optimiser = torch.optim.Adam(self.actor.parameters(), config.learning_rate)
        self._critic_optimiser = torch.optim.Adam(self.critic.parameters(), config.learning_rate)

    @abstractmethod
    def act(self, observation: NDArray, explore: bool = True) -> NDArray[np.float32]:
        """An action (A,) in [-1, 1] for an observation (O,)."""

    @abstractmethod
    def next_value(self, observation: Tensor) -> Tensor:
        """Value (B,) of the states that follow, under the policy that is learnt."""

    @abstractmethod
    def improve(self, observation: Tensor) -> None:
        """Improves the actor on observations (B, O)."""

    def learn(self, batch: Batch) -> NDArray[np.float32]:
        """One step of critics and actor on a batch; returns the temporal-difference errors (B,)."""
        tensors = {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in batch.items()}
        with torch.no_grad():
            following = self.next_value(tensors["next_observation"])
            target = tensors["reward"] + self.config.gamma * (1 - tensors["done"]) * following
        first, second = self.critic(tensors["observation"], tensors["action"])
        weight = tensors.get("weight", torch.ones_like(target))
        _step(self._critic_optimiser, (weight * ((first - target) ** 2 + (second - target) ** 2)).mean())
        self.improve(tensors["observation"])
        return (first.detach() - target).numpy()

    def follow(self, target: nn.Module, network: nn.Module) -> None:
        """Moves a target network a little towards its network."""
        with torch.no_grad():
            torch._foreach_lerp_(list(target.parameters()), list(network.parameters()), self.config.tau)


class SAC(OffPolicyLearner):
    """Soft actor-critic with a tuned temperature (Haarnoja et al. 2018); `actor` goes on from one that is there."""

    def __init__(
        self,
        observations: int,
        actions: int,
        config: OffPolicyConfig = OffPolicyConfig(),
        seed: int = 0,
        actor: SquashedGaussianActor | None = None,
    ) -> None:
        torch.manual_seed(seed)
        actor = actor or SquashedGaussianActor(observations, actions, config.hidden)
        super().__init__(actor, observations, actions, config, seed)
        self.target_entropy = -float(actions)
        self.log_temperature = torch.zeros((), requires_grad=True)
        self._temperature_optimiser = torch.optim.Adam([self.log_temperature], config.learning_rate)

    @torch.no_grad()
    def act(self, observation: NDArray, explore: bool = True) -> NDArray[np.float32]:
        """A sample of the policy, or its mean."""
        tensor = torch.as_tensor(observation, dtype=torch.float32)[None]
        action = self.actor.sample(tensor)[0] if explore else self.actor(tensor)[0].tanh()
        return action[0].numpy()

    def next_value(self, observation: Tensor) -> Tensor:
        """min Q - α log π."""
        action, log_probability = self.actor.sample(observation)
        return torch.minimum(*self.target_critic(observation, action)) - self.log_temperature.exp() * log_probability

    def improve(self, observation: Tensor) -> None:
        """Maximises min Q - α log π, and tunes α towards the target entropy."""
        action, log_probability = self.actor.sample(observation)
        temperature = self.log_temperature.exp().detach()
        value = torch.minimum(*self.critic(observation, action))
        _step(self._actor_optimiser, (temperature * log_probability - value).mean())
        surplus = log_probability.detach() + self.target_entropy
        _step(self._temperature_optimiser, -(self.log_temperature * surplus).mean())
        self.follow(self.target_critic, self.critic)


class TD3(OffPolicyLearner):
    """Twin delayed deterministic policy gradient (Fujimoto et al. 2018)."""

    def __init__(
        self, observations: int, actions: int, config: OffPolicyConfig = OffPolicyConfig(), seed: int = 0
    ) -> None:
        torch.manual_seed(seed)
        actor = nn.Sequential(*mlp([observations, config.hidden, config.hidden, actions], nn.ReLU), nn.Tanh())
        super().__init__(actor, observations, actions, config, seed)
        self.target_actor = copy.deepcopy(self.actor).requires_grad_(False)
        self._steps = 0

    @torch.no_grad()
    def act(self, observation: NDArray, explore: bool = True) -> NDArray[np.float32]:
        """The policy's action, with Gaussian noise where it explores."""
        action = self.actor(torch.as_tensor(observation, dtype=torch.float32)[None])[0].numpy()
        noise = self._generator.normal(0, self.config.exploration_noise, action.shape) if explore else 0.0
        return np.clip(action + noise, -1, 1).astype(np.float32)

    def next_value(self, observation: Tensor) -> Tensor:
        """min Q of the target policy's smoothed action."""
        action = self.target_actor(observation)
        noise = (torch.randn_like(action) * self.config.target_noise).clamp(
            -self.config.target_noise_clip, self.config.target_noise_clip
        )
        return torch.minimum(*self.target_critic(observation, (action + noise).clamp(-1, 1)))

    def improve(self, observation: Tensor) -> None:
        """Every second step: maximises Q, and moves the targets."""
        self._steps += 1
        if self._steps % self.config.policy_delay:
            return
        value, _ = self.critic(observation, self.actor(observation))
        _step(self._actor_optimiser, -value.mean())
        self.follow(self.target_critic, self.critic)
        self.follow(self.target_actor, self.actor)


LEARNERS: dict[str, type[OffPolicyLearner]] = {"sac": SAC, "td3": TD3}


def _step(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()
