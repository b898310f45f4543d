"""A cloned driver against the human it was cloned from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

TRAINED_SHARE = 0.75
"""The first part of a drive trains a driver, the rest scores it."""


def cloning_errors(steering: NDArray, human: NDArray, constant: float) -> dict[str, float]:
    """`steering_mae` (in the unit given), `steering_correlation` (Pearson; NaN if either never moves), `constant_mae`
    of steering by `constant` all the way, `frames`.

    `steering`, `human` (N,). Raises ValueError unless both have the same, non-zero length.
    """
    if steering.shape != human.shape or steering.ndim != 1 or len(human) == 0:
        raise ValueError(f"commands {steering.shape}, human {human.shape}")
    moves = steering.std() > 1e-9 and human.std() > 1e-9
    return {
        "steering_mae": float(np.abs(steering - human).mean()),
        "steering_correlation": float(np.corrcoef(steering, human)[0, 1]) if moves else float("nan"),
        "constant_mae": float(np.abs(constant - human).mean()),
        "frames": len(human),
    }
