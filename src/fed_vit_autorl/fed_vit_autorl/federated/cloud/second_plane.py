"""The aggregator's side of large uplinks: blocks of an update arrive in a store, and are collected from there."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Protocol

from ..protocol.transfer import Incoming
from ..protocol.wire import Chunk, Manifest, TransportReason, TransportRefused

logger = logging.getLogger(__name__)

BLOCKS_AT_ONCE = 32  # that a vehicle is told of, and that are collected in one go


class BlockStore(Protocol):
    """Where vehicles put blocks. Raises OSError where it can't be reached."""

    block_bytes: int

    def put_url(self, vehicle: str, digest: str, block: int, size: int) -> str:
        """Where, and for a while only there, a vehicle may PUT a block of exactly this many bytes."""

    def arrived(self, digest: str) -> set[int]:
        """Blocks of an update that are there."""

    def read(self, digest: str, block: int) -> bytes:
        """A block that arrived."""

    def remove(self, digest: str) -> None:
        """All blocks of an update."""


class SecondPlane:
    """What the intake asks about an update that doesn't come over MQTT."""

    def __init__(self, store: BlockStore, from_bytes: int) -> None:
        """`from_bytes`: updates as large as this come this way."""
        self._store, self._from_bytes = store, from_bytes

    def carries(self, manifest: Manifest) -> bool:
        """Whether this is the way of an update."""
        return manifest.size >= self._from_bytes

    def block_bytes(self, manifest: Manifest) -> int:
        """Size of a block: a whole number of the update's chunks."""
        return max(1, self._store.block_bytes // manifest.chunk_bytes) * manifest.chunk_bytes

    def missing(self, incoming: Incoming) -> dict[int, str]:
        """The first blocks that have not arrived, and where to put them; none while the store is away."""
        manifest, size = incoming.manifest, self.block_bytes(incoming.manifest)
        try:
            arrived = self._store.arrived(manifest.digest)
            lacking = [block for block in self._open_blocks(incoming) if block not in arrived][:BLOCKS_AT_ONCE]
            ends = {block: min(size, manifest.size - block * size) for block in lacking}
            return {
                block: self._store.put_url(manifest.vehicle, manifest.digest, block, length)
                for block, length in ends.items()
            }
        except OSError as error:
            logger.warning("no blocks asked for: %s", error)
            return {}

    def collect(self, incoming: Incoming) -> None:
        """Brings in some of what has arrived; raises `TransportRefused`."""
        manifest, size = incoming.manifest, self.block_bytes(incoming.manifest)
        try:
            arrived = self._store.arrived(manifest.digest)
            wanted = [block for block in self._open_blocks(incoming) if block in arrived][:BLOCKS_AT_ONCE]
            found = ((block, self._store.read(manifest.digest, block)) for block in wanted)
            self._write(incoming, size, found)
        except OSError as error:
            logger.warning("blocks not collected: %s", error)

    def forget(self, manifest: Manifest) -> None:
        """The update has arrived, or never will."""
        try:
            self._store.remove(manifest.digest)
        except OSError as error:
            logger.warning("blocks not removed: %s", error)

    def _write(self, incoming: Incoming, size: int, blocks: Iterable[tuple[int, bytes]]) -> None:
        manifest = incoming.manifest
        for block, content in blocks:
            if len(content) != min(size, manifest.size - block * size):
                raise TransportRefused(TransportReason.BAD_CHUNK, f"block {block} has {len(content)} bytes")
            first = block * size // manifest.chunk_bytes
            for offset in range(0, len(content), manifest.chunk_bytes):
                data = content[offset : offset + manifest.chunk_bytes]
                incoming.write(Chunk(digest=manifest.digest, index=first + offset // manifest.chunk_bytes, data=data))

    def _open_blocks(self, incoming: Incoming) -> list[int]:
        """Blocks that are not wholly among what has come in."""
        chunks = self.block_bytes(incoming.manifest) // incoming.manifest.chunk_bytes
        starts = range(0, incoming.manifest.chunks, chunks)
        return [start // chunks for start in starts if not all(incoming.got[start : start + chunks])]
