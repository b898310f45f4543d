"""`PerceptionEvaluator`: what a perception model is worth on labelled samples, whole and by group."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from time import perf_counter

import cv2
import numpy as np
from numpy.typing import NDArray

from ..data.classes import MASKS, SEMANTIC_CLASSES
from ..data.sample import Labels, Sample
from .detection import Frame, average_precision, calibration_error, match
from .segmentation import Confusion, mean_iou

SETTINGS: dict[str, str] = {"grid": "urban", "spider": "suburban", "random": "rural"} | {
    name: name for name in ("urban", "suburban", "rural")
}
"""Words in a sample's source or domain → the setting that it is from; of the generated towns, blocks of houses are
urban, roads out of a centre suburban, and roads that grew without a plan rural.
"""


@dataclass(frozen=True, eq=False)
class Perceived:
    """What a model saw in one image.

    `boxes` (K, 4) xyxy in pixels of the sample's image, `scores` (K,) in [0, 1], `classes` (K,). `masks`: probabilities
    (h, w) by name, any resolution. `semantic`: scores (classes, h, w), any resolution, or None.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    classes: NDArray[np.int64]
    masks: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    semantic: NDArray[np.float32] | None = None


Perceive = Callable[[Sample], Perceived]
Corruption = Callable[[Sample, np.random.Generator], Sample]


@dataclass(frozen=True, eq=False)
class _Compared:
    """What was seen in one sample, beside its labels; None and no entry where nothing is labelled or said."""

    labels: Labels
    frame: Frame | None
    masks: Mapping[str, NDArray[np.bool_]]
    semantic: NDArray[np.int64] | None

    @classmethod
    def of(cls, sample: Sample, perceived: Perceived) -> _Compared:
        """Raises ValueError for a sample without labels."""
        if sample.labels is None:
            raise ValueError(f"a sample of {sample.source or 'an unnamed source'} has no labels to evaluate against")
        semantic = None if sample.labels.semantic is None else semantic_classes(sample, perceived)
        return cls(sample.labels, _frame(sample.labels, perceived), _masks(sample, perceived), semantic)


class _Tally:
    """All counts of one group of samples."""

    def __init__(self) -> None:
        self.samples = 0
        self.frames: list[Frame] = []
        self.masks = {name: Confusion(2) for name in MASKS}
        self.semantic = Confusion(len(SEMANTIC_CLASSES))

    def add(self, compared: _Compared) -> None:
        """Counts one sample."""
        self.samples += 1
        if compared.frame:
            self.frames.append(compared.frame)
        for name, mask in compared.masks.items():
            self.masks[name].add(mask, getattr(compared.labels, name))
        if compared.semantic is not None:
            self.semantic.add(compared.semantic, compared.labels.semantic)

    @classmethod
    def sum(cls, tallies: Iterable[_Tally]) -> _Tally:
        """Of all the groups together."""
        total = cls()
        for tally in tallies:
            total.samples += tally.samples
            total.frames += tally.frames
            for name, confusion in tally.masks.items():
                total.masks[name].counts += confusion.counts
            total.semantic.counts += tally.semantic.counts
        return total

    def result(self) -> dict:
        """The figures that the labels of this group allow, calibration included."""
        calibration = {"detection_ece": _detection_ece(self.frames)} if self.frames else {}
        return self.figures() | calibration

    def figures(self) -> dict:
        """Those of objects and masks."""
        found: dict = {"samples": self.samples}
        if self.frames:
            found |= average_precision(self.frames)
        found |= {f"{name}_iou": float(c.iou[1]) for name, c in self.masks.items() if c.counts.any()}
        if self.semantic.counts.any():
            semantic = mean_iou(self.semantic, SEMANTIC_CLASSES)
            # `per_class` means objects where both are labelled
            found |= {"semantic_per_class": semantic.pop("per_class")} | semantic if self.frames else semantic
        return found


class PerceptionEvaluator:
    """Counts predictions against labels; `result` has the figures of the whole, of each source and of each domain.

    Keys: `map`, `map50`, `map75`, `per_class`, `detection_ece`; `free_space_iou`, `lane_iou`, `drivable_iou`; `miou`,
    `per_class`, `pixel_accuracy` for semantic labels; `latency_ms`; `by_source`, `by_domain`, `by_setting` (see
    `SETTINGS`) and `fairness`.
    """

    def __init__(self) -> None:
        self._whole = _Tally()
        self._groups: dict[str, dict[str, _Tally]] = {"by_source": {}, "by_domain": {}, "by_setting": {}}
        self._latency_s: list[float] = []

    def add(self, sample: Sample, perceived: Perceived, latency_s: float | None = None) -> None:
        """Counts one sample. Raises ValueError if it has no labels."""
        compared = _Compared.of(sample, perceived)
        if latency_s is not None:
            self._latency_s.append(latency_s)
        tallies = [self._whole]
        names = {"by_source": sample.source or "unnamed", "by_domain": sample.domain or "unnamed"}
        if setting := setting_of(sample):
            names["by_setting"] = setting
        for group, name in names.items():
            tallies.append(self._groups[group].setdefault(name, _Tally()))
        for tally in tallies:
            tally.add(compared)

    def evaluate(self, perceive: Perceive, samples: Iterable[Sample]) -> dict:
        """Runs `perceive` on every sample, timed, and returns `result`."""
        for sample in samples:
            started = perf_counter()
            perceived = perceive(sample)
            self.add(sample, perceived, perf_counter() - started)
        return self.result()

    def result(self) -> dict:
        """The figures; those that no label allows are absent. Raises ValueError if nothing was counted."""
        if not self._whole.samples:
            raise ValueError("no samples to evaluate on")
        groups = {
            group: {name: tally.result() for name, tally in sorted(tallies.items())}
            for group, tallies in self._groups.items()
        }
        found = self._whole.result() | groups
        if self._latency_s:
            milliseconds = 1e3 * np.array(self._latency_s)
            p50, p95, p99 = np.percentile(milliseconds, (50, 95, 99))
            found["latency_ms"] = {"p50": p50, "p95": p95, "p99": p99, "max": milliseconds.max()}
        return found | {"fairness": fairness(found["by_setting"])}


def left_out(perceive: Perceive, parts: Iterable[Iterable[Sample]]) -> tuple[dict, list[dict]]:
    """The figures on all parts of the samples together, and on all but each of them in turn (for `uncertainty`).

    Raises ValueError for a sample without labels.
    """
    tallies = []
    for part in parts:
        tally = _Tally()
        for sample in part:
            tally.add(_Compared.of(sample, perceive(sample)))
        tallies.append(tally)
    others = (tallies[:number] + tallies[number + 1 :] for number in range(len(tallies)))
    return _Tally.sum(tallies).figures(), [_Tally.sum(rest).figures() for rest in others]


def setting_of(sample: Sample) -> str:
    """The setting that a sample's source or domain names by a whole word ("rural_noon", "grid_7/ego_0"), or ""."""
    words = re.split(r"[_/ ]", f"{sample.source} {sample.domain}")  # "suburban" contains "urban"
    return next((SETTINGS[word] for word in words if word in SETTINGS), "")


def fairness(by_setting: Mapping[str, Mapping]) -> dict:
    """How evenly a model serves the settings: {figure: {setting: value, `gap`: best - worst}}."""
    found: dict = {}
    for figure in ("map50", "free_space_iou", "lane_iou", "miou"):
        values = {name: group[figure] for name, group in by_setting.items() if np.isfinite(group.get(figure, np.nan))}
        if len(values) > 1:
            found[figure] = values | {"gap": max(values.values()) - min(values.values())}
    return found


def robustness(perceive: Perceive, samples: list[Sample], corruptions: Mapping[str, Corruption], seed: int = 0) -> dict:
    """{corruption: figures} on corrupted samples; `kept` of each is its share of the clean figure."""
    figures = ("map", "map50", "free_space_iou", "lane_iou", "miou")
    clean = PerceptionEvaluator().evaluate(perceive, samples)
    found: dict = {"clean": {name: clean[name] for name in figures if name in clean}}
    for name, corrupt in corruptions.items():
        random = np.random.default_rng(seed)
        result = PerceptionEvaluator().evaluate(perceive, (corrupt(sample, random) for sample in samples))
        kept = {figure: result[figure] / value for figure, value in found["clean"].items() if value > 0}
        found[name] = {figure: result[figure] for figure in found["clean"]} | {"kept": kept}
    return found


def _frame(labels: Labels, perceived: Perceived) -> Frame | None:
    if not labels.objects_known:
        return None
    return Frame(perceived.boxes, perceived.scores, perceived.classes, labels.boxes, labels.classes, labels.ignored)


def _masks(sample: Sample, perceived: Perceived) -> dict[str, NDArray[np.bool_]]:
    size = (sample.camera.width, sample.camera.height)
    return {
        name: cv2.resize(perceived.masks[name], size, interpolation=cv2.INTER_LINEAR) >= 0.5
        for name in MASKS
        if name in perceived.masks
    }


def semantic_classes(sample: Sample, perceived: Perceived) -> NDArray[np.int64] | None:
    """The class (H, W) that each pixel of the sample's image is said to be of, None where nothing is said."""
    if perceived.semantic is None:
        return None
    size = (sample.camera.width, sample.camera.height)
    channels = [cv2.resize(channel, size, interpolation=cv2.INTER_LINEAR) for channel in perceived.semantic]
    return np.argmax(channels, axis=0)


def _detection_ece(frames: list[Frame]) -> float:
    confidence, right = [], []
    for frame in frames:
        counts, hits, _ = match(frame)
        confidence.append(frame.scores[counts])
        right.append(hits[counts])
    return calibration_error(np.concatenate(confidence), np.concatenate(right))
