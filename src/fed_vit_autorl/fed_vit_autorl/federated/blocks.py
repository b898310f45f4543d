"""Arithmetic on whole models, in cache-sized blocks on all cores."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
from scipy.linalg.blas import saxpy

BLOCK = 32768  # float32 values: 128 KiB, a share of the second-level cache


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count(), "blocks")


def spans(size: int, block: int = BLOCK) -> Iterator[tuple[int, int]]:
    """(start, stop) of consecutive blocks that cover `size`."""
    return ((start, min(start + block, size)) for start in range(0, size, block))


def for_spans(size: int, work: Callable[[int, int], None], block: int = BLOCK) -> None:
    """`work(start, stop)` for every block, on all cores; numpy frees the interpreter lock meanwhile."""
    if size <= block:
        work(0, size)
    else:
        for _ in _pool().map(lambda span: work(*span), spans(size, block)):
            pass


def add_scaled(total: np.ndarray, values: np.ndarray, factor: float) -> None:
    """total += factor · values, in place, for C-contiguous float32 arrays of one shape: one BLAS pass over memory."""
    saxpy(values.reshape(-1), total.reshape(-1), a=factor)


def clip_factor(norm: float, limit: float) -> float:
    """Factor ≤ 1 that brings a vector of L2 `norm` within `limit`."""
    return 1.0 if norm <= limit else limit / norm


def l2_norm(vector: np.ndarray) -> float:
    """L2 norm in float64, without a float64 copy of `vector` (P,)."""
    blocks = (vector[start:stop].astype(np.float64) for start, stop in spans(vector.size))
    return float(np.sqrt(sum(float(block @ block) for block in blocks)))
