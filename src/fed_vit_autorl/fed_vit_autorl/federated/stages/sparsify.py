"""Sparsifiers: only k of P values are sent."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..refusal import UpdateReason, UpdateRefused
from .base import STAGES, Context, Form, Parts, Stage, check_feedback, take
from .index_coding import decode_positions, encode_positions


def kept(size: int, ratio: float) -> int:
    """Values kept of `size`: at least one."""
    return min(size, max(1, int(np.ceil(size * ratio))))


def top_positions(values: np.ndarray, count: int) -> np.ndarray:
    """Rising positions (count,) of the largest |values|, exact.

    A sample guesses a threshold that leaves a few more than `count` candidates, so that the partition
    sorts those and not all of `values`.
    """
    magnitudes = np.abs(values)
    sample = magnitudes[:: max(1, values.size // 65536)]
    for slack in (1.3, 4.0, np.inf):
        wanted = int(slack * count / values.size * sample.size) + 16 if np.isfinite(slack) else sample.size
        if wanted >= sample.size:
            candidates = np.arange(values.size)
        else:
            threshold = np.partition(sample, sample.size - wanted)[sample.size - wanted]
            candidates = np.flatnonzero(magnitudes >= threshold)
        if candidates.size >= count:
            break
    chosen = np.argpartition(magnitudes[candidates], candidates.size - count)[candidates.size - count :]
    return np.sort(candidates[chosen])


@dataclass(frozen=True)
class _Sparsifier(Stage):
    ratio: float = 0.01
    error_feedback: float = 1.0

    accepts = frozenset({Form.DENSE})
    lossy = True

    def __post_init__(self) -> None:
        if not 0 < self.ratio <= 1:
            raise ValueError("ratio must be in (0, 1]")
        check_feedback(self.error_feedback)

    def produces(self, form: Form) -> Form:
        return Form.SPARSE

    def sent(self, size: int) -> int:
        return kept(size, self.ratio)


@STAGES.register("top_k")
@dataclass(frozen=True)
class TopK(_Sparsifier):
    """Keeps the share `ratio` of the values with the largest magnitude; error feedback sends the rest later.

    Stich et al. 2018, Sparsified SGD with memory, whose `error_feedback` is 1. Below it what is old fades: the rest of
    an Adam-like update, nearly as large everywhere, would outweigh what later rounds learn at a lower rate.
    """

    linear = False

    def encode(self, parts: Parts, context: Context) -> Parts:
        values = parts["values"]
        positions = top_positions(values, kept(values.size, self.ratio))
        return {"values": values[positions], "positions": encode_positions(positions, values.size)}

    def decode(self, parts: Parts, context: Context) -> Parts:
        size = context.layout.size
        values = take(parts, "values", np.float32, kept(size, self.ratio))
        positions = decode_positions(take(parts, "positions", np.uint8), size, values.size)
        dense = np.zeros(size, np.float32)
        dense[positions] = values
        return {"values": dense}


@STAGES.register("random_k")
@dataclass(frozen=True)
class RandomK(_Sparsifier):
    """Keeps the same random share `ratio` for every vehicle of a round, so that no position is sent and sums stay sums.

    Positions come from a Philox generator keyed by `seed` and the round: public, not a secret.
    """

    seed: int = 0

    linear = True

    def positions(self, context: Context) -> np.ndarray:
        size = context.layout.size
        generator = np.random.Generator(np.random.Philox(key=np.array([self.seed, context.metadata.round], np.uint64)))
        return np.sort(generator.choice(size, kept(size, self.ratio), replace=False, shuffle=False))

    def encode(self, parts: Parts, context: Context) -> Parts:
        return {"values": parts["values"][self.positions(context)]}

    def decode(self, parts: Parts, context: Context) -> Parts:
        size = context.layout.size
        values = take(parts, "values", np.float32, kept(size, self.ratio))
        if set(parts) != {"values"}:
            raise UpdateRefused(UpdateReason.MALFORMED_STAGE, "random_k sends values only")
        dense = np.zeros(size, np.float32)
        dense[self.positions(context)] = values
        return {"values": dense}
