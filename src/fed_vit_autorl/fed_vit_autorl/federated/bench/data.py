"""The updates that both sides of a benchmark work on: pure numpy, imported by the peers' programs too."""

import statistics
import time
from collections.abc import Callable, Iterator

import numpy as np


def _vit_tiny() -> dict[str, tuple[int, ...]]:
    """Shapes of ViT-Tiny/16 at 224 pixels with 1,000 classes: 152 tensors, 5,717,416 parameters."""
    shapes: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, 192),
        "pos_embed": (1, 197, 192),
        "patch_embed.weight": (192, 3, 16, 16),
        "patch_embed.bias": (192,),
    }
    layers = {"qkv": (576, 192), "proj": (192, 192), "fc1": (768, 192), "fc2": (192, 768)}
    for block in range(12):
        for norm in ("norm1", "norm2"):
            shapes |= {f"blocks.{block}.{norm}.weight": (192,), f"blocks.{block}.{norm}.bias": (192,)}
        for layer, shape in layers.items():
            shapes |= {f"blocks.{block}.{layer}.weight": shape, f"blocks.{block}.{layer}.bias": shape[:1]}
    return shapes | {"norm.weight": (192,), "norm.bias": (192,), "head.weight": (1000, 192), "head.bias": (1000,)}


SHAPES = _vit_tiny()
PARAMETERS = sum(int(np.prod(shape)) for shape in SHAPES.values())


def tensors_of(vehicle: int) -> Iterator[tuple[str, np.ndarray]]:
    """Update of a vehicle, one tensor after the other: float32 normal with deviation 0.01."""
    generator = np.random.default_rng(vehicle)
    for name, shape in SHAPES.items():
        yield name, generator.standard_normal(shape, dtype=np.float32) * np.float32(0.01)


def update_of(vehicle: int) -> dict[str, np.ndarray]:
    """All of `tensors_of`."""
    return dict(tensors_of(vehicle))


def samples_of(vehicle: int) -> int:
    """Samples of a vehicle: its weight."""
    return 100 + vehicle


def seconds(work: Callable[[], object], repeats: int, clock: Callable[[], float] = time.perf_counter) -> float:
    """Median time of `repeats` calls by `clock`: that of the wall, or `time.process_time` for that of the processor."""
    times = []
    for _ in range(repeats):
        start = clock()
        work()
        times.append(clock() - start)
    return statistics.median(times)
