"""Candidates on the reference set."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fed_vit_autorl.data.store import SampleFolder
from fed_vit_autorl.deployment.release import Manifest
from fed_vit_autorl.evaluation.reference import evaluate_perception


class ReferenceSet:
    """At most `limit` labelled samples of a folder, spread evenly over it."""

    def __init__(self, folder: Path, limit: int) -> None:
        self._samples = SampleFolder(folder)
        keys = self._samples.keys()
        self._keys = [keys[i] for i in np.unique(np.linspace(0, len(keys) - 1, limit, dtype=int))] if keys else []

    def __call__(
        self, folder: Path, manifest: Manifest, weights: Mapping[str, Mapping[str, np.ndarray]]
    ) -> dict[str, float]:
        """Figures of the release's perception, with other `weights` where given."""
        return evaluate_perception(folder, manifest, weights, self._samples.read(self._keys))


def no_reference(folder: Path, manifest: Manifest, weights: Mapping) -> dict[str, float]:
    """A fleet without a reference set measures nothing; its drift shows in the vehicles' shadow tests only."""
    return {}
