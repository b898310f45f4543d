"""From a training's result to an update in the vehicle's outbox, and what the vehicle keeps for itself on the way."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import safetensors

from ...privacy.sealing import seal
from ..control import advanced, correction, read_control
from ..pipeline import Pipeline
from ..protocol.wire import Manifest, Task, sealing_context
from ..refusal import UpdateReason, UpdateRefused
from ..selection import weighting
from ..stages import STAGES, SecureMask
from ..submodel import split_personal
from ..update import Header, Layout, Tensors, Update, UpdateMetadata, pack
from .masking import Member
from .outbox import Entry, Outbox, Recipe
from .training import LocalTensors, TrainingResult

logger = logging.getLogger(__name__)

RESIDUAL, PERSONAL, VARIATE = "residual", "personal:", "variate:"


def mask_of(task: Task) -> SecureMask | None:
    """The stage of the task's pipeline that hides its update, if there is one."""
    last = STAGES.build(task.plan["stages"][-1]) if task.plan["stages"] else None
    return last if isinstance(last, SecureMask) else None


class UpdateMaker:
    """The residual, personal tensors and the control variate change together with the outbox, in one transaction."""

    def __init__(self, vehicle: str, outbox: Outbox, member: Member, chunk_bytes: int) -> None:
        self._vehicle, self._outbox, self._member, self._chunk_bytes = vehicle, outbox, member, chunk_bytes

    def local(self, task: Task, base: Path) -> LocalTensors:
        """What the training for `task` begins with besides the release in the folder `base`."""
        kept = self._kept()
        personal = below(kept, PERSONAL)
        if "scaffold" not in task.plan["strategy"]:
            return LocalTensors(personal)
        return LocalTensors(personal, correction(read_control(base), below(kept, VARIATE)))

    def ready(self, task: Task) -> bool:
        """Whether the update for `task` can be made now: a masked one waits for the others' keys and shares."""
        return mask_of(task) is None or self._member.ready(task.run, task.round)

    def make(self, task: Task, result: TrainingResult, base: Path) -> None:
        """Takes `result` into the outbox, durable on return.

        Raises `ConfigurationRefused`, `UpdateRefused` or `SecAggRefused` for what can't be sent, OSError when the disk
        is full and nothing has changed.
        """
        shared, personal = split_personal(result.delta, task.plan["personal"])
        kept = self._kept()
        mask = mask_of(task)
        recipe = Recipe(task.plan["stages"][:-1] if mask else task.plan["stages"], Layout.of(shared))
        pipeline = self._pipeline(recipe, kept, mask)
        profile = task.plan["profile"].get("name", "")
        metadata = UpdateMetadata(task.round, task.base_version, self._vehicle, result.samples, result.metrics, profile)
        update = Update(shared, metadata)
        if mask is None:
            encoded = plain = pipeline.encode(update)
        else:
            plain, encoded = self._masked(task, pipeline, update)
        kept |= pipeline.state_dict()
        if "scaffold" in task.plan["strategy"]:
            kept |= _named(VARIATE, self._variate(kept, base, pipeline, plain, result.metrics))
        if personal:
            kept |= _named(PERSONAL, _moved(below(kept, PERSONAL), personal, base))
        sealed = seal(encoded, task.sealing_key, sealing_context(task.run, task.round, self._vehicle))
        manifest = Manifest(
            run=task.run,
            round=task.round,
            base_version=task.base_version,
            vehicle=self._vehicle,
            digest=hashlib.sha256(sealed).hexdigest(),
            size=len(sealed),
            chunk_bytes=self._chunk_bytes,
        )
        self._outbox.put(manifest, sealed, plain, recipe, kept)

    def take_back(self, entry: Entry, reason: str) -> None:
        """What a refused update held returns to the residual, from where a later update takes it along."""
        kept = self._kept()
        pipeline = self._pipeline(entry.recipe, kept)
        held = entry.recipe.layout.flatten(pipeline.decode(self._outbox.encoded(entry)).tensors)
        residual = pipeline.state_dict()[RESIDUAL]
        if residual.shape == held.shape:
            kept[RESIDUAL] = residual + held
        self._outbox.refused(entry, reason, kept)

    def _pipeline(self, recipe: Recipe, kept: Tensors, mask: SecureMask | None = None) -> Pipeline:
        """The fleet's pipeline with our residual; one of another model or pipeline is of no use any more."""
        stages = [STAGES.build(spec) for spec in recipe.stages]
        pipeline = Pipeline(stages if mask is None else [*stages, mask], recipe.layout)
        if RESIDUAL in kept:
            try:
                pipeline.load_state_dict(kept)
            except UpdateRefused as error:
                logger.warning("the residual starts anew: %s", error)
        return pipeline

    def _masked(self, task: Task, pipeline: Pipeline, update: Update) -> tuple[bytes, bytes]:
        """Wire bytes as they would be without the mask, for a take-back, and with it."""
        weight = relative_weight(task, update.metadata)
        if weight <= 0:
            raise UpdateRefused(UpdateReason.NO_WEIGHT, "an update of no weight can't be masked")
        sent: list[np.ndarray] = []

        def mask(values: np.ndarray) -> np.ndarray:
            sent.append(values)
            return self._member.mask(values, weight)

        encoded = pipeline.encode(update, mask)
        header = Header.of(update.metadata, pipeline.layout, pipeline.names[:-1])
        return pack(header, {"values": sent[0]}), encoded

    def _variate(
        self, kept: Tensors, base: Path, pipeline: Pipeline, plain: bytes, metrics: Mapping[str, float]
    ) -> Tensors:
        """c_i after the round, from what the aggregator will decode: both sides' variates stay in step."""
        steps, lr = metrics.get("local_steps", 0.0), metrics.get("local_lr", 0.0)
        return advanced(below(kept, VARIATE), read_control(base), pipeline.decode(plain).tensors, steps, lr)

    def _kept(self) -> Tensors:
        return self._outbox.kept()


def relative_weight(task: Task, metadata: UpdateMetadata) -> float:
    """How much an update counts, in [0, 1] of what one can count at most."""
    weigh, most = weighting(task.plan["weighting"]), int(task.plan["training"]["max_samples"])
    capped = replace(metadata, samples=min(metadata.samples, most))
    return weigh(capped) / weigh(replace(metadata, samples=most, metrics={"data_quality": 1.0}))


def _moved(own: Tensors, delta: Tensors, base: Path) -> Tensors:
    """Personal tensors after a training; the first one began with the release's values."""
    return {name: (own[name] if name in own else _released(base, name)) + change for name, change in delta.items()}


def _released(base: Path, name: str) -> np.ndarray:
    model, _, inner = name.partition("/")
    with safetensors.safe_open(base / f"{model}.safetensors", "numpy") as file:
        return file.get_tensor(inner).astype(np.float32)


def _named(prefix: str, tensors: Tensors) -> Tensors:
    return {prefix + name: tensor for name, tensor in tensors.items()}


def below(kept: Tensors, prefix: str) -> Tensors:
    """What is kept under a prefix, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in kept.items() if name.startswith(prefix)}
