"""Networks of actor-critic methods: Gaussian and categorical policies, state and action values."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, Independent, Normal


def mlp(sizes: Sequence[int], activation: type[nn.Module] = nn.Tanh) -> nn.Sequential:
    """Linear layers of the given sizes with an activation between them."""
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        layers += [nn.Linear(before, after), activation()]
    return nn.Sequential(*layers[:-1])


class CategoricalPolicy(nn.Module):
    """Distribution over discrete actions."""

    def __init__(self, observations: int, actions: int, hidden: int = 64) -> None:
        super().__init__()
        self.body = mlp([observations, hidden, hidden, actions])

    def forward(self, observation: Tensor) -> Distribution:
        """Distribution for observations (B, O)."""
        return Categorical(logits=self.body(observation))


class GaussianPolicy(nn.Module):
    """Diagonal Gaussian over continuous actions, with a standard deviation of its own."""

    def __init__(self, observations: int, actions: int, hidden: int = 64) -> None:
        super().__init__()
        self.body = mlp([observations, hidden, hidden, actions])
        self.log_std = nn.Parameter(torch.zeros(actions))

    def forward(self, observation: Tensor) -> Distribution:
        """Distribution for observations (B, O)."""
        return Independent(Normal(self.body(observation), self.log_std.exp()), 1)


class ActorCritic(nn.Module):
    """A policy and the value of a state, without shared layers.

    Args:
        policy: maps observations (B, O) to a distribution of actions.
        value: maps observations (B, O) to values (B, 1).
    """

    def __init__(self, policy: nn.Module, value: nn.Module) -> None:
        super().__init__()
        self.policy = policy
        self.value = value

    @classmethod
    def discrete(cls, observations: int, actions: int, hidden: int = 64) -> "ActorCritic":
        """For discrete actions."""
        return cls(CategoricalPolicy(observations, actions, hidden), mlp([observations, hidden, hidden, 1]))

    @classmethod
    def continuous(cls, observations: int, actions: int, hidden: int = 64) -> "ActorCritic":
        """For continuous actions."""
        return cls(GaussianPolicy(observations, actions, hidden), mlp([observations, hidden, hidden, 1]))


class TwinQ(nn.Module):
    """Two action values (Fujimoto et al. 2018), whose minimum is used against overestimation."""

    def __init__(self, observations: int, actions: int, hidden: int = 256) -> None:
        super().__init__()
        self.first = mlp([observations + actions, hidden, hidden, 1], nn.ReLU)
        self.second = mlp([observations + actions, hidden, hidden, 1], nn.ReLU)

    def forward(self, observation: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """Both values (B,) of observations (B, O) and actions (B, A)."""
        pair = torch.cat([observation, action], dim=1)
        return self.first(pair).squeeze(1), self.second(pair).squeeze(1)
