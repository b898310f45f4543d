"""A small network of action values in numpy, with its gradient by hand, and Adam on one vector of parameters.

With 128 units a layer the arithmetic of a step takes a fifth of what a framework's bookkeeping around it takes.
"""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


class QNetwork:
    """Action values (B, actions) of observations (B, observations): two hidden layers of ReLU.

    Dueling (Wang et al. 2016, equation 9): Q = V + A - mean(A); the last layer's outputs are the A, then V.

    Attributes:
        vector: all parameters (P,); ``layers`` and ``named`` are views of it.
        layers: weights (inputs, outputs) and biases (outputs,) in the order of the layers.
    """

    def __init__(self, observations: int, actions: int, hidden: int, dueling: bool, seed: int) -> None:
        sizes = (observations, hidden, hidden, actions + dueling)
        self._shapes = list(pairwise(sizes))
        bound = np.concatenate([np.full((inputs + 1) * outputs, inputs**-0.5) for inputs, outputs in self._shapes])
        self.vector = np.random.default_rng(seed).uniform(-bound, bound).astype(np.float32)
        self.layers = self._split(self.vector)
        advantage = np.eye(actions) - dueling / actions
        # Values are outputs @ mixing.
        self._mixing = np.concatenate([advantage, np.ones((int(dueling), actions))]).astype(np.float32)

    def __call__(self, observation: Array) -> Array:
        """Action values."""
        return self.forward(observation)[0]

    def forward(self, observation: Array) -> tuple[Array, list[Array]]:
        """Action values, and the inputs of each layer, which ``gradient`` needs."""
        *hidden, (weight, bias) = self.layers
        inputs = [observation]
        for matrix, offset in hidden:
            inputs.append(np.maximum(inputs[-1] @ matrix + offset, 0.0))
        return (inputs[-1] @ weight + bias) @ self._mixing, inputs

    def gradient(self, inputs: list[Array], slopes: Array) -> Array:
        """Gradient (P,) of a loss from its slopes (B, actions) by the action values, by back-propagation."""
        gradient = np.empty_like(self.vector)
        slopes = slopes @ self._mixing.T
        parts = zip(self.layers, self._split(gradient), inputs, strict=True)
        for (weight, _), (by_weight, by_bias), given in reversed(list(parts)):
            np.matmul(given.T, slopes, out=by_weight)
            slopes.sum(axis=0, out=by_bias)
            slopes = (slopes @ weight.T) * (given > 0)
        return gradient

    def named(self) -> dict[str, Array]:
        """Views of the parameters by name."""
        return {
            f"{index}.{kind}": part
            for index, layer in enumerate(self.layers)
            for kind, part in zip(("weight", "bias"), layer, strict=True)
        }

    def _split(self, vector: Array) -> list[tuple[Array, Array]]:
        parts, start = [], 0
        for inputs, outputs in self._shapes:
            middle, end = start + inputs * outputs, start + (inputs + 1) * outputs
            parts.append((vector[start:middle].reshape(inputs, outputs), vector[middle:end]))
            start = end
        return parts


class Adam:
    """Kingma & Ba 2015, algorithm 1, with its β and ε, on a vector of ``size``."""

    def __init__(self, size: int, learning_rate: float) -> None:
        self.learning_rate = learning_rate
        self._mean = np.zeros(size, np.float32)
        self._square = np.zeros(size, np.float32)
        self._steps = 0

    def step(self, vector: Array, gradient: Array) -> None:
        """Moves ``vector`` in place."""
        self._steps += 1
        self._mean += 0.1 * (gradient - self._mean)
        self._square += 0.001 * (gradient * gradient - self._square)
        rate = self.learning_rate / (1 - 0.9**self._steps)
        vector -= rate * self._mean / (np.sqrt(self._square / (1 - 0.999**self._steps)) + 1e-8)
