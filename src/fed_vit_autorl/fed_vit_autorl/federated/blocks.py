"""Arithmetic on whole models, in cache-sized blocks on all cores."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache, lru_cache
from typing import TypeVar

import numpy as np

from .update import FlatTensors, Tensors

BLOCK = 32768  # float32 values: 128 KiB, a share of the second-level cache
PIECE = 4 * BLOCK  # of a sum: it and what is added take 1 MiB of that cache
T = TypeVar("T")
CORES = len(os.sched_getaffinity(0))
_own = threading.local()


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
    """totals += factor · values, in place, for C-contiguous float32 tensors of the same names and shapes. Those of the
    same layout, as all updates are that came over the wire, are one vector: a tenth of the calls.

    Cores take pieces that fit their caches from one queue, the caller too: one that others keep busy holds nobody up,
    and what has not begun when the queue is empty is not waited for. No BLAS: its threads wait for each other by
    spinning, which on a loaded machine costs a time slice for every tensor.
    """
    factor = np.float32(factor)
    if isinstance(totals, FlatTensors) and isinstance(values, FlatTensors) and totals.layout == values.layout:
        totals, values = {"": totals.vector}, {"": values.vector}
    left = deque(_pieces(tuple((name, total.size) for name, total in totals.items())))

    def work() -> None:
        scratch = _scratch()
        while True:
            try:
                name, first, last = left.popleft()
            except IndexError:
                return
            product, target = scratch[: last - first], totals[name].reshape(-1)[first:last]
            np.multiply(values[name].reshape(-1)[first:last], factor, out=product)
            np.add(target, product, out=target)

    others = [_pool().submit(work) for _ in range(CORES - 1)]
    work()
    for other in others:
        if not other.cancel():
            other.result()


@lru_cache(maxsize=64)
def _pieces(sizes: tuple[tuple[str, int], ...]) -> list[tuple[str, int, int]]:
    """(name, start, stop) of the pieces of tensors of these sizes."""
    return [(name, start, stop) for name, size in sizes for start, stop in spans(size, PIECE)]


def _scratch() -> np.ndarray:
    """float32 (PIECE,) of this thread: a fresh one would be paged in every time."""
    if not hasattr(_own, "scratch"):
        _own.scratch = np.empty(PIECE, np.float32)
    return _own.scratch


def clip_factor(norm: float, limit: float) -> float:
    """Factor ≤ 1 that brings a vector of L2 `norm` within `limit`."""
    return 1.0 if norm <= limit else limit / norm


def l2_norm(vector: np.ndarray) -> float:
    """L2 norm in float64, without a float64 copy of `vector` (P,)."""
    blocks = (vector[start:stop].astype(np.float64) for start, stop in spans(vector.size))
    return float(np.sqrt(sum(float(block @ block) for block in blocks)))
