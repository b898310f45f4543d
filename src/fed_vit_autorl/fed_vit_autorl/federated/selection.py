"""Which vehicles take part in a round, and how much each one counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from .registry import Registry
from .update import UpdateMetadata


def sample_vehicles(
    vehicles: Sequence[str], count: int, seed: int, round_number: int, weights: Mapping[str, float] | None = None
) -> list[str]:
    """`count` of `vehicles` without replacement, sorted; the same arguments give the same vehicles after a restart.

    With `weights` ≥ 0, vehicles are drawn one after the other in proportion to them, by the largest log(u) / w
    (Efraimidis & Spirakis 2006); a vehicle of weight 0 is never drawn.
    """
    names = sorted(vehicles)
    generator = np.random.default_rng([seed, round_number])
    draws = np.log(generator.random(len(names)))
    share = np.array([1.0 if weights is None else weights.get(name, 0.0) for name in names])
    if not (np.isfinite(share).all() and (share >= 0).all()):
        raise ValueError("weights must be finite and not negative")
    keys = np.divide(draws, share, out=np.full(len(names), -np.inf), where=share > 0)
    order = np.argsort(-keys, kind="stable")[: min(count, int((share > 0).sum()))]
    return sorted(names[index] for index in order)


WEIGHTINGS: Registry[Callable[[UpdateMetadata], float]] = Registry("weighting")


def weighting(name: str) -> Callable[[UpdateMetadata], float]:
    """The function metadata → weight ≥ 0 of that name: `uniform`, `samples` or `data_quality`."""
    return WEIGHTINGS[name]


@WEIGHTINGS.register("uniform")
def uniform(metadata: UpdateMetadata) -> float:
    """Every vehicle counts the same."""
    return 1.0


@WEIGHTINGS.register("samples")
def samples(metadata: UpdateMetadata) -> float:
    """McMahan et al. 2017: by the number of local samples."""
    return float(metadata.samples)


@WEIGHTINGS.register("data_quality")
def data_quality(metadata: UpdateMetadata) -> float:
    """Samples times the metric `data_quality` in [0, 1] (see `label_quality`), cut to that range."""
    return metadata.samples * min(1.0, max(0.0, metadata.metrics.get("data_quality", 0.0)))


def label_quality(class_counts: Sequence[int], labelled: int, total: int) -> float:
    """Quality in [0, 1] of a vehicle's data: share of labelled samples × balance of classes.

    Balance is the entropy of `class_counts` over that of equal counts.
    """
    counts = np.asarray(class_counts, float)
    if total <= 0 or counts.sum() <= 0:
        return 0.0
    shares = counts[counts > 0] / counts.sum()
    balance = float(-(shares * np.log(shares)).sum() / np.log(len(counts))) if len(counts) > 1 else 1.0
    return min(1.0, labelled / total) * balance
