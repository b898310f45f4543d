"""One uplink over a lossy broker: the vehicle's sender and the aggregator's inbox. No network and no clock in here.

QoS is not durability: brokers drop, repeat and forget acknowledged messages. So chunks are numbered, only `credit` of
them are under way at a time, the aggregator answers with the bitmap of what lies on its disk, and a question (`Fin`
with a rising `query`) settles what was lost: a chunk sent before a question and missing in its answer is sent again,
no other is.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from ..objects import ObjectFolder
from .wire import Ack, Chunk, Fin, Manifest, State, TransportReason, TransportRefused

FIRST_RETRY_S = 2.0
LAST_RETRY_S = 30.0


class Sender:
    """Sends one update until the aggregator accepts or refuses it; survives any loss, repeat and restart on the way."""

    def __init__(self, manifest: Manifest, path: Path) -> None:
        """`path` holds the sealed bytes that the manifest announces."""
        self.manifest = manifest
        self.answer: Ack | None = None  # the final one
        self.bytes_sent = 0
        self.path = path
        self.blocks: dict[int, str] = {}  # what to PUT where, as the last answer says
        self.block_bytes = 0
        self._opened = False
        self._have = bytearray(-(-manifest.chunks // 8))
        self._under_way: dict[int, int] = {}  # index → number of questions asked when it was sent
        self._next = 0
        self._credit = 0
        self._query = 0
        self._asked_at_end = False
        self._retry_at = 0.0
        self._retry_s = FIRST_RETRY_S

    @property
    def done(self) -> bool:
        return self.answer is not None

    def reconnected(self, now: float) -> None:
        """The link was cut: ask at once what arrived."""
        self._retry_at = now
        self._retry_s = FIRST_RETRY_S

    def on_ack(self, ack: Ack, now: float) -> None:
        """Takes the aggregator's answer."""
        if ack.digest != self.manifest.digest or self.done:
            return
        self._retry_s = FIRST_RETRY_S
        self._retry_at = now + self._retry_s
        if ack.state in (State.ACCEPTED, State.REFUSED):
            self.answer = ack
        elif ack.state is State.UNKNOWN:
            self._opened = False
            if not ack.reason:
                self._retry_at = now
        elif len(ack.have) == len(self._have):
            self._opened = True
            self._credit = ack.credit
            self.blocks, self.block_bytes = ack.blocks, ack.block_bytes
            self._have[:] = ack.have
            settled = {i for i, asked in self._under_way.items() if self._has(i) or asked < ack.query}
            for index in settled:
                del self._under_way[index]
            self._next = 0
            if ack.query == self._query:
                self._asked_at_end = False

    def outgoing(self, now: float) -> Iterator[Manifest | Chunk | Fin]:
        """What to send now."""
        if self.done:
            return
        if not self._opened:
            if now >= self._retry_at:
                self._back_off(now)
                yield self.manifest
            return
        for index in self._ready():
            data = self._read(index)
            self._under_way[index] = self._query
            self.bytes_sent += len(data)
            self._retry_at = now + self._retry_s
            yield Chunk(digest=self.manifest.digest, index=index, data=data)
        all_sent = self._next >= self.manifest.chunks and not self._asked_at_end
        if all_sent or now >= self._retry_at:
            self._asked_at_end = all_sent or self._asked_at_end
            self._query += 1
            self._back_off(now)
            yield Fin(digest=self.manifest.digest, query=self._query)

    def _read(self, index: int) -> bytes:
        with open(self.path, "rb") as stream:
            stream.seek(index * self.manifest.chunk_bytes)
            return stream.read(self.manifest.chunk_bytes)

    def _ready(self) -> Iterator[int]:
        while len(self._under_way) < self._credit and self._next < self.manifest.chunks:
            index, self._next = self._next, self._next + 1
            if not self._has(index) and index not in self._under_way:
                yield index

    def _has(self, index: int) -> bool:
        return bool(self._have[index // 8] >> (index % 8) & 1)

    def _back_off(self, now: float) -> None:
        self._retry_at = now + self._retry_s
        self._retry_s = min(2 * self._retry_s, LAST_RETRY_S)


class Incoming:
    """One update on its way in: its bytes in `<digest>.part`, one byte per chunk that is there in `<digest>.have`.

    Neither is synced while it grows: what a power cut takes shows in the digest at the end, and is asked for again.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        """Opens or resumes; raises `TransportRefused` (storage_full)."""
        self.manifest = manifest
        self.since_ack = 0
        self._part = folder / f"{manifest.digest}.part"
        self._map = folder / f"{manifest.digest}.have"
        if not self._part.exists():
            self._map.unlink(missing_ok=True)
        self._data = os.open(self._part, os.O_RDWR | os.O_CREAT, 0o600)
        self._have = os.open(self._map, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.posix_fallocate(self._data, 0, manifest.size)
            os.ftruncate(self._have, manifest.chunks)
        except OSError as error:
            self.discard()
            raise TransportRefused(TransportReason.STORAGE_FULL, str(error)) from error
        self.got = bytearray(os.pread(self._have, manifest.chunks, 0))

    @property
    def bitmap(self) -> bytes:
        bits = bytearray(-(-self.manifest.chunks // 8))
        for index, there in enumerate(self.got):
            if there:
                bits[index // 8] |= 1 << (index % 8)
        return bytes(bits)

    @property
    def complete(self) -> bool:
        return all(self.got)

    def write(self, chunk: Chunk) -> None:
        """Stores a chunk; a repeat changes nothing. Raises `TransportRefused` (bad_chunk, storage_full)."""
        manifest = self.manifest
        start = chunk.index * manifest.chunk_bytes
        expected = min(manifest.chunk_bytes, manifest.size - start)
        if chunk.index >= manifest.chunks or len(chunk.data) != expected:
            raise TransportRefused(
                TransportReason.BAD_CHUNK, f"chunk {chunk.index} has {len(chunk.data)} bytes, not {expected}"
            )
        if self.got[chunk.index]:
            return
        try:
            written = os.pwrite(self._data, chunk.data, start)
            if written < expected:
                raise OSError(f"only {written} of {expected} bytes fit")
            os.pwrite(self._have, b"\1", chunk.index)
        except OSError as error:
            raise TransportRefused(TransportReason.STORAGE_FULL, str(error)) from error
        self.got[chunk.index] = 1
        self.since_ack += 1

    def finish(self) -> bytes:
        """The complete content, synced to disk; raises `TransportRefused` and starts over if its digest is wrong."""
        content = os.pread(self._data, self.manifest.size, 0)
        if hashlib.sha256(content).hexdigest() != self.manifest.digest:
            os.pwrite(self._have, bytes(self.manifest.chunks), 0)
            self.got = bytearray(self.manifest.chunks)
            raise TransportRefused(TransportReason.DIGEST_MISMATCH, "the chunks don't add up to the announced digest")
        os.fsync(self._data)
        return content

    def hand_over(self, objects: ObjectFolder) -> None:
        """Moves the finished file among the objects; a second time changes nothing."""
        if self._part.exists():
            objects.adopt(self._part, self.manifest.digest)

    def close(self) -> None:
        """Lets the files go; they stay for a later resume."""
        os.close(self._data)
        os.close(self._have)

    def discard(self) -> None:
        """Removes what is left of the transfer."""
        self.close()
        self._part.unlink(missing_ok=True)
        self._map.unlink(missing_ok=True)
