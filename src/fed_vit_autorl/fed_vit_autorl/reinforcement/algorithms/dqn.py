"""Deep Q-learning and its variants: DQN, Double, Dueling, Dueling Double.

Sources: Mnih et al. 2015 (DQN), van Hasselt et al. 2016 (Double), Wang et al. 2016 (Dueling). Target networks follow by
Polyak averaging.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fed_vit_autorl.reinforcement.algorithms.q_network import Adam, QNetwork
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


class DQN:
    """A Q-learner: acts, learns from batches, and hands its parameters over as a flat dict of arrays.

    Args:
        observations: length of the observation vector.
        actions: number of discrete actions.
        config: hyper-parameters.
        seed: of the weights and of exploration.
    """

    def __init__(self, observations: int, actions: int, config: DQNConfig = DQNConfig(), seed: int = 0) -> None:
        self.config = config
        self.actions = actions
        self._generator = np.random.default_rng(seed)
        self.network = QNetwork(observations, actions, config.hidden, config.dueling, seed)
        self.target = QNetwork(observations, actions, config.hidden, config.dueling, seed)
        self._optimiser = Adam(len(self.network.vector), config.learning_rate)

    def act(self, observation: NDArray, epsilon: float = 0.0) -> int:
        """An action: random with probability ``epsilon``, else the one of the highest value."""
        if self._generator.random() < epsilon:
            return int(self._generator.integers(self.actions))
        return int(self.network(observation).argmax())

    def learn(self, batch: Batch) -> NDArray[np.float32]:
        """One gradient step on a batch, of the Huber loss; returns the temporal-difference errors (B,)."""
        rows = np.arange(len(batch["reward"]))
        following = self.target(batch["next_observation"])
        chooser = self.network(batch["next_observation"]) if self.config.double else following
        best = following[rows, chooser.argmax(axis=1)]
        values, inputs = self.network.forward(batch["observation"])
        errors = values[rows, batch["action"]] - (batch["reward"] + self.config.gamma * (1 - batch["done"]) * best)
        slopes = np.zeros_like(values)
        slopes[rows, batch["action"]] = errors.clip(-1, 1) * batch.get("weight", 1.0) / len(rows)
        gradient = self.network.gradient(inputs, slopes)
        gradient *= min(1.0, self.config.gradient_norm / (float(np.linalg.norm(gradient)) + 1e-6))
        self._optimiser.step(self.network.vector, gradient)
        self.target.vector += self.config.tau * (self.network.vector - self.target.vector)
        return errors

    def parameters(self) -> dict[str, NDArray[np.float32]]:
        """Copies of the online network's parameters by name."""
        return {name: value.copy() for name, value in self.network.named().items()}

    def load(self, parameters: dict[str, NDArray[np.float32]]) -> None:
        """Takes over parameters, for the target network too."""
        for network in (self.network, self.target):
            for name, value in network.named().items():
                value[:] = parameters[name]
