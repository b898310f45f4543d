"""A vehicle's own training: a release's perception on what the vehicle lived through."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from fed_vit_autorl.data.augmentation import Augmenter
from fed_vit_autorl.data.sample import Labels, Sample
from fed_vit_autorl.data.store import Key, SampleFolder
from fed_vit_autorl.edge.perceiver import Perceiver
from fed_vit_autorl.edge.torch_runtime import TorchRuntime

from .batches import Augmentation, Batches
from .distillation import Distilled
from .packaging import build
from .teacher import DOUBTFUL, EXAMINED, Trust, confirmed, examine
from .training import Progress, TrainingOptions, fit


class Trained(NamedTuple):
    """The perception of a release: what `packaging.build` takes."""

    architecture: Mapping
    weights: Mapping[str, np.ndarray]


def fit_folder(
    release: Trained,
    samples: SampleFolder,
    keys: Sequence[Key],
    options: TrainingOptions,
    *,
    shipped: Trained | None = None,
    trainable: Callable[[str], bool] = lambda name: True,
    augment: Augmentation | None = None,
    progress: Progress | None = None,
    thinned: Mapping[str, np.ndarray] = MappingProxyType({}),
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Fine-tune a release's perception on a vehicle's own samples: (trained minus base by tensor name, loss parts).

    What the release that the vehicle was `shipped` with is trusted with in these samples (`teacher`) it teaches, for
    what it knew is not to be worn away by what others learn elsewhere; if it is lost there `release` teaches what that
    is trusted with, and the vehicle's LiDAR the rest. A release that would teach itself everything stays as it is.
    Masks are learned from the map that objects are drawn from, but don't change it: a scan tells every pixel of the
    ground and few objects, which would drown in it. Only tensors that `trainable` names are trained and returned.
    `thinned` tensors are in the place of the release's in what is trained, not in what teaches. Raises ValueError when
    none of the samples can be read.
    """
    start = {**release.weights, **thinned}
    student = build(release.architecture, start)
    for name, parameter in student.named_parameters():
        parameter.requires_grad_(trainable(name))
    student.pyramid.from_width.register_forward_pre_hook(lambda _, maps: (maps[0].detach(),))
    if augment is None:
        augment = Augmenter({"flip": 0.5, "crop": 0.3, "light": 0.3})
    examined = list(samples.read(list(keys[:: max(1, len(keys) // EXAMINED)])))
    teacher, perceiver, trust = _teacher([release] if shipped is None else [shipped, release], examined)
    if trust.whole and teacher is release and not thinned:
        options = replace(options, steps=0)
    labels: dict[Key, Labels | None] = {}

    def read(index: int) -> Sample | None:
        sample = samples.get(keys[index])
        if sample is None:
            return None
        if keys[index] not in labels:
            labels[keys[index]] = (sample if trust.objects else confirmed(sample, perceiver)).labels
        return replace(sample, labels=labels[keys[index]])

    batches = Batches(read, len(keys), student.img_size, options.batch_size, augment, options.seed)
    progress = progress or Progress()
    corrections = [lambda _, correct=correct: correct(student) for correct in progress.after_backward]
    learner = Distilled(student, build(*teacher)) if trust.objects or trust.masks else student
    parts = fit(learner, batches, options, replace(progress, after_backward=corrections), left_out=trust.left_out)
    trained = {name: parameter for name, parameter in student.named_parameters() if parameter.requires_grad}
    return {name: parameter.detach().numpy() - start[name] for name, parameter in trained.items()}, parts


def _teacher(candidates: Sequence[Trained], examined: Sequence[Sample]) -> tuple[Trained, Perceiver, Trust]:
    """The first of the candidates that is trusted with everything, else the last, with what it sees and is trusted."""
    for candidate in candidates:
        perceiver = Perceiver(TorchRuntime(*candidate, "cpu"), DOUBTFUL)
        trust = examine(examined, perceiver)
        if trust.whole:
            break
    return candidate, perceiver, trust
