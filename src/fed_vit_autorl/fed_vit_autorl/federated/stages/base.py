"""The interface of an update stage."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

import numpy as np

from ..refusal import UpdateReason, UpdateRefused
from ..registry import Registry
from ..update import Layout, UpdateMetadata

Parts = dict[str, np.ndarray]


class Form(StrEnum):
    """What travels between two stages; `Parts` holds the named arrays of it."""

    DENSE = "dense"  # values: float32 (P,)
    SPARSE = "sparse"  # values: float32 (k,), positions as the sparsifier coded them
    CODED = "coded"  # values as integer codes and scales, positions as before
    RING = "ring"  # ring: uint32 (n,), meaningful only in a sum of all vehicles


@dataclass(frozen=True)
class Context:
    """What both sides know besides the bytes."""

    layout: Layout
    metadata: UpdateMetadata
    mask: Callable[[np.ndarray], np.ndarray] | None = None  # float32 (n,) → uint32, of the vehicle's session


class Stage(ABC):
    """One step of the pipeline; `decode` undoes `encode` as far as the step can be undone.

    `error_feedback`: share of what a lossy step left out that the next update begins with.
    """

    name: ClassVar[str]
    accepts: ClassVar[frozenset[Form]]
    linear: ClassVar[bool]  # the decoded sum is the sum of the decoded: may stand before a mask
    lossy: ClassVar[bool]
    error_feedback: float = 0.0

    @abstractmethod
    def produces(self, form: Form) -> Form:
        """Form of the output for an accepted form of the input."""

    def sent(self, size: int) -> int:
        """How many of `size` values go on."""
        return size

    @abstractmethod
    def encode(self, parts: Parts, context: Context) -> Parts:
        """On the vehicle."""

    @abstractmethod
    def decode(self, parts: Parts, context: Context) -> Parts:
        """On the aggregator, from hostile bytes: raises `UpdateRefused`."""


STAGES: Registry[Stage] = Registry("stage")


def check_feedback(share: float) -> None:
    """Raises ValueError for an `error_feedback` that is no share."""
    if not 0 <= share <= 1:
        raise ValueError("error_feedback must be in [0, 1]")


def take(parts: Parts, name: str, dtype: type, size: int | None = None) -> np.ndarray:
    """The one-dimensional array `name` of `dtype` (and `size`); raises `UpdateRefused`."""
    part = parts.get(name)
    if part is None or part.dtype != dtype or part.ndim != 1 or (size is not None and part.size != size):
        found = "missing" if part is None else f"{part.dtype} {part.shape}"
        expected = f"{np.dtype(dtype)} ({'n' if size is None else size},)"
        raise UpdateRefused(UpdateReason.MALFORMED_STAGE, f"{name!r}: expected {expected}, {found}")
    return part
