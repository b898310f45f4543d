"""Deep Q-learning and its variants: DQN, Double, Dueling, Dueling Double.

Sources: Mnih et al. 2015 (DQN), van Hasselt et al. 2016 (Double), Wang et al. 2016 (Dueling). Target networks follow by
Polyak averaging.
"""

import copy
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fed_vit_autorl.reinforcement.algorithms.replay import Batch


@dataclass(frozen=True)
class DQNConfig:
    """Hyper-parameters; the defaults are tuned on LunarLander-v3.

    Attributes:
        double: the online network chooses the next action, the target network values it.
        dueling: separate streams for the state's value and the actions' advantages.
        epsilon_decay: factor on the exploration rate per episode.
    """

    double: bool = False
    dueling: bool = False
    hidden: int = 128
    learning_rate: float = 5e-4
    gamma: float = 0.99
    batch_size: int = 64
    tau: float = 5e-3
    train_every: int = 4
    buffer_size: int = 100_000
    epsilon_decay: float = 0.985
    epsilon_end: float = 0.01
    gradient_norm: float = 10.0


VARIANTS: dict[str, dict[str, bool]] = {
    "dqn": {},
    "double": {"double": True},
    "dueling": {"dueling": True},
    "dueling_double": {"double": True, "dueling": True},
}


class QNetwork(nn.Module):
    """Action values (B, actions) of observations (B, observations): two hidden layers of ReLU."""

    def __init__(self, observations: int, actions: int, hidden: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(observations, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU())
        self.head = nn.Linear(hidden, actions)

    def forward(self, observation: Tensor) -> Tensor:
        """Action values."""
        return self.head(self.body(observation))


class DuelingQNetwork(QNetwork):
    """Q = V + A - mean(A) (Wang et al. 2016, equation 9)."""

    def __init__(self, observations: int, actions: int, hidden: int) -> None:
        super().__init__(observations, actions, hidden)
        self.value = nn.Linear(hidden, 1)

    def forward(self, observation: Tensor) -> Tensor:
        """Action values."""
        features = self.body(observation)
        advantage = self.head(features)
        return self.value(features) + advantage - advantage.mean(dim=1, keepdim=True)


class DQN:
    """A Q-learner: acts, learns from batches, and hands its parameters over as a flat dict of arrays.

    Args:
        observations: length of the observation vector.
        actions: number of discrete actions.
        config: hyper-parameters.
        seed: of the weights and of exploration.
    """

    def __init__(self, observations: int, actions: int, config: DQNConfig = DQNConfig(), seed: int = 0) -> None:
        torch.manual_seed(seed)
        self.config = config
        self.actions = actions
        self._generator = np.random.default_rng(seed)
        kind = DuelingQNetwork if config.dueling else QNetwork
        self.network = kind(observations, actions, config.hidden)
        self.target = copy.deepcopy(self.network).requires_grad_(False)
        self._optimiser = torch.optim.Adam(self.network.parameters(), config.learning_rate)

    @torch.no_grad()
    def act(self, observation: NDArray, epsilon: float = 0.0) -> int:
        """An action: random with probability ``epsilon``, else the one of the highest value."""
        if self._generator.random() < epsilon:
            return int(self._generator.integers(self.actions))
        return int(self.network(torch.as_tensor(observation, dtype=torch.float32)[None]).argmax())

    def learn(self, batch: Batch) -> NDArray[np.float32]:
        """One gradient step on a batch; returns the temporal-difference errors (B,)."""
        tensors = {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in batch.items()}
        with torch.no_grad():
            values = self.target(tensors["next_observation"])
            chooser = self.network(tensors["next_observation"]) if self.config.double else values
            best = values.gather(1, chooser.argmax(dim=1, keepdim=True)).squeeze(1)
            target = tensors["reward"] + self.config.gamma * (1 - tensors["done"]) * best
        value = self.network(tensors["observation"]).gather(1, tensors["action"][:, None]).squeeze(1)
        loss = nn.functional.smooth_l1_loss(value, target, reduction="none")
        loss = (loss * tensors["weight"]).mean() if "weight" in tensors else loss.mean()
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), self.config.gradient_norm)
        self._optimiser.step()
        self._follow()
        return (value.detach() - target).numpy()

    @torch.no_grad()
    def _follow(self) -> None:
        torch._foreach_lerp_(list(self.target.parameters()), list(self.network.parameters()), self.config.tau)

    def parameters(self) -> dict[str, NDArray[np.float32]]:
        """Copies of the online network's parameters by name."""
        return {name: value.detach().numpy().copy() for name, value in self.network.state_dict().items()}

    def load(self, parameters: dict[str, NDArray[np.float32]]) -> None:
        """Takes over parameters, for the target network too."""
        state = {name: torch.from_numpy(np.array(value)) for name, value in parameters.items()}
        self.network.load_state_dict(state)
        self.target.load_state_dict(state)
