"""Candidates on the reference set."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fed_vit_autorl.data.store import SampleFolder
from fed_vit_autorl.deployment.release import Manifest
from fed_vit_autorl.evaluation.reference import evaluate_perception


class ReferenceSet:
    """At most `limit` labelled samples of a folder and of those in it (one for each domain, say), spread evenly."""

    def __init__(self, folder: Path, limit: int) -> None:
        stored = [SampleFolder(part) for part in (folder, *sorted(path for path in folder.iterdir() if path.is_dir()))]
        keys = [(samples, key) for samples in stored for key in samples.keys()]  # noqa: SIM118 - not a mapping
        self._chosen = [keys[i] for i in np.unique(np.linspace(0, len(keys) - 1, limit, dtype=int))] if keys else []

    def __call__(
        self, folder: Path, manifest: Manifest, weights: Mapping[str, Mapping[str, np.ndarray]]
    ) -> dict[str, float]:
        """Figures of the release's perception, with other `weights` where given."""
        readable = (sample for samples, key in self._chosen if (sample := samples.get(key)) is not None)
        return evaluate_perception(folder, manifest, weights, readable)


def no_reference(folder: Path, manifest: Manifest, weights: Mapping) -> dict[str, float]:
    """A fleet without a reference set measures nothing; its drift shows in the vehicles' shadow tests only."""
    return {}
