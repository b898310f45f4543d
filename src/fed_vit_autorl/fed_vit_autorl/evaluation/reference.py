"""What a release's perception is worth on labelled samples, through ONNX Runtime; no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from fed_vit_autorl.data.sample import Sample
from fed_vit_autorl.deployment import release
from fed_vit_autorl.deployment.candidate import merge
from fed_vit_autorl.deployment.release import Manifest
from fed_vit_autorl.edge import runtime
from fed_vit_autorl.edge.perceiver import Perceiver

from .perception import Perceived, PerceptionEvaluator

FIGURES = ("map50", "map", "free_space_iou", "lane_iou", "drivable_iou")
SCORE_THRESHOLD = 0.05  # average precision wants the weak ones too


def evaluate_perception(
    folder: Path, manifest: Manifest, weights: Mapping[str, Mapping[str, np.ndarray]], samples: Iterable[Sample]
) -> dict[str, float]:
    """Figures of a verified release, its tensors replaced by those in `weights` {model: {name: tensor}}.

    Of all samples under their own names, of each domain as `<domain>.<figure>`; those that no label allows are absent.
    Raises ReleaseRefused for weights that don't fit, ValueError without a labelled sample.
    """
    graph = release.read_file(folder, manifest, "perception.onnx")
    merged = merge(release.read_weights(folder, manifest, "perception"), weights.get("perception", {}))
    engine = runtime.create(graph, merged)
    try:
        perceiver = Perceiver(engine, SCORE_THRESHOLD)
        labelled = (sample for sample in samples if sample.labels is not None)
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


def _perceived(perceiver: Perceiver, sample: Sample) -> Perceived:
    seen = perceiver(sample.image, sample.returns_in_base)
    found = seen.detections
    return Perceived(found.boxes, found.scores, found.classes, seen.masks, None)
