"""Arithmetic on whole models, in cache-sized blocks on all cores."""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache, lru_cache
from typing import TypeVar

import numpy as np

from .update import Tensors

BLOCK = 32768  # float32 values: 128 KiB, a share of the second-level cache
T = TypeVar("T")
CORES = len(os.sched_getaffinity(0))


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(CORES, "blocks")


def spans(size: int, block: int = BLOCK) -> Iterator[tuple[int, int]]:
    """(start, stop) of consecutive blocks that cover `size`."""
    return ((start, min(start + block, size)) for start in range(0, size, block))


def map_spans(size: int, work: Callable[[int, int], T], block: int = BLOCK) -> Iterator[T]:
    """`work(start, stop)` of every block in order, on all cores; numpy frees the interpreter lock meanwhile."""
    if size <= block:
        return iter((work(0, size),))
    return _pool().map(lambda span: work(*span), spans(size, block))


def for_spans(size: int, work: Callable[[int, int], None], block: int = BLOCK) -> None:
    """`work(start, stop)` for every block, on all cores."""
    deque(map_spans(size, work, block), 0)


def add_scaled(totals: Tensors, values: Tensors, factor: float) -> None:
    """totals += factor · values, in place, for C-contiguous float32 tensors of the same names and shapes.

    Each core takes a run of the tensors and goes over it in blocks, so that the product never leaves its cache. No
    BLAS: its threads wait for each other by spinning, which on a loaded machine costs a time slice for every tensor.
    """
    names, factor = list(totals), np.float32(factor)

    def work(start: int, stop: int) -> None:
        scratch = np.empty(BLOCK, np.float32)
        for name in names[start:stop]:
            total, added = totals[name].reshape(-1), values[name].reshape(-1)
            for first, last in spans(total.size):
                product, target = scratch[: last - first], total[first:last]
                np.multiply(added[first:last], factor, out=product)
                np.add(target, product, out=target)

    runs = _runs(tuple(totals[name].size for name in names), CORES)
    deque(_pool().map(lambda run: work(*run), runs), 0)


@lru_cache(maxsize=64)
def _runs(sizes: tuple[int, ...], count: int) -> list[tuple[int, int]]:
    """(start, stop) of at most `count` runs of consecutive tensors, about as large as each other."""
    ends = np.searchsorted(np.cumsum(sizes), np.arange(1, count + 1) * sum(sizes) / count, side="left") + 1
    bounds = sorted({0, *np.minimum(ends, len(sizes)).tolist()})
    return list(itertools.pairwise(bounds))


def clip_factor(norm: float, limit: float) -> float:
    """Factor ≤ 1 that brings a vector of L2 `norm` within `limit`."""
    return 1.0 if norm <= limit else limit / norm


def l2_norm(vector: np.ndarray) -> float:
    """L2 norm in float64, without a float64 copy of `vector` (P,)."""
    blocks = (vector[start:stop].astype(np.float64) for start, stop in spans(vector.size))
    return float(np.sqrt(sum(float(block @ block) for block in blocks)))
