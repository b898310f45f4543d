"""What a vehicle owes the aggregator, durable: updates until they are settled, and in the same transaction what it
keeps for itself from round to round (the error-feedback residual, its personal tensors, its control variate).
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import safetensors.numpy

from ..objects import ObjectFolder
from ..protocol.wire import Manifest
from ..update import Layout

_SCHEMA = """
CREATE TABLE IF NOT EXISTS updates(
  digest TEXT PRIMARY KEY, run TEXT NOT NULL, round INTEGER NOT NULL, manifest BLOB NOT NULL, encoded TEXT NOT NULL,
  recipe BLOB NOT NULL, state TEXT NOT NULL DEFAULT 'pending', reason TEXT NOT NULL DEFAULT '', UNIQUE(run, round));
CREATE TABLE IF NOT EXISTS state(key TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


@dataclass(frozen=True)
class Recipe:
    """What an update was encoded with, so that it can be decoded again when it is refused."""

    stages: list[Any]
    layout: Layout


@dataclass(frozen=True)
class Entry:
    """One update: its manifest, its recipe, and the digest of its encoded bytes before sealing."""

    manifest: Manifest
    recipe: Recipe
    plain: str
    state: str
    reason: str


class Outbox:
    """SQLite in WAL mode with full sync, and content-addressed files beside it. Safe to kill at any point; safe
    between threads.
    """

    def __init__(self, folder: Path) -> None:
        self.objects = ObjectFolder(Path(folder) / "objects")
        self._lock = threading.RLock()
        self._db = sqlite3.connect(Path(folder) / "outbox.sqlite", check_same_thread=False, isolation_level=None)
        self._db.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;" + _SCHEMA)
        self._sweep()

    def put(
        self, manifest: Manifest, sealed: bytes, encoded: bytes, recipe: Recipe, kept: Mapping[str, np.ndarray]
    ) -> None:
        """Takes responsibility for an update: durable on return. `kept` becomes the current one in the same
        transaction.

        Raises sqlite3.IntegrityError when the round has an update already, OSError when the disk is full: then nothing
        has changed.
        """
        digest, plain = self.objects.put(sealed), self.objects.put(encoded)
        tensors = self.objects.put(safetensors.numpy.save(dict(kept)))
        with self._lock:
            old = self.get_state("kept")
            self._db.execute("BEGIN IMMEDIATE")
            with self._db:
                self._db.execute(
                    "INSERT INTO updates(digest, run, round, manifest, encoded, recipe) VALUES(?, ?, ?, ?, ?, ?)",
                    (digest, manifest.run, manifest.round, _packed(manifest), plain, _packed(recipe)),
                )
                self._set("kept", tensors)
        if old and old != tensors:
            self.objects.remove(old)

    def pending(self) -> list[Entry]:
        """Updates that aren't settled, oldest first."""
        return self._entries("WHERE state='pending' ORDER BY rowid")

    def all(self) -> list[Entry]:
        """Every update ever made, oldest first."""
        return self._entries("ORDER BY rowid")

    def of_round(self, run: str, round: int) -> Entry | None:
        """The update made for a round, settled or not: a round is never trained twice."""
        found = self._entries("WHERE run=? AND round=?", run, round)
        return found[0] if found else None

    def kept(self) -> dict[str, np.ndarray]:
        """What the vehicle keeps for itself, {} before the first update."""
        digest = self.get_state("kept")
        return safetensors.numpy.load(self.objects.read(digest)) if digest else {}

    def encoded(self, entry: Entry) -> bytes:
        """The bytes of an unsettled update before sealing."""
        return self.objects.read(entry.plain)

    def accepted(self, entry: Entry) -> None:
        """The aggregator has it: its files go."""
        self._settle(entry, "accepted", "", None)

    def refused(self, entry: Entry, reason: str, kept: Mapping[str, np.ndarray]) -> None:
        """The aggregator will never use it: what it held is in the residual now, and goes out with a later update."""
        self._settle(entry, "refused", reason, self.objects.put(safetensors.numpy.save(dict(kept))))

    def get_state(self, key: str) -> str:
        """A small durable value, "" when never set."""
        with self._lock:
            row = self._db.execute("SELECT value FROM state WHERE key=?", (key,)).fetchone()
        return row[0] if row else ""

    def set_state(self, **values: str) -> None:
        """All or none of them, durable on return."""
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            with self._db:
                for key, value in values.items():
                    self._set(key, value)

    def counts(self) -> dict[str, int]:
        """Updates by state."""
        with self._lock:
            return dict(self._db.execute("SELECT state, COUNT(*) FROM updates GROUP BY state"))

    def close(self) -> None:
        self._db.close()

    def _sweep(self) -> None:
        """Removes files that a crash left between being written and being entered."""
        used = {self.get_state("kept")}
        for entry in self.pending():
            used |= {entry.manifest.digest, entry.plain}
        for path in self.objects.root.glob("*/*"):
            if path.name not in used:
                path.unlink()

    def _settle(self, entry: Entry, state: str, reason: str, kept: str | None) -> None:
        digest = entry.manifest.digest
        with self._lock:
            old = self.get_state("kept")
            self._db.execute("BEGIN IMMEDIATE")
            with self._db:
                self._db.execute("UPDATE updates SET state=?, reason=? WHERE digest=?", (state, reason, digest))
                if kept:
                    self._set("kept", kept)
        self.objects.remove(digest)
        self.objects.remove(entry.plain)
        if kept and old and old != kept:
            self.objects.remove(old)

    def _set(self, key: str, value: str) -> None:
        self._db.execute(
            "INSERT INTO state VALUES(?, ?) ON CONFLICT(key) DO UPDATE SET value=excluded.value", (key, value)
        )

    def _entries(self, where: str, *values: object) -> list[Entry]:
        with self._lock:
            rows = self._db.execute(
                f"SELECT manifest, recipe, encoded, state, reason FROM updates {where}", values
            ).fetchall()
        return [
            Entry(msgspec.msgpack.decode(row[0], type=Manifest), msgspec.msgpack.decode(row[1], type=Recipe), *row[2:])
            for row in rows
        ]


def _packed(value: Manifest | Recipe) -> bytes:
    return msgspec.msgpack.encode(value)
