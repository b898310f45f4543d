"""Errors of predicted trajectories."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MISS_M = 2.0
"""A best mode that ends further than this from the truth is a miss (nuScenes, Argoverse)."""


def displacement_errors(predicted: NDArray, confidence: NDArray, truth: NDArray) -> dict[str, float]:
    """`ade` and `fde` of the most confident mode, `min_ade` and `min_fde` of the best one, `miss_rate`, all in metres.

    `predicted` (B, modes, T, 2), `confidence` (B, modes), `truth` (B, T, 2) [m]; waypoints that are NaN in the truth do
    not count, the last known one is the final one. Raises ValueError on a shape mismatch or nothing known.
    """
    batch, modes, steps, _ = predicted.shape
    if confidence.shape != (batch, modes) or truth.shape != (batch, steps, 2):
        raise ValueError(f"predicted {predicted.shape}, confidence {confidence.shape}, truth {truth.shape}")
    error = np.linalg.norm(predicted - truth[:, None], axis=-1)
    known = np.isfinite(truth).all(axis=-1)
    usable = known.any(axis=1)
    if not usable.any():
        raise ValueError("no waypoint of the truth is known")
    error, known, confidence = error[usable], known[usable], confidence[usable]
    average = np.where(known[:, None], error, 0).sum(axis=-1) / known.sum(axis=-1)[:, None]
    last = steps - 1 - known[:, ::-1].argmax(axis=1)
    rows = np.arange(len(error))
    final = error[rows, :, last]
    chosen = confidence.argmax(axis=1)
    return {
        "ade": float(average[rows, chosen].mean()),
        "fde": float(final[rows, chosen].mean()),
        "min_ade": float(average.min(axis=1).mean()),
        "min_fde": float(final.min(axis=1).mean()),
        "miss_rate": float((final.min(axis=1) > MISS_M).mean()),
    }
