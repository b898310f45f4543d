"""A small federated training in one process: real strategies and pipelines around a perceptron in numpy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..pipeline import Pipeline
from ..registry import Registry
from ..strategies import STRATEGIES
from ..update import Layout, Tensors, Update, UpdateMetadata


@dataclass(frozen=True)
class Task:
    """Classification: inputs float32 (n, d), labels int (n,), and the training indices of each vehicle."""

    train_x: np.ndarray
    train_y: np.ndarray
    test_x: np.ndarray
    test_y: np.ndarray
    parts: Sequence[np.ndarray]

    @property
    def classes(self) -> int:
        return int(self.train_y.max()) + 1


@dataclass(frozen=True)
class Training:
    """How it is trained: `byzantine` vehicles of all use `attack`."""

    rounds: int = 40
    hidden: int = 256
    steps: int = 10
    batch: int = 32
    learning_rate: float = 0.1
    seed: int = 0
    attack: str = "none"
    byzantine: int = 0


def train(
    task: Task, training: Training, strategy: str | dict[str, Any] = "fedavg", stages: Sequence[Any] = ()
) -> tuple[float, float]:
    """Test accuracy in percent after all rounds, and mean bytes per update."""
    model = _initial(task.train_x.shape[1], training.hidden, task.classes, training.seed)
    layout = Layout.of(model)
    rule = STRATEGIES.build(strategy)
    pipelines = [Pipeline.from_config(stages, layout) for _ in task.parts]
    sent: list[int] = []
    for number in range(training.rounds):
        honest = _local_updates(task, model, number, training)
        rule.begin(model, number)
        for vehicle, update in enumerate(ATTACKS[training.attack](honest, training.byzantine)):
            tensors = layout.unflatten(update)
            samples = len(task.parts[vehicle])
            data = pipelines[vehicle].encode(Update(tensors, UpdateMetadata(number, number, f"v{vehicle}", samples)))
            sent.append(len(data))
            rule.add(pipelines[vehicle].decode(data), samples)
        model = rule.finish()
    return accuracy(model, task.test_x, task.test_y), float(np.mean(sent))


def accuracy(model: Tensors, inputs: np.ndarray, labels: np.ndarray) -> float:
    """Percent of `inputs` classified right; 0 for a model that is not finite."""
    with np.errstate(over="ignore", invalid="ignore"):
        scores = _forward(model, inputs)[1]
    return float((scores.argmax(axis=1) == labels).mean() * 100) if np.isfinite(scores).all() else 0.0


Attack = Callable[[list[np.ndarray], int], list[np.ndarray]]
ATTACKS: Registry[Attack] = Registry("attack")


@ATTACKS.register("none")
def _none(updates: list[np.ndarray], byzantine: int) -> list[np.ndarray]:
    return updates


@ATTACKS.register("sign_flip")
def _sign_flip(updates: list[np.ndarray], byzantine: int) -> list[np.ndarray]:
    """The first vehicles send -5 times what they learned: the mean of 20 % of them points backwards."""
    return [-5 * update for update in updates[:byzantine]] + updates[byzantine:]


@ATTACKS.register("scaled")
def _scaled(updates: list[np.ndarray], byzantine: int) -> list[np.ndarray]:
    """They agree on one random direction, a hundred times as long as their updates."""
    direction = np.random.default_rng(1).standard_normal(updates[0].size).astype(np.float32)
    direction /= np.linalg.norm(direction)
    return [100 * np.linalg.norm(update) * direction for update in updates[:byzantine]] + updates[byzantine:]


@ATTACKS.register("label_flip")
def _label_flip(updates: list[np.ndarray], byzantine: int) -> list[np.ndarray]:
    """They have learned from wrong labels (10 - 1 - digit), and send ten times that so as to outweigh the others."""
    return [10 * update for update in updates[:byzantine]] + updates[byzantine:]


@ATTACKS.register("little_is_enough")
def _little_is_enough(updates: list[np.ndarray], byzantine: int) -> list[np.ndarray]:
    """All send mean - z · deviation of the honest ones, z such that they still look like the majority (Baruch 2019)."""
    honest = np.stack(updates[byzantine:])
    return [honest.mean(axis=0) - np.float32(1.5) * honest.std(axis=0)] * byzantine + updates[byzantine:]


def _initial(inputs: int, hidden: int, classes: int, seed: int) -> Tensors:
    generator = np.random.default_rng(seed)

    def layer(rows: int, columns: int) -> np.ndarray:
        return (generator.standard_normal((rows, columns)) * np.sqrt(2 / rows)).astype(np.float32)

    return {
        "w1": layer(inputs, hidden),
        "b1": np.zeros(hidden, np.float32),
        "w2": layer(hidden, classes),
        "b2": np.zeros(classes, np.float32),
    }


def _forward(model: Tensors, inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Features and scores; model and inputs may have a leading axis of vehicles."""
    features = np.maximum(inputs @ model["w1"] + model["b1"][..., None, :], 0)
    return features, features @ model["w2"] + model["b2"][..., None, :]


def _gradients(model: Tensors, inputs: np.ndarray, labels: np.ndarray) -> Tensors:
    """Of the mean cross-entropy, for each vehicle: inputs (v, n, d), labels one-hot (v, n, classes)."""
    features, scores = _forward(model, inputs)
    shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
    errors = (shares / shares.sum(axis=-1, keepdims=True) - labels) / labels.shape[1]
    back = (errors @ model["w2"].swapaxes(1, 2)) * (features > 0)
    return {
        "w1": inputs.swapaxes(1, 2) @ back,
        "b1": back.sum(axis=1),
        "w2": features.swapaxes(1, 2) @ errors,
        "b2": errors.sum(axis=1),
    }


def _local_updates(task: Task, model: Tensors, number: int, training: Training) -> list[np.ndarray]:
    """Flat delta of every vehicle's SGD from `model`; the learning rate falls linearly to 0 over the rounds."""
    generator = np.random.default_rng([training.seed, number])
    rate = np.float32(training.learning_rate * (1 - number / training.rounds))
    trained = {name: np.repeat(tensor[None], len(task.parts), axis=0) for name, tensor in model.items()}
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(training.steps):
            chosen = np.stack([own[generator.integers(len(own), size=training.batch)] for own in task.parts])
            labels = task.train_y[chosen]
            if training.attack == "label_flip":
                labels[: training.byzantine] = task.classes - 1 - labels[: training.byzantine]
            one_hot = np.eye(task.classes, dtype=np.float32)[labels]
            for name, gradient in _gradients(trained, task.train_x[chosen], one_hot).items():
                trained[name] -= rate * gradient
    deltas = {name: np.nan_to_num(trained[name] - tensor) for name, tensor in model.items()}
    layout = Layout.of(model)
    # A model that an attack has blown up has nothing to teach.
    return [
        np.clip(layout.flatten({name: delta[vehicle] for name, delta in deltas.items()}), -1e6, 1e6)
        for vehicle in range(len(task.parts))
    ]


def digits_like(count: int, vehicles: int, seed: int = 0) -> Task:
    """Seven-segment digits on 8 × 8 pixels, shifted, dimmed and noisy, dealt evenly: for tests without real digits."""
    generator = np.random.default_rng(seed)
    segments = np.zeros((7, 8, 8), np.float32)
    bars = [(1, slice(2, 5)), (3, slice(2, 5)), (5, slice(2, 5))]
    posts = [(slice(1, 4), 2), (slice(1, 4), 4), (slice(3, 6), 2), (slice(3, 6), 4)]
    for segment, place in zip(segments, [bars[0], *posts[:2], bars[1], *posts[2:], bars[2]], strict=True):
        segment[place] = 1
    lit = [0b1110111, 0b0010010, 0b1011101, 0b1011011, 0b0111010, 0b1101011, 0b1101111, 0b1010010, 0b1111111, 0b1111011]
    shapes = np.stack([segments[[bool(code >> (6 - bit) & 1) for bit in range(7)]].max(axis=0) for code in lit])
    labels = generator.integers(10, size=count)
    images = np.stack(
        [np.roll(shapes[label], generator.integers(-1, 2), axis=1) for label in labels]
    ) * generator.uniform(0.6, 1.4, (count, 1, 1))
    inputs = (images + generator.normal(scale=0.1, size=images.shape)).reshape(count, 64).astype(np.float32)
    cut = count * 4 // 5
    parts = np.array_split(generator.permutation(cut), vehicles)
    return Task(inputs[:cut], labels[:cut], inputs[cut:], labels[cut:], parts)


def attacked(training: Training, attack: str, byzantine: int) -> Training:
    """The same training with attackers in it."""
    return replace(training, attack=attack, byzantine=byzantine)
