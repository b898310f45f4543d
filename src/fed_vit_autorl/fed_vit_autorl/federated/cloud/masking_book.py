"""What a session's vehicles have said, durable: a restarted aggregator builds the session from it anew."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

from ..protocol.masking import Step

_SCHEMA = """
CREATE TABLE IF NOT EXISTS said(
  run TEXT NOT NULL, round INTEGER NOT NULL, step TEXT NOT NULL, vehicle TEXT NOT NULL, data BLOB NOT NULL,
  PRIMARY KEY(run, round, step, vehicle));
"""


class SessionBook:
    """One SQLite file, its writes durable on return; safe between threads. The first word counts."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA secure_delete=ON;" + _SCHEMA)

    def enter(self, run: str, round: int, step: Step, vehicle: str, data: bytes) -> None:
        """`vehicle` "" is the aggregator."""
        with self._lock:
            self._db.execute("INSERT OR IGNORE INTO said VALUES(?, ?, ?, ?, ?)", (run, round, step, vehicle, data))

    def said(self, run: str, round: int, step: Step) -> dict[str, bytes]:
        """Data by vehicle, in the order of names."""
        query = "SELECT vehicle, data FROM said WHERE run=? AND round=? AND step=? ORDER BY vehicle"
        with self._lock:
            return dict(self._db.execute(query, (run, round, step)).fetchall())

    def vehicles(self, run: str, round: int, step: Step) -> set[str]:
        """Who has taken a step."""
        query = "SELECT vehicle FROM said WHERE run=? AND round=? AND step=?"
        with self._lock:
            return {row[0] for row in self._db.execute(query, (run, round, step))}

    def forget(self, run: str, round: int) -> None:
        """What was said for a round and those before: with the masked updates gone, shares are of no use any more."""
        with self._lock:
            self._db.execute("DELETE FROM said WHERE run=? AND round<=?", (run, round))

    def close(self) -> None:
        self._db.close()
