"""Loops over points and poses, compiled: what would be hundreds of small numpy calls a tick is one.

A kernel is a function of numbers and arrays with an explicit signature, so that it is compiled when its module is
imported, never at its first call, and kept for the next process. Indices are checked, so that an error is an exception
and not another array's memory. With `NUMBA_DISABLE_JIT=1` kernels are plain Python.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from types import CodeType
from typing import Any, TypeVar

import numba
import numpy as np

Kernel = TypeVar("Kernel", bound=Callable)

KEPT = Path(__file__).resolve().parent / "__pycache__" / "kernels"
_fingerprints: dict[Any, str] = {}


def compiled(*signatures: str) -> Callable[[Kernel], Kernel]:
    """Decorator for a kernel with these signatures, in numba's notation; division follows numpy (x / 0 is infinite)."""

    def decorate(kernel: Kernel) -> Kernel:
        if numba.config.DISABLE_JIT:
            return kernel
        fingerprint = sha256(repr((signatures, *_made_of(kernel.__code__, kernel.__globals__))).encode()).hexdigest()
        _keep(f"{kernel.__module__}.{kernel.__name__}", fingerprint[:16])
        made = numba.njit(list(signatures), cache=True, boundscheck=True, error_model="numpy")(kernel)
        _fingerprints[made] = fingerprint
        return made

    return decorate


def _made_of(code: CodeType, names: dict[str, Any]) -> Iterator[object]:
    """All that decides what a kernel computes: its code, the numbers that it names and the kernels that it calls."""
    yield code.co_code
    for constant in code.co_consts:
        yield from _made_of(constant, names) if isinstance(constant, CodeType) else (constant,)
    for name in code.co_names:
        value = names.get(name)
        if isinstance(value, type):  # an enumeration
            value = [(key, each) for key, each in vars(value).items() if isinstance(each, int)]
        elif isinstance(value, np.ndarray):
            value = value.tobytes()
        known = isinstance(value, int | float | tuple | list | bytes | np.generic)
        yield name, value if known else _fingerprints.get(value)


def _keep(name: str, fingerprint: str) -> None:
    """Has numba keep what it compiles next under this fingerprint, and forgets the kernel's former ones.

    By itself it would notice a change of the kernel's own module only. Where the package can't be written to, it isn't
    edited either, and numba's own folder in the user's cache will do.
    """
    folder = KEPT / f"{name}-{fingerprint}"
    if not folder.exists():
        for old in KEPT.glob(f"{name}-*"):
            shutil.rmtree(old, ignore_errors=True)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            return
    if os.access(folder, os.W_OK):
        numba.config.CACHE_DIR = str(folder)
