"""`bench aggregate`: averaging, Krum and median of 100 updates of a ViT-Tiny, beside Flower's."""

from __future__ import annotations

import tempfile
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from ..blocks import CORES
from ..strategies import STRATEGIES
from ..update import Layout, Tensors, Update, UpdateMetadata
from .data import PARAMETERS, SHAPES, samples_of, seconds, tensors_of
from .peer import run_peer

VEHICLES = 100


def aggregate() -> dict[str, Any]:
    """FedAvg, Krum and coordinate median of 100 × 5,717,416 float32: ours, Flower's, and the time to read them once."""
    with tempfile.TemporaryDirectory() as folder:
        theirs_path = Path(folder) / "flwr.npz"
        theirs = run_peer("flwr_aggregate.py", str(VEHICLES), str(theirs_path))
        expected = dict(np.load(theirs_path))
    peak = _peak_models()
    updates = [_decoded(index) for index in range(VEHICLES)]
    model = {name: np.zeros(shape, np.float32) for name, shape in SHAPES.items()}
    floor = _floor(updates)
    fastest = min(theirs[name] for name in ("aggregate", "aggregate_inplace", "aggregate_arrayrecords"))
    result = {"vehicles": VEHICLES, "parameters": PARAMETERS, "tensors": len(SHAPES)}
    for name, flwr_name, flwr_s, repeats in (
        ("fedavg", "aggregate", fastest, 7),
        ("krum", "krum", theirs["krum"], 3),
        ("median", "median", theirs["median"], 3),
    ):
        changes: list[Tensors] = []
        ours = seconds(lambda name=name, kept=changes: kept.append(_aggregate(name, model, updates)), repeats)
        flat = np.concatenate([changes[0][tensor].reshape(-1) for tensor in SHAPES])
        result[name] = {
            "ours_s": ours,
            "flwr_s": flwr_s,
            "ratio": flwr_s / ours,
            "floor_s": floor,
            "of_floor": floor / ours,
            "largest_difference": float(np.abs(flat - expected[flwr_name]).max()),
        }
    result["fedavg"] |= {"peak_models": peak, "flwr_paths_s": {name: theirs[name] for name in theirs if "agg" in name}}
    return result


def _decoded(vehicle: int) -> Update:
    """As the aggregator has it from the wire: in one vector."""
    names = tuple(sorted(SHAPES))
    update = Layout(names, tuple(SHAPES[name] for name in names)).zeros()
    for name, tensor in tensors_of(vehicle):
        update[name][...] = tensor
    return Update(update, UpdateMetadata(0, 0, f"v{vehicle}", samples_of(vehicle)))


def _aggregate(name: str, model: Tensors, updates: list[Update]) -> Tensors:
    strategy = STRATEGIES.build(name)
    strategy.begin(model, 0)
    for update in updates:
        strategy.add(update, update.metadata.samples)
    return strategy.finish()


def _floor(updates: list[Update]) -> float:
    """Time to read every value once with all cores: nothing that looks at all updates is faster."""

    def read(update: Update) -> float:
        return sum(float(tensor.max()) for tensor in update.tensors.values())

    with ThreadPoolExecutor(CORES) as pool:
        return seconds(lambda: list(pool.map(read, updates)), 5)


def _peak_models(vehicles: int = 10) -> float:
    """Peak memory of a streaming round beside the global model that it is given, in models: each update is made when
    it is added and dropped after.
    """
    model = {name: np.zeros(shape, np.float32) for name, shape in SHAPES.items()}
    tracemalloc.start()
    strategy = STRATEGIES.build("fedavg")
    strategy.begin(model, 0)
    for index in range(vehicles):
        update = _decoded(index)
        strategy.add(update, update.metadata.samples)
        del update
    strategy.finish()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak / (4 * PARAMETERS)
