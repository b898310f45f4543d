"""Messages of a session of secure aggregation on the wire, in parts where they are larger than a broker takes."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated

import msgspec

from .wire import Count, Message, Name

PART_BYTES = 48 * 1024
MAX_PARTS = 64  # 3 MiB: a roster of 4,000 vehicles


class Step(StrEnum):
    """What a message carries; the vehicle sends keys, shares, ready and replies, the aggregator the others."""

    KEYS = "keys"
    ROSTER = "roster"
    SHARES = "shares"
    INBOX = "inbox"
    READY = "ready"
    REQUEST = "request"
    REPLY = "reply"


class SessionMessage(Message):
    """Part `part` of `parts` of what `step` says; `data` is a message of `privacy.secagg.messages`."""

    kind, signed = 8, True
    run: Name
    round: Count
    vehicle: Name
    step: Step
    part: Annotated[int, msgspec.Meta(ge=0, lt=MAX_PARTS)] = 0
    parts: Annotated[int, msgspec.Meta(ge=1, le=MAX_PARTS)] = 1
    data: Annotated[bytes, msgspec.Meta(max_length=PART_BYTES)] = b""


def session_of(run: str, round: int) -> bytes:
    """What the keys and messages of a round's session are bound to: a vehicle takes part in a round once."""
    return f"{run}/{round}".encode()


def in_parts(run: str, round: int, vehicle: str, step: Step, data: bytes) -> Iterator[SessionMessage]:
    """`data` as messages that a broker takes; raises ValueError when it is too large for a session."""
    parts = max(1, -(-len(data) // PART_BYTES))
    if parts > MAX_PARTS:
        raise ValueError(f"{step} of {len(data)} bytes, at most {MAX_PARTS * PART_BYTES}")
    for part in range(parts):
        piece = data[part * PART_BYTES :][:PART_BYTES]
        yield SessionMessage(run=run, round=round, vehicle=vehicle, step=step, part=part, parts=parts, data=piece)


class Assembly:
    """Puts the parts of one sender's current message together; another message's part begins anew."""

    def __init__(self) -> None:
        self._of: tuple[str, int, Step, int] | None = None
        self._parts: dict[int, bytes] = {}

    def add(self, message: SessionMessage) -> bytes | None:
        """The whole once its last missing part is here, else None."""
        of = (message.run, message.round, message.step, message.parts)
        if of != self._of:
            self._of, self._parts = of, {}
        self._parts[message.part] = message.data
        if len(self._parts) < message.parts:
            return None
        whole = b"".join(self._parts[part] for part in range(message.parts))
        self._of, self._parts = None, {}
        return whole
