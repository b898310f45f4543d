"""`bench compress`: size, speed and cost in accuracy of top 1 % with error feedback and 8 bits."""

from __future__ import annotations

import statistics
import time
from typing import Any

import numpy as np

from ..pipeline import Pipeline
from ..update import Layout, Update, UpdateMetadata
from .data import PARAMETERS, SHAPES, seconds, update_of
from .experiment import Training, train
from .tasks import digits

STAGES = [{"top_k": {"ratio": 0.01}}, {"quantise": {"bits": 8}}]
SEEDS = (0, 1, 2)


def compress() -> dict[str, Any]:
    """A ViT-Tiny update there and back; a federated training on non-IID digits with and without compression."""
    layout = Layout.of({name: np.empty(shape, np.float32) for name, shape in SHAPES.items()})
    vehicle, aggregator = (Pipeline.from_config(STAGES, layout) for _ in range(2))
    update = Update(update_of(0), UpdateMetadata(0, 0, "v", 1))
    wire = vehicle.encode(update)
    encode_s = seconds(lambda: vehicle.encode(update), 9)
    decode_s = seconds(lambda: aggregator.decode(wire), 9)
    values = layout.flatten(update.tensors)
    accuracies: dict[str, list[float]] = {"dense": [], "compressed": []}
    sizes = {}
    for seed in SEEDS:
        task = digits(vehicles=10, alpha=0.3, seed=seed)
        training = Training(rounds=150, hidden=256, steps=10, learning_rate=0.5, seed=seed)
        for name, stages in (("dense", []), ("compressed", STAGES)):
            percent, sizes[name] = train(task, training, "fedavg", stages)
            accuracies[name].append(percent)
    means = {name: statistics.mean(percents) for name, percents in accuracies.items()}
    return {
        "parameters": PARAMETERS,
        "mb": len(wire) / 1e6,
        "dense_mb": 4 * PARAMETERS / 1e6,
        "encode_ms": encode_s * 1e3,
        "decode_ms": decode_s * 1e3,
        "encode_cpu_ms": seconds(lambda: vehicle.encode(update), 9, time.process_time) * 1e3,
        "decode_cpu_ms": seconds(lambda: aggregator.decode(wire), 9, time.process_time) * 1e3,
        "floor_ms": seconds(lambda: np.abs(values), 9) * 1e3,
        "entropy_mb": _entropy_mb(),
        "accuracy_gap_points": means["dense"] - means["compressed"],
        "accuracy": accuracies,
        "training_bytes_per_update": sizes,
    }


def _entropy_mb(share: float = 0.01, bits: int = 8) -> float:
    """Size that no code of random positions and `bits` per value goes below."""
    positions = -share * np.log2(share) - (1 - share) * np.log2(1 - share)
    return float(PARAMETERS * (positions + share * bits) / 8e6)
