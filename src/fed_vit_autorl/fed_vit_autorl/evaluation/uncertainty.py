"""How sure a figure is, by what the choice of the samples explains: the delete-a-group jackknife (Kott, 2001)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

CONFIDENCE = 0.95


def interval(value: float, without: ArrayLike) -> tuple[float, float]:
    """Two-sided 95 % interval of a figure that is `value` on all samples and `without[g]` on all but their g-th part.

    The parts are about equally large, and what depends on each other (neighbours in a drive) is in one of them. The
    standard error is √((G - 1) / G · Σ (without_g - mean)²), Student's t has G - 1 degrees of freedom. For a change
    between two models take the differences of both, on the same parts. Raises ValueError for fewer than two parts.
    """
    figures = np.asarray(without, np.float64)
    count = len(figures)
    if count < 2:
        raise ValueError("an interval needs at least two parts of the samples")
    error = np.sqrt((count - 1) / count * np.square(figures - figures.mean()).sum())
    half = stats.t.ppf((1 + CONFIDENCE) / 2, count - 1) * error
    return float(value - half), float(value + half)
