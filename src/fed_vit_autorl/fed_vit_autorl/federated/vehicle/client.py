"""A vehicle's part in the federation as a state machine without threads, clock or network: messages in, `step` out.

Nothing is lost: the task and the update made for it are durable before they count, an update leaves the outbox only
when the aggregator has settled it, and what a refused update held goes back into the error-feedback residual.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from ...privacy.secagg import SecAggRefused
from ..protocol.masking import MAX_PARTS, SessionMessage
from ..protocol.topics import Topics
from ..protocol.transfer import Sender
from ..protocol.wire import (
    CHUNK_BYTES,
    Ack,
    Chunk,
    Fin,
    Manifest,
    Pointer,
    State,
    Status,
    Task,
    TransportReason,
    TransportRefused,
    decode,
    encode,
)
from ..refusal import ConfigurationRefused, UpdateRefused
from .masking import Member
from .outbox import Entry, Outbox
from .training import ClientReason, Trainer, TrainingResult
from .update_maker import UpdateMaker, mask_of

logger = logging.getLogger(__name__)

TRAINING_ATTEMPTS = 3
RETRY_TRAINING_S = 10.0
STATUS_PERIOD_S = 10.0


class Activity(StrEnum):
    """What a vehicle says it does."""

    IDLE = "idle"
    WAITING = "waiting"  # for the base release or for experience
    TRAINING = "training"
    SENDING = "sending"


class ReleaseKeeper(Protocol):
    """Fetches, verifies, tests and activates releases."""

    @property
    def version(self) -> int:
        """The active release, 0 for none."""

    def folder(self, version: int) -> Path | None:
        """A verified release on this vehicle."""

    @property
    def metrics(self) -> dict[str, float]:
        """Figures of the release tested last on this vehicle's own experience; `drift.report` reads them."""

    def offer(self, pointer: Pointer) -> None:
        """A signed pointer came; older than the active release is no news."""


class Uploads(Protocol):
    """Takes what the aggregator wants by another way than MQTT; see `upload.BlockUpload`."""

    @property
    def busy(self) -> bool: ...

    def begin(self, path: Path, block_bytes: int, blocks: Mapping[int, str]) -> None: ...

    def finished(self) -> bool: ...


class ClientCore:
    """Feed it with `handle` and `connected`, let it `work`, and while there is a link send what `outgoing` yields; one
    thread.
    """

    def __init__(
        self,
        region: str,
        vehicle: str,
        key: Ed25519PrivateKey,
        trusted: list[Ed25519PublicKey],
        outbox: Outbox,
        releases: ReleaseKeeper,
        trainer: Trainer,
        member: Member,
        uploads: Uploads,
        chunk_bytes: int = CHUNK_BYTES,
    ) -> None:
        """`trusted` sign tasks, answers and pointers; `member` takes this vehicle's part in secure aggregation;
        `chunk_bytes` is less than usual where the broker takes smaller messages.
        """
        self.topics = Topics(region, vehicle)
        self.outbox = outbox
        self.refusals: Counter[str] = Counter()
        self.settled: Counter[str] = Counter()
        self._region, self._vehicle, self._key, self._trusted = region, vehicle, key, trusted
        self._releases, self._trainer, self._member = releases, trainer, member
        self._maker = UpdateMaker(vehicle, outbox, member, chunk_bytes)
        self._base = Path()  # of the training under way
        self._result: TrainingResult | None = None  # trained, but the session for its mask is not that far
        self._words: deque[SessionMessage] = deque(maxlen=MAX_PARTS)  # for the session
        self._uploads = uploads
        self._sender: Sender | None = None
        self._sending: Entry | None = None
        self._reason = ""
        self._attempts = 0
        self._train_at = 0.0
        self._told: tuple[Status, float] | None = None
        self._look = True  # the outbox may have something to send
        stored = outbox.get_state("task")
        self._task = decode(bytes.fromhex(stored), Task, *trusted) if stored else None

    @property
    def task(self) -> Task | None:
        """The round it trains for, None when there is nothing to do."""
        return self._task

    @property
    def sender(self) -> Sender | None:
        """The transfer under way."""
        return self._sender

    def handle(self, topic: str, payload: bytes, now: float) -> None:
        """Takes one message of the broker; what it can't be is refused and counted."""
        try:
            if topic == self.topics.task:
                self._on_task(payload)
            elif topic == self.topics.ack:
                self._on_ack(decode(payload, Ack, *self._trusted), now)
            elif topic == self.topics.session_down:
                self._words.extend(self._member.handle(decode(payload, SessionMessage, *self._trusted)))
            elif topic == self.topics.model:
                self._on_pointer(decode(payload, Pointer, *self._trusted))
            else:
                raise TransportRefused(TransportReason.FOREIGN_TOPIC, topic[:100])
        except (TransportRefused, SecAggRefused) as refusal:
            logger.warning("refused: %s", refusal)
            self.refusals[refusal.reason] += 1

    def connected(self, now: float) -> None:
        """The link is up again: ask what arrived, say that we are here."""
        if self._sender is not None:
            self._sender.reconnected(now)
        self._told = None

    def work(self, now: float) -> None:
        """Trains for the task and moves a finished update into the outbox; needs no link."""
        if self._uploads.finished() and self._sender is not None:
            self._sender.reconnected(now)  # ask what arrived
        task = self._task
        if task is None:
            return
        if self._result is not None:
            self._trained(task, self._result, now)
        elif self._trainer.running:
            result = self._trainer.poll(now)
            if result is not None:
                self._trained(task, result, now)
        elif self.outbox.of_round(task.run, task.round) is not None:
            self._finish_task("")
        elif now >= self._train_at and (folder := self._releases.folder(task.base_version)) is not None:
            self._base = folder
            self._trainer.start(task, folder, self._maker.local(task, folder), now)

    def outgoing(self, now: float) -> Iterator[tuple[str, bytes, bool]]:
        """(topic, payload, retain) of what is due to be sent."""
        if self._sender is None and self._look:
            self._take_next_entry()
        if self._sender is not None:
            parts = {Manifest: self.topics.manifest, Chunk: self.topics.chunk, Fin: self.topics.fin}
            for message in self._sender.outgoing(now):
                yield parts[type(message)], encode(message, self._key), False
        while self._words:
            yield self.topics.session_up, encode(self._words.popleft(), self._key), False
        status = self._status()
        if self._told is None or self._told[0] != status or now - self._told[1] >= STATUS_PERIOD_S:
            self._told = status, now
            yield self.topics.status, encode(status), True

    def farewell(self) -> tuple[str, bytes]:
        """Topic and payload of what the broker says when the vehicle is gone."""
        return self.topics.status, encode(Status(online=False, release=self._releases.version))

    def _on_pointer(self, pointer: Pointer) -> None:
        if pointer.region != self._region:
            raise TransportRefused(TransportReason.FOREIGN_TOPIC, f"pointer of region {pointer.region}")
        self._releases.offer(pointer)

    def _on_task(self, payload: bytes) -> None:
        task = decode(payload, Task, *self._trusted)
        if task.vehicle != self._vehicle:
            raise TransportRefused(TransportReason.FOREIGN_TOPIC, f"a task for {task.vehicle}")
        last = int(self.outbox.get_state(f"round/{task.run}") or 0)
        if task.round < last:
            raise TransportRefused(TransportReason.REPLAYED, f"round {task.round} after {last}")
        if task.round > last:
            if self._still_counts(task):
                return  # it is told again when we are done
            self._trainer.cancel()
            self.outbox.set_state(**{"task": payload.hex(), f"round/{task.run}": str(task.round)})
            self._task, self._attempts, self._train_at, self._reason = task, 0, 0.0, ""
            self._result = None
        if (mask := mask_of(task)) is not None:
            self._words.extend(self._member.begin(task, mask))

    def _still_counts(self, newer: Task) -> bool:
        """Whether what is under way counts in the round of a newer task too (asynchronous rounds)."""
        task = self._task
        return task is not None and newer.round - task.round <= newer.plan["max_staleness"]

    def _trained(self, task: Task, result: TrainingResult, now: float) -> None:
        if result.reason:
            if result.reason != self._reason:
                logger.warning("round %d: no update yet: %s", task.round, result.reason)
            self._reason, self._train_at = result.reason, now + RETRY_TRAINING_S
            self._attempts += result.reason != ClientReason.TOO_FEW_SAMPLES
            if self._attempts >= TRAINING_ATTEMPTS:
                self._finish_task(result.reason)
            return
        if not self._maker.ready(task):
            self._result = result
            return
        self._result = None
        try:
            self._maker.make(task, result, self._base)
        except (ConfigurationRefused, UpdateRefused, SecAggRefused) as error:
            logger.error("round %d: no update: %s", task.round, error)
            self._finish_task(str(error.reason))
        except OSError as error:
            # A full disk: the training is repeated when there is room, nothing was changed.
            logger.error("round %d: the outbox can't take the update: %s", task.round, error)
            self._reason, self._train_at = ClientReason.DISK_FULL, now + RETRY_TRAINING_S
        else:
            self._look = True
            self._finish_task("")

    def _finish_task(self, reason: str) -> None:
        self.outbox.set_state(task="")
        self._task, self._reason = None, reason

    def _take_next_entry(self) -> None:
        pending = self.outbox.pending()
        self._look = bool(pending)
        if pending:
            self._sending = pending[0]
            self._sender = Sender(self._sending.manifest, self.outbox.objects.path(self._sending.manifest.digest))

    def _on_ack(self, ack: Ack, now: float) -> None:
        if self._sender is None or self._sending is None:
            return
        self._sender.on_ack(ack, now)
        answer = self._sender.answer
        if answer is None:
            if self._sender.blocks and not self._uploads.busy:
                self._uploads.begin(self._sender.path, self._sender.block_bytes, self._sender.blocks)
            return
        entry, self._sender, self._sending = self._sending, None, None
        if answer.state is State.ACCEPTED:
            self.settled["accepted"] += 1
            self.outbox.accepted(entry)
        else:
            logger.warning("the update of round %d was refused: %s", entry.manifest.round, answer.reason)
            self.settled[answer.reason] += 1
            self._maker.take_back(entry, answer.reason)

    def _status(self) -> Status:
        if self._trainer.running:
            activity = Activity.TRAINING
        elif self._sender is not None:
            activity = Activity.SENDING
        else:
            activity = Activity.IDLE if self._task is None else Activity.WAITING
        return Status(
            online=True,
            activity=activity,
            release=self._releases.version,
            reason=self._reason,
            metrics=self._releases.metrics,
        )
