"""Candidates on the reference set: the models of a release through ONNX Runtime, counted by the perception evaluator."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fed_vit_autorl.data.sample import Sample
from fed_vit_autorl.data.store import SampleFolder
from fed_vit_autorl.deployment import release
from fed_vit_autorl.deployment.candidate import merge
from fed_vit_autorl.deployment.release import Manifest
from fed_vit_autorl.edge import runtime
from fed_vit_autorl.edge.perceiver import Perceiver
from fed_vit_autorl.evaluation.perception import Perceived, PerceptionEvaluator

FIGURES = ("map50", "map", "free_space_iou", "lane_iou", "drivable_iou")
SCORE_THRESHOLD = 0.05  # average precision wants the weak ones too


class ReferenceSet:
    """At most `limit` labelled samples of a folder, spread evenly over it; evaluates the perception model of a release."""

    def __init__(self, folder: Path, limit: int) -> None:
        self._samples = SampleFolder(folder)
        keys = self._samples.keys()
        self._keys = [keys[index] for index in np.unique(np.linspace(0, len(keys) - 1, limit, dtype=int))] if keys else []

    def __call__(
        self, folder: Path, manifest: Manifest, weights: Mapping[str, Mapping[str, np.ndarray]]
    ) -> dict[str, float]:
        """Figures of the whole set, and of each domain as `<domain>.<figure>`; those that no label allows are absent."""
        graph = release.read_file(folder, manifest, "perception.onnx")
        merged = merge(release.read_weights(folder, manifest, "perception"), weights.get("perception", {}))
        engine = runtime.create(graph, merged)
        try:
            perceiver = Perceiver(engine, SCORE_THRESHOLD)
            labelled = (sample for sample in self._samples.read(self._keys) if sample.labels is not None)
            result = PerceptionEvaluator().evaluate(lambda sample: _perceived(perceiver, sample), labelled)
        finally:
            engine.close()
        groups = {"": result} | {f"{name}.": figures for name, figures in result["by_domain"].items()}
        return {
            f"{prefix}{figure}": float(figures[figure])
            for prefix, figures in groups.items()
            for figure in FIGURES
            if np.isfinite(figures.get(figure, np.nan))
        }


def no_reference(folder: Path, manifest: Manifest, weights: Mapping) -> dict[str, float]:
    """A fleet without a reference set measures nothing; its drift shows in the vehicles' shadow tests only."""
    return {}


def _perceived(perceiver: Perceiver, sample: Sample) -> Perceived:
    seen = perceiver(sample.image)
    found = seen.detections
    return Perceived(found.boxes, found.scores, found.classes, seen.masks, None)
