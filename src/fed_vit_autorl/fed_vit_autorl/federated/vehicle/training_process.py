"""Training in a process of its own, off the driving path: job and result are files, either side may be killed."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from fed_vit_autorl.data.store import SampleFolder
from fed_vit_autorl.deployment.processes import dying_with_parent
from fed_vit_autorl.files import write_file

from ..protocol.wire import Task
from ..update import Tensors
from .training import ClientReason, LocalTensors, TrainingResult

logger = logging.getLogger(__name__)

JOB, DELTA, RESULT, LOG = "job.json", "delta.safetensors", "result.json", "trainer.log"
DEFAULT_TIMEOUT_S = 900.0


class Job(msgspec.Struct, frozen=True):
    """What the training process reads: `<folder>/job.json`.

    `release`: folder of the base, `shipped`: of the one that the vehicle came with, `trusted_keys`: of the keys that
    may have signed them. `experience`: folder of samples. `trainable`: patterns of flat tensor names. `training` and
    `strategy`: the task's settings, `profile` the part of the model that this device class trains, {} for all of it.
    `personal` and `correction` are files of tensors by flat name (see `training.LocalTensors`), "" for none. It writes
    `delta.safetensors` (trained minus where it began, by flat name) and then `result.json`.
    """

    vehicle: str
    run: str
    round: int
    release: str
    shipped: str
    trusted_keys: str
    experience: str
    trainable: list[str]
    training: dict[str, float]
    strategy: dict[str, float]
    profile: dict[str, Any] = {}
    personal: str = ""
    correction: str = ""


class Outcome(msgspec.Struct, frozen=True):
    """`result.json`; a `reason` says why there is no delta."""

    samples: int = 0
    metrics: dict[str, float] = {}
    reason: str = ""


class TrainerProcess:
    """Runs `command <folder of the job>`; one training at a time. `shipped`: folder of the release that the vehicle
    came with.
    """

    def __init__(
        self, command: Sequence[str], vehicle: str, folder: Path, experience: Path, shipped: Path, trusted_keys: Path
    ) -> None:
        self._command, self._vehicle = list(command), vehicle
        self._experience, self._shipped, self._trusted_keys = experience, shipped, trusted_keys
        self._folder = Path(folder)
        self._process: subprocess.Popen | None = None
        self._early: TrainingResult | None = None  # known without a process
        self._deadline = 0.0

    @property
    def running(self) -> bool:
        return self._process is not None or self._early is not None

    def start(self, task: Task, base: Path, local: LocalTensors, now: float) -> None:
        training = task.plan["training"]
        if self._experience.is_dir() and len(SampleFolder(self._experience)) < training["min_samples"]:
            self._early = TrainingResult(reason=ClientReason.TOO_FEW_SAMPLES)
            return
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        job = Job(
            vehicle=self._vehicle,
            run=task.run,
            round=task.round,
            release=str(base),
            shipped=str(self._shipped),
            trusted_keys=str(self._trusted_keys),
            experience=str(self._experience),
            trainable=task.plan["trainable"],
            training=training,
            strategy=task.plan["strategy"],
            profile=task.plan["profile"],
            personal=self._file("personal", local.personal),
            correction=self._file("correction", local.correction),
        )
        (self._folder / JOB).write_bytes(msgspec.json.encode(job))
        self._deadline = now + float(training.get("timeout_s", DEFAULT_TIMEOUT_S))
        threads = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
        with open(self._folder / LOG, "wb") as log:
            self._process = subprocess.Popen(
                dying_with_parent([*self._command, str(self._folder)]),
                stdout=log,
                stderr=log,
                env={**os.environ, **threads},
                process_group=0,
            )

    def _file(self, name: str, tensors: Tensors) -> str:
        """Path of a file of the job, "" for no tensors."""
        path = self._folder / f"{name}.safetensors"
        if not tensors:
            return ""
        safetensors.numpy.save_file(tensors, path)
        return str(path)

    def poll(self, now: float) -> TrainingResult | None:
        if self._process is None:
            early, self._early = self._early, None
            return early
        if self._process.poll() is None:
            if now < self._deadline:
                return None
            logger.error("training of %s took too long", self._vehicle)
        code = self._process.returncode
        self.cancel()
        if code != 0:
            last = (self._folder / LOG).read_bytes()[-500:].decode(errors="replace")
            logger.error("training ended with %s: %s", code, last)
            return TrainingResult(reason=ClientReason.TRAINING_FAILED)
        return self._result()

    def cancel(self) -> None:
        self._early = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _result(self) -> TrainingResult:
        try:
            outcome = msgspec.json.decode((self._folder / RESULT).read_bytes(), type=Outcome)
            if outcome.reason:
                return TrainingResult(reason=outcome.reason)
            delta = safetensors.numpy.load_file(self._folder / DELTA)
        except (OSError, msgspec.MsgspecError, SafetensorError) as error:
            logger.error("the training's result can't be read: %s", error)
            return TrainingResult(reason=ClientReason.TRAINING_FAILED)
        return TrainingResult(delta, outcome.samples, outcome.metrics)


def write_result(folder: Path, delta: dict[str, np.ndarray], samples: int, metrics: dict[str, float]) -> None:
    """The training process's last act; `result.json` comes last and whole."""
    safetensors.numpy.save_file({name: np.ascontiguousarray(tensor) for name, tensor in delta.items()}, folder / DELTA)
    _write(folder, Outcome(samples, metrics))


def write_refusal(folder: Path, reason: ClientReason) -> None:
    """There is nothing to send, and why."""
    _write(folder, Outcome(reason=reason))


def _write(folder: Path, outcome: Outcome) -> None:
    write_file(folder / RESULT, msgspec.json.encode(outcome))
