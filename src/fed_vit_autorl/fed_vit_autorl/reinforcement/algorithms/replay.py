"""Memories of transitions: uniform and prioritised, in memory or in a file."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Batch = dict[str, NDArray]


class ReplayBuffer:
    """The last ``capacity`` transitions, sampled uniformly.

    Args:
        capacity: how many transitions are kept.
        observation_shape: of one observation (float32).
        action_shape: of one action; () with ``action_type`` int64 for discrete actions.
        action_type: dtype of actions.
        folder: where the arrays live on disk as memory maps; in memory if None. A buffer opened on a folder that holds
            one of the same shape goes on with what is in it.
        seed: of the sampling.
    """

    def __init__(
        self,
        capacity: int,
        observation_shape: tuple[int, ...],
        action_shape: tuple[int, ...] = (),
        action_type: type = np.int64,
        folder: Path | None = None,
        seed: int = 0,
    ) -> None:
        self.capacity, self.folder = capacity, folder
        self._generator = np.random.default_rng(seed)
        layout = {
            "observation": (observation_shape, np.float32),
            "action": (action_shape, action_type),
            "reward": ((), np.float32),
            "next_observation": (observation_shape, np.float32),
            "done": ((), np.float32),
        }
        self._arrays = {name: _array(folder, name, (capacity, *shape), kind) for name, (shape, kind) in layout.items()}
        self._count = _array(folder, "count", (1,), np.int64)

    def __len__(self) -> int:
        return int(min(self._count[0], self.capacity))

    def add(self, observation, action, reward: float, next_observation, done: bool) -> int:
        """Stores one transition; ``done`` means that the episode ended, not that it was cut off. Returns its index."""
        index = int(self._count[0] % self.capacity)
        values = (observation, action, reward, next_observation, done)
        for array, value in zip(self._arrays.values(), values, strict=True):
            array[index] = value
        self._count[0] += 1
        return index

    def extend(self, batch: Batch) -> NDArray[np.int64]:
        """Stores a batch of at most ``capacity`` transitions; returns their indices."""
        indices = (self._count[0] + np.arange(len(batch["reward"]))) % self.capacity
        for name, array in self._arrays.items():
            array[indices] = batch[name]
        self._count[0] += len(indices)
        return indices

    def at(self, indices: NDArray[np.int64]) -> Batch:
        """The transitions at ``indices``, as arrays (B, …)."""
        return {name: array.take(indices, axis=0) for name, array in self._arrays.items()}

    def sample(self, size: int) -> Batch:
        """``size`` transitions with replacement."""
        return self.at(self._generator.integers(0, len(self), size))


class PrioritisedReplayBuffer(ReplayBuffer):
    """Proportional prioritised replay (Schaul et al. 2016, section 3.3): P(i) = p_i^α / Σ, weights (N·P(i))^-β / max.

    Batches carry ``weight`` (B,) and ``index`` (B,) besides the transition; ``update`` sets the priorities from the
    temporal-difference errors of a batch.
    """

    def __init__(self, *args, alpha: float = 0.6, beta: float = 0.4, **options) -> None:
        super().__init__(*args, **options)
        self.alpha, self.beta = alpha, beta
        self._tree = SumTree(self.capacity)
        self._priority = _array(self.folder, "priority", (self.capacity,), np.float64)
        self._tree.set(np.arange(self.capacity), self._priority**self.alpha)
        self._largest = float(self._priority.max()) or 1.0

    def add(self, *transition) -> int:
        """Stores one transition with the largest priority seen, so that it is replayed at least once."""
        index = super().add(*transition)
        self._prioritise(np.array([index]), np.array([self._largest]))
        return index

    def extend(self, batch: Batch) -> NDArray[np.int64]:
        """Stores a batch with the largest priority seen."""
        indices = super().extend(batch)
        self._prioritise(indices, np.full(len(indices), self._largest))
        return indices

    def sample(self, size: int) -> Batch:
        """Stratified sample in proportion to the priorities."""
        total = self._tree.total
        targets = (np.arange(size) + self._generator.random(size)) * (total / size)
        indices = np.minimum(self._tree.find(targets), len(self) - 1)
        probability = self._tree.get(indices) / total
        weight = (len(self) * probability) ** -self.beta
        return self.at(indices) | {"weight": (weight / weight.max()).astype(np.float32), "index": indices}

    def update(self, indices: NDArray[np.int64], errors: NDArray) -> None:
        """Priorities |δ| + 1e-6 for the transitions at ``indices``."""
        priority = np.abs(errors) + 1e-6
        self._largest = max(self._largest, float(priority.max()))
        self._prioritise(indices, priority)

    def _prioritise(self, indices: NDArray[np.int64], priority: NDArray) -> None:
        self._priority[indices] = priority
        self._tree.set(indices, self._priority[indices] ** self.alpha)


class SumTree:
    """Prefix sums over ``capacity`` weights, with vectorised update and search in O(log capacity)."""

    def __init__(self, capacity: int) -> None:
        self._leaves = 1 << max(capacity - 1, 1).bit_length()
        self._nodes = np.zeros(2 * self._leaves)

    @property
    def total(self) -> float:
        """Sum of all weights."""
        return float(self._nodes[1])

    def get(self, indices: NDArray[np.int64]) -> NDArray[np.float64]:
        """Weights at ``indices``."""
        return self._nodes[indices + self._leaves]

    def set(self, indices: NDArray[np.int64], weights: NDArray) -> None:
        """Sets weights and the sums above them."""
        nodes = np.asarray(indices) + self._leaves
        self._nodes[nodes] = weights
        while nodes[0] > 1:
            nodes = np.unique(nodes // 2)
            self._nodes[nodes] = self._nodes[2 * nodes] + self._nodes[2 * nodes + 1]

    def find(self, targets: NDArray[np.float64]) -> NDArray[np.int64]:
        """Index whose prefix interval holds each target in [0, total)."""
        nodes = np.ones(len(targets), np.int64)
        targets = targets.copy()
        while nodes[0] < self._leaves:
            left = self._nodes[2 * nodes]
            right = targets >= left
            targets -= np.where(right, left, 0.0)
            nodes = 2 * nodes + right
        return nodes - self._leaves


def _array(folder: Path | None, name: str, shape: tuple[int, ...], kind: type) -> NDArray:
    if folder is None:
        return np.zeros(shape, kind)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.bin"
    size = int(np.prod(shape)) * np.dtype(kind).itemsize
    if path.exists() and path.stat().st_size != size:
        raise ValueError(f"{path} holds {path.stat().st_size} bytes, expected {size}: it was made for other shapes")
    return np.memmap(path, kind, "r+" if path.exists() else "w+", shape=shape)
