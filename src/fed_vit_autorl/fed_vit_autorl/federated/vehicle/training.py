"""What a vehicle asks of its trainer and gets back."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from ..protocol.wire import Task
from ..update import Tensors


class ClientReason(StrEnum):
    """Why a vehicle can't do what a task asks."""

    TRAINING_FAILED = "training_failed"
    TOO_FEW_SAMPLES = "too_few_samples"
    DISK_FULL = "disk_full"
    NARROW_MODEL = "narrow_model"  # the trainer of ViTs can leave tensors out, and thin the blocks' hidden layers only


@dataclass(frozen=True)
class TrainingResult:
    """What a training made: trained minus base by flat name, or a `reason` why it made nothing."""

    delta: Tensors = field(default_factory=dict)
    samples: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    reason: str = ""


@dataclass(frozen=True)
class LocalTensors:
    """What one vehicle trains with besides the base release, by flat name.

    `personal`: values of the tensors that are its own, in place of the base's. `correction`: SCAFFOLD's c - c_i, added
    to every gradient; empty without SCAFFOLD.
    """

    personal: Tensors = field(default_factory=dict)
    correction: Tensors = field(default_factory=dict)


class Trainer(Protocol):
    """Trains in another process."""

    @property
    def running(self) -> bool: ...

    def start(self, task: Task, base: Path, local: LocalTensors, now: float) -> None:
        """Begins; `base` is the folder of the release to train from."""

    def cancel(self) -> None:
        """Ends a training that runs; its result is lost."""

    def poll(self, now: float) -> TrainingResult | None:
        """The result, once, when it is there."""
