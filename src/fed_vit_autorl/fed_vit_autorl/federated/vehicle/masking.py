"""The vehicle's part in sessions of secure aggregation, one session per round.

Its secrets are on disk, readable by the vehicle alone (0600), from its first message until the next round's: a
vehicle that is killed goes on where it was instead of dropping out. Whoever takes the disk in that time can open this
vehicle's part of that one round, and nothing of any other.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np

from ...files import write_secret
from ...privacy.secagg import SecAggClient, SecAggReason, SecAggRefused
from ...privacy.secagg.client import Sign, Verify
from ...privacy.secagg.messages import Roster, UnmaskRequest, decode, encode
from ..protocol.masking import Assembly, SessionMessage, Step, in_parts, session_of
from ..protocol.wire import Task
from ..stages import SecureMask

SECRETS = "session.secret"


class _Stored(msgspec.Struct, frozen=True):
    """`state` is the `SecAggClient`'s, `answer` the message that it last sent."""

    run: str
    round: int
    mask: SecureMask
    state: bytes
    step: Step
    answer: bytes


class Member:
    """Feed it with `begin` and `handle`, send what they yield; `mask` masks the round's one update."""

    def __init__(self, folder: Path, vehicle: str, certificate: bytes, sign: Sign, verify: Verify) -> None:
        """`certificate`: DER, for the others. Its secrets lie in `folder`."""
        self._path = Path(folder) / SECRETS
        self._vehicle, self._certificate, self._sign, self._verify = vehicle, certificate, sign, verify
        self._assembly = Assembly()
        self._stored: _Stored | None = None
        if self._path.exists():
            self._stored = msgspec.msgpack.decode(self._path.read_bytes(), type=_Stored)
            self._client = self._loaded(self._stored)

    def begin(self, task: Task, mask: SecureMask) -> Iterator[SessionMessage]:
        """This vehicle's keys for the round of `task`, again and again until the roster comes."""
        if not self._in(task.run, task.round):
            self._client = self._new_client(task.run, task.round, mask)
            keys = self._client.advertise(self._certificate)
            self._store(_Stored(task.run, task.round, mask, b"", Step.KEYS, encode(keys)))
        if self._stored.step is Step.KEYS:
            yield from self._answer()

    def handle(self, message: SessionMessage) -> Iterator[SessionMessage]:
        """Answers the aggregator; a repeat gets the same answer. Raises `SecAggRefused`."""
        if message.vehicle != self._vehicle or not self._in(message.run, message.round):
            raise SecAggRefused(SecAggReason.UNKNOWN_VEHICLE, f"round {message.round} of {message.run} is not ours")
        data = self._assembly.add(message)
        if data is None:
            return
        client, answers = self._client, {Step.ROSTER: Step.SHARES, Step.INBOX: Step.READY, Step.REQUEST: Step.REPLY}
        if message.step not in answers:
            raise SecAggRefused(SecAggReason.MALFORMED_MESSAGE, f"{message.step} is a vehicle's message")
        step = answers[message.step]
        if self._stored.step is not step:
            if message.step is Step.ROSTER:
                answer = encode(client.share(decode(data, Roster)))
            elif message.step is Step.INBOX:
                client.collect(_inbox(data))
                answer = b""
            else:
                answer = encode(client.unmask(decode(data, UnmaskRequest)))
            self._store(msgspec.structs.replace(self._stored, step=step, answer=answer))
        yield from self._answer()

    def ready(self, run: str, round: int) -> bool:
        """Whether the round's update can be masked."""
        return self._in(run, round) and self._client.step == 3

    def mask(self, values: np.ndarray, weight: float) -> np.ndarray:
        """The round's update, float32 (n,), counted with `weight` in (0, 1], under its masks: uint32 (n + 1,).

        The same masks every time: one result at most may leave the vehicle.
        """
        return self._loaded(self._stored).mask(values, weight)

    def _in(self, run: str, round: int) -> bool:
        return self._stored is not None and (self._stored.run, self._stored.round) == (run, round)

    def _new_client(self, run: str, round: int, mask: SecureMask) -> SecAggClient:
        return SecAggClient(self._vehicle, session_of(run, round), mask.settings(), self._sign, self._verify)

    def _loaded(self, stored: _Stored) -> SecAggClient:
        client = self._new_client(stored.run, stored.round, stored.mask)
        client.load_state(stored.state)
        return client

    def _store(self, stored: _Stored) -> None:
        """Before anything is sent: what was said once is never said differently."""
        stored = msgspec.structs.replace(stored, state=self._client.state())
        try:
            write_secret(self._path, msgspec.msgpack.encode(stored))
        except OSError:
            # A full disk: the step is taken again from what is stored.
            if self._stored is not None:
                self._client = self._loaded(self._stored)
            raise
        self._stored = stored

    def _answer(self) -> Iterator[SessionMessage]:
        stored = self._stored
        return in_parts(stored.run, stored.round, self._vehicle, stored.step, stored.answer)


def _inbox(data: bytes) -> dict[str, bytes]:
    try:
        return msgspec.msgpack.decode(data, type=dict[str, bytes])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise SecAggRefused(SecAggReason.MALFORMED_MESSAGE, str(error)) from error
