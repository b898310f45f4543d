"""What a vehicle owes the aggregator, durable: updates until they are settled, and the error-feedback residual in the same transaction."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.numpy

from .objects import ObjectFolder

_SCHEMA = """
CREATE TABLE IF NOT EXISTS updates(
  digest TEXT PRIMARY KEY, run TEXT NOT NULL, round INTEGER NOT NULL, manifest BLOB NOT NULL, encoded TEXT NOT NULL,
  state TEXT NOT NULL DEFAULT 'pending', reason TEXT NOT NULL DEFAULT '', UNIQUE(run, round));
CREATE TABLE IF NOT EXISTS state(key TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


@dataclass(frozen=True)
class Entry:
    """One update: the digest of its sealed bytes, its signed manifest, and the digest of its encoded bytes before sealing."""

    digest: str
    run: str
    round: int
    manifest: bytes
    encoded: str
    state: str
    reason: str


class Outbox:
    """SQLite in WAL mode with full sync, and content-addressed files beside it. Safe to kill at any point; safe between threads."""

    def __init__(self, folder: Path) -> None:
        self.objects = ObjectFolder(Path(folder) / "objects")
        self._lock = threading.RLock()
        self._db = sqlite3.connect(Path(folder) / "outbox.sqlite", check_same_thread=False, isolation_level=None)
        self._db.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;" + _SCHEMA)
        self._sweep()

    def put(
        self, run: str, round: int, manifest: bytes, sealed: bytes, encoded: bytes, residual: Mapping[str, np.ndarray]
    ) -> Entry:
        """Takes responsibility for an update: durable on return. The residual becomes the current one in the same transaction.

        Raises sqlite3.IntegrityError when the round has an update already, OSError when the disk is full: then nothing has changed.
        """
        digest, plain = self.objects.put(sealed), self.objects.put(encoded)
        kept = self.objects.put(safetensors.numpy.save(dict(residual)))
        with self._lock, self._db:
            old = self.get_state("residual")
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute(
                "INSERT INTO updates(digest, run, round, manifest, encoded) VALUES(?, ?, ?, ?, ?)",
                (digest, run, round, manifest, plain),
            )
            self._set("residual", kept)
        if old and old != kept:
            self.objects.remove(old)
        return self.of_round(run, round)

    def pending(self) -> list[Entry]:
        """Updates that aren't settled, oldest first."""
        return self._entries("WHERE state='pending' ORDER BY rowid")

    def of_round(self, run: str, round: int) -> Entry | None:
        """The update made for a round, settled or not: a round is never trained twice."""
        found = self._entries("WHERE run=? AND round=?", run, round)
        return found[0] if found else None

    def residual(self) -> dict[str, np.ndarray] | None:
        """The current residual, None before the first update."""
        digest = self.get_state("residual")
        return safetensors.numpy.load(self.objects.read(digest)) if digest else None

    def accepted(self, entry: Entry) -> None:
        """The aggregator has it: its files go."""
        self._settle(entry, "accepted", "", None)

    def refused(self, entry: Entry, reason: str, residual: Mapping[str, np.ndarray]) -> None:
        """The aggregator will never use it: what it held is in `residual` now, and goes out with a later update."""
        self._settle(entry, "refused", reason, self.objects.put(safetensors.numpy.save(dict(residual))))

    def get_state(self, key: str) -> str:
        """A small durable value, "" when never set."""
        with self._lock:
            row = self._db.execute("SELECT value FROM state WHERE key=?", (key,)).fetchone()
        return row[0] if row else ""

    def set_state(self, key: str, value: str) -> None:
        """Durable on return."""
        with self._lock, self._db:
            self._set(key, value)

    def counts(self) -> dict[str, int]:
        """Updates by state."""
        with self._lock:
            return dict(self._db.execute("SELECT state, COUNT(*) FROM updates GROUP BY state"))

    def close(self) -> None:
        self._db.close()

    def _sweep(self) -> None:
        """Removes files that a crash left between being written and being entered."""
        used = {digest for entry in self.pending() for digest in (entry.digest, entry.encoded)} | {self.get_state("residual")}
        for path in self.objects.root.glob("*/*"):
            if path.name not in used:
                path.unlink()

    def _settle(self, entry: Entry, state: str, reason: str, residual: str | None) -> None:
        with self._lock, self._db:
            old = self.get_state("residual")
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute("UPDATE updates SET state=?, reason=? WHERE digest=?", (state, reason, entry.digest))
            if residual:
                self._set("residual", residual)
        self.objects.remove(entry.digest)
        self.objects.remove(entry.encoded)
        if residual and old and old != residual:
            self.objects.remove(old)

    def _set(self, key: str, value: str) -> None:
        self._db.execute("INSERT INTO state VALUES(?, ?) ON CONFLICT(key) DO UPDATE SET value=excluded.value", (key, value))

    def _entries(self, where: str, *values: object) -> list[Entry]:
        with self._lock:
            rows = self._db.execute(
                f"SELECT digest, run, round, manifest, encoded, state, reason FROM updates {where}", values
            ).fetchall()
        return [Entry(*row) for row in rows]
