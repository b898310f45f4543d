"""The aggregator's durable state: SQLite for what is true, content-addressed files for what is large. Safe to kill at
any point.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from ..objects import ObjectFolder
from .records import Phase, ReleaseRecord, Round, StoredUpdate, VehicleRecord

_SCHEMA = """
CREATE TABLE IF NOT EXISTS rounds(
  run TEXT NOT NULL, number INTEGER NOT NULL, phase TEXT NOT NULL, base INTEGER NOT NULL, selected TEXT NOT NULL,
  participants TEXT NOT NULL DEFAULT '[]', model TEXT NOT NULL DEFAULT '', state TEXT NOT NULL DEFAULT '',
  metrics TEXT NOT NULL DEFAULT '{}', reason TEXT NOT NULL DEFAULT '', release INTEGER NOT NULL DEFAULT 0,
  opened REAL NOT NULL, ended REAL NOT NULL DEFAULT 0, PRIMARY KEY(run, number));
CREATE TABLE IF NOT EXISTS updates(
  run TEXT NOT NULL, round INTEGER NOT NULL, made_for INTEGER NOT NULL, vehicle TEXT NOT NULL, digest TEXT NOT NULL,
  samples INTEGER NOT NULL, size INTEGER NOT NULL, metrics TEXT NOT NULL, received REAL NOT NULL,
  PRIMARY KEY(run, made_for, vehicle));
CREATE INDEX IF NOT EXISTS updates_digest ON updates(digest);
CREATE TABLE IF NOT EXISTS vehicles(
  name TEXT PRIMARY KEY, online INTEGER NOT NULL, activity TEXT NOT NULL, release INTEGER NOT NULL,
  metrics TEXT NOT NULL, seen REAL NOT NULL);
CREATE TABLE IF NOT EXISTS refusals(vehicle TEXT, reason TEXT, count INTEGER NOT NULL, PRIMARY KEY(vehicle, reason));
CREATE TABLE IF NOT EXISTS releases(
  version INTEGER PRIMARY KEY, digest TEXT NOT NULL, kind TEXT NOT NULL, source INTEGER NOT NULL, run TEXT NOT NULL,
  round INTEGER NOT NULL, metrics TEXT NOT NULL, created REAL NOT NULL);
CREATE TABLE IF NOT EXISTS settings(key TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


class Store:
    """All of it below one folder; safe between threads. Times are Unix seconds and for people only: no decision reads
    them.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self.objects = ObjectFolder(self.folder / "objects")
        self._lock = threading.RLock()
        self._db = self._connect("FULL")
        self._db.executescript(_SCHEMA)
        # What vehicles say of themselves and what is refused comes often and may lose its last moment to a power cut.
        self._light = self._connect("NORMAL")

    def open_round(self, run: str, number: int, base: int, selected: Sequence[str]) -> Round:
        self._write(
            "INSERT INTO rounds(run, number, phase, base, selected, opened) VALUES(?, ?, ?, ?, ?, ?)",
            (run, number, Phase.OPEN, base, _json(list(selected)), time.time()),
        )
        return self.last_round(run)

    def advance(self, round: Round, phase: Phase, **values: Any) -> Round:
        """Moves a round on together with what the step found out, in one transaction."""
        columns = {"phase": phase, **{key: _column(value) for key, value in values.items()}}
        if phase.ended:
            columns["ended"] = time.time()
        assignments = ", ".join(f"{key}=?" for key in columns)
        self._write(
            f"UPDATE rounds SET {assignments} WHERE run=? AND number=?", (*columns.values(), round.run, round.number)
        )
        return self.round(round.run, round.number)

    def round(self, run: str, number: int) -> Round:
        """Raises KeyError for a round that never was."""
        rounds = self._rounds("WHERE run=? AND number=?", (run, number))
        if not rounds:
            raise KeyError(f"no round {number} of run {run}")
        return rounds[0]

    def last_round(self, run: str) -> Round | None:
        rounds = self._rounds("WHERE run=? ORDER BY number DESC LIMIT 1", (run,))
        return rounds[0] if rounds else None

    def rounds(self, run: str, limit: int = 1000) -> list[Round]:
        """The latest rounds, oldest first."""
        return self._rounds("WHERE run=? ORDER BY number DESC LIMIT ?", (run, limit))[::-1]

    def close_round(self, round: Round) -> Round:
        """Fixes who takes part: all updates entered so far, in the order of their vehicles' names. No other gets in
        afterwards.
        """
        with self._lock:
            participants = [(update.vehicle, update.digest) for update in self.updates(round.run, round.number)]
            return self.advance(round, Phase.CLOSED, participants=participants)

    def add_update(self, update: StoredUpdate) -> bool:
        """Enters an update whose file is stored and synced, durable on return. False if the round isn't open any more
        or has one of this vehicle already.
        """
        values = (
            update.run,
            update.round,
            update.made_for,
            update.vehicle,
            update.digest,
            update.samples,
            update.size,
            _json(update.metrics),
        )
        with self._lock:
            cursor = self._db.execute(
                "INSERT OR IGNORE INTO updates SELECT ?, ?, ?, ?, ?, ?, ?, ?, ? "
                "WHERE EXISTS(SELECT 1 FROM rounds WHERE run=? AND number=? AND phase=?)",
                (*values, update.received, update.run, update.round, Phase.OPEN),
            )
            return cursor.rowcount == 1

    def updates(self, run: str, round: int) -> list[StoredUpdate]:
        """The updates that count in a round, in the order of their vehicles' names."""
        rows = self._read(
            "SELECT run, round, made_for, vehicle, digest, samples, size, metrics, received FROM updates "
            "WHERE run=? AND round=? ORDER BY vehicle, made_for",
            (run, round),
        )
        return [StoredUpdate(*row[:7], msgspec.json.decode(row[7]), row[8]) for row in rows]

    def arrived(self, run: str, round: int) -> int:
        """How many updates count in a round."""
        return self._read("SELECT COUNT(*) FROM updates WHERE run=? AND round=?", (run, round))[0][0]

    def senders(self, run: str, round: int) -> set[str]:
        """Vehicles that have made an update for a round."""
        return {row[0] for row in self._read("SELECT vehicle FROM updates WHERE run=? AND made_for=?", (run, round))}

    def has_update(self, run: str, round: int, vehicle: str) -> bool:
        """Whether a vehicle has made an update for a round."""
        query = "SELECT 1 FROM updates WHERE run=? AND made_for=? AND vehicle=?"
        return bool(self._read(query, (run, round, vehicle)))

    def update_with(self, vehicle: str, digest: str) -> bool:
        """Whether these bytes of this vehicle were accepted, in whatever round."""
        return bool(self._read("SELECT 1 FROM updates WHERE digest=? AND vehicle=?", (digest, vehicle)))

    def seen(self, vehicle: VehicleRecord) -> None:
        self._note(
            "INSERT INTO vehicles VALUES(?, ?, ?, ?, ?, ?) ON CONFLICT(name) DO UPDATE SET online=excluded.online, "
            "activity=excluded.activity, release=excluded.release, metrics=excluded.metrics, seen=excluded.seen",
            (vehicle.name, vehicle.online, vehicle.activity, vehicle.release, _json(vehicle.metrics), time.time()),
        )

    def vehicles(self) -> list[VehicleRecord]:
        rows = self._read("SELECT name, online, activity, release, metrics, seen FROM vehicles ORDER BY name")
        return [
            VehicleRecord(row[0], bool(row[1]), row[2], row[3], msgspec.json.decode(row[4]), row[5]) for row in rows
        ]

    def count_refusal(self, vehicle: str, reason: str) -> None:
        self._note(
            "INSERT INTO refusals VALUES(?, ?, 1) ON CONFLICT(vehicle, reason) DO UPDATE SET count=count+1",
            (vehicle, reason),
        )

    def refusals(self) -> dict[tuple[str, str], int]:
        """Count by (vehicle, reason)."""
        return {(row[0], row[1]): row[2] for row in self._read("SELECT vehicle, reason, count FROM refusals")}

    def add_release(self, release: ReleaseRecord) -> None:
        """Enters a release whose folder is complete; repeats change nothing."""
        values = (
            release.version,
            release.digest,
            release.kind,
            release.source,
            release.run,
            release.round,
            _json(release.metrics),
            release.created,
        )
        self._write("INSERT OR IGNORE INTO releases VALUES(?, ?, ?, ?, ?, ?, ?, ?)", values)

    def releases(self) -> list[ReleaseRecord]:
        """All releases, oldest first."""
        rows = self._read(
            "SELECT version, digest, kind, source, run, round, metrics, created FROM releases ORDER BY version"
        )
        return [ReleaseRecord(*row[:6], msgspec.json.decode(row[6]), row[7]) for row in rows]

    def setting(self, key: str, default: str = "") -> str:
        rows = self._read("SELECT value FROM settings WHERE key=?", (key,))
        return rows[0][0] if rows else default

    def set_setting(self, key: str, value: str) -> None:
        self._write(
            "INSERT INTO settings VALUES(?, ?) ON CONFLICT(key) DO UPDATE SET value=excluded.value", (key, value)
        )

    def close(self) -> None:
        self._db.close()
        self._light.close()

    def _connect(self, synchronous: str) -> sqlite3.Connection:
        connection = sqlite3.connect(self.folder / "state.sqlite", check_same_thread=False, isolation_level=None)
        connection.executescript(f"PRAGMA journal_mode=WAL; PRAGMA synchronous={synchronous};")
        return connection

    def _rounds(self, where: str, values: Sequence[object]) -> list[Round]:
        rows = self._read(
            "SELECT run, number, phase, base, selected, participants, model, state, metrics, reason, release, opened, "
            f"ended FROM rounds {where}",
            values,
        )
        return [
            Round(
                run=row[0],
                number=row[1],
                phase=Phase(row[2]),
                base=row[3],
                selected=msgspec.json.decode(row[4]),
                participants=[(vehicle, digest) for vehicle, digest in msgspec.json.decode(row[5])],
                model=row[6],
                state=row[7],
                metrics=msgspec.json.decode(row[8]),
                reason=row[9],
                release=row[10],
                opened=row[11],
                ended=row[12],
            )
            for row in rows
        ]

    def _read(self, query: str, values: Sequence[object] = ()) -> list[tuple]:
        with self._lock:
            return self._db.execute(query, values).fetchall()

    def _write(self, statement: str, values: Sequence[object]) -> None:
        """Durable on return."""
        with self._lock:
            self._db.execute(statement, values)

    def _note(self, statement: str, values: Sequence[object]) -> None:
        """Outlives the process, not the machine."""
        with self._lock:
            self._light.execute(statement, values)


def _json(value: list | Mapping[str, float]) -> str:
    return msgspec.json.encode(value).decode()


def _column(value: Any) -> Any:
    return _json(value) if isinstance(value, (list, dict)) else value
