"""What a release's perception is worth on labelled samples, through ONNX Runtime; no torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from fed_vit_autorl.data.sample import Sample
from fed_vit_autorl.deployment import release
from fed_vit_autorl.deployment.candidate import merge
from fed_vit_autorl.deployment.release import Manifest
from fed_vit_autorl.edge import runtime
from fed_vit_autorl.edge.perceiver import Perceiver

from .perception import Perceive, Perceived, PerceptionEvaluator, left_out

FIGURES = ("map50", "map", "free_space_iou", "lane_iou", "drivable_iou")
SCORE_THRESHOLD = 0.05  # average precision wants the weak ones too


def evaluate_perception(
    folder: Path, manifest: Manifest, weights: Mapping[str, Mapping[str, np.ndarray]], samples: Iterable[Sample]
) -> dict[str, float]:
    """Figures of a verified release, its tensors replaced by those in `weights` {model: {name: tensor}}.

    Of all samples under their own names, of each domain as `<domain>.<figure>`; those that no label allows are absent.
    Raises ReleaseRefused for weights that don't fit, ValueError without a labelled sample.
    """
    with _eyes(folder, manifest, weights) as perceive:
        labelled = (sample for sample in samples if sample.labels is not None)
        result = PerceptionEvaluator().evaluate(perceive, labelled)
    groups = {"": result} | {f"{name}.": figures for name, figures in result["by_domain"].items()}
    return {
        f"{prefix}{figure}": float(figures[figure])
        for prefix, figures in groups.items()
        for figure in FIGURES
        if np.isfinite(figures.get(figure, np.nan))
    }


def evaluate_parts(folder: Path, manifest: Manifest, parts: Iterable[Iterable[Sample]]) -> tuple[dict, list[dict]]:
    """Figures of a verified release on all parts of labelled samples, and on all but each in turn; see `left_out`."""
    with _eyes(folder, manifest, {}) as perceive:
        return left_out(perceive, parts)


@contextmanager
def _eyes(folder: Path, manifest: Manifest, weights: Mapping[str, Mapping[str, np.ndarray]]) -> Iterator[Perceive]:
    graph = release.read_file(folder, manifest, "perception.onnx")
    merged = merge(release.read_weights(folder, manifest, "perception"), weights.get("perception", {}))
    engine = runtime.create(graph, merged)
    perceiver = Perceiver(engine, SCORE_THRESHOLD)
    try:
        yield lambda sample: _perceived(perceiver, sample)
    finally:
        engine.close()


def _perceived(perceiver: Perceiver, sample: Sample) -> Perceived:
    seen = perceiver(sample.image, sample.returns_in_base)
    found = seen.detections
    return Perceived(found.boxes, found.scores, found.classes, seen.masks, None)
