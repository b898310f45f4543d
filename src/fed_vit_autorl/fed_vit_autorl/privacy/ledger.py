"""The budget's ledger: what privacy has been spent, on disk, asked before every round."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path

from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent, PrivacyAccountant
from dp_accounting.pld import PLDAccountant
from dp_accounting.rdp import RdpAccountant

from .calibration import require_budget
from .refusal import PrivacyReason, PrivacyRefused
from .release import Release

ACCOUNTANTS: dict[str, type[PrivacyAccountant]] = {"rdp": RdpAccountant, "pld": PLDAccountant}
FORMAT_VERSION = 1
_TABLES = """
CREATE TABLE budget (epsilon REAL NOT NULL, delta REAL NOT NULL, accountant TEXT NOT NULL);
CREATE TABLE spent (purpose TEXT PRIMARY KEY, sampling_rate REAL NOT NULL, noise_multiplier REAL NOT NULL,
                    steps INTEGER NOT NULL);
"""


def epsilon_of(releases: Iterable[Release], delta: float, accountant: str = "rdp") -> float:
    """ε at `delta` of all `releases` together; neighbouring data sets: one vehicle (or sample) added or removed."""
    counts: dict[tuple[float, float], int] = {}
    for release in releases:
        key = (release.sampling_rate, release.noise_multiplier)
        counts[key] = counts.get(key, 0) + release.steps
    if not counts:
        return 0.0
    total = ACCOUNTANTS[accountant]()
    for (rate, noise), steps in counts.items():
        event = GaussianDpEvent(noise)
        total.compose(event if rate == 1 else PoissonSampledDpEvent(rate, event), steps)
    return float(total.get_epsilon(delta))


class PrivacyLedger:
    """SQLite file with the budget (ε, δ) and every authorised release. One per fleet (or per vehicle's own data).

    An authorised release counts as spent even if its round fails afterwards. The budget of an existing file cannot be
    changed by opening it with another one.
    """

    def __init__(self, path: Path, epsilon: float = 1.0, delta: float = 1e-5, accountant: str = "rdp") -> None:
        require_budget(epsilon, delta)
        if accountant not in ACCOUNTANTS:
            raise PrivacyRefused(
                PrivacyReason.BAD_PARAMETER, f"accountant {accountant!r}, known: {', '.join(sorted(ACCOUNTANTS))}"
            )
        self.epsilon, self.delta, self.accountant = epsilon, delta, accountant
        self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._database.execute("PRAGMA synchronous = FULL")
        with self._exclusive():
            self._open()

    def spent(self) -> float:
        """ε spent so far at the budget's δ."""
        return epsilon_of(self._releases(), self.delta, self.accountant)

    def epsilon_after(self, release: Release) -> float:
        """ε that would be spent with `release` too."""
        return epsilon_of([*self._releases(), release], self.delta, self.accountant)

    def authorise(self, purpose: str, release: Release) -> float:
        """Enter `release` for `purpose` (for instance `run-1/round-7`) on disk and return ε spent with it.

        The same release for the same purpose is entered once, so that a restarted round may ask again. Raises
        `PrivacyRefused` when the budget would be exceeded or `purpose` was used for another release.
        """
        row = (release.sampling_rate, release.noise_multiplier, release.steps)
        with self._exclusive():
            known = self._database.execute(
                "SELECT sampling_rate, noise_multiplier, steps FROM spent WHERE purpose = ?", (purpose,)
            ).fetchone()
            if known == row:
                return self.spent()
            if known is not None:
                raise PrivacyRefused(PrivacyReason.ALREADY_SPENT, f"{purpose!r} was authorised as {known}, not {row}")
            epsilon = self.epsilon_after(release)
            if not epsilon <= self.epsilon:
                raise PrivacyRefused(
                    PrivacyReason.BUDGET_EXCEEDED,
                    f"{purpose!r} would bring epsilon to {epsilon:.4g} of {self.epsilon:g} (delta {self.delta:g})",
                )
            self._database.execute("INSERT INTO spent VALUES (?, ?, ?, ?)", (purpose, *row))
        return epsilon

    def close(self) -> None:
        self._database.close()

    def _releases(self) -> list[Release]:
        rows = self._database.execute("SELECT noise_multiplier, sampling_rate, steps FROM spent").fetchall()
        return [Release(*row) for row in rows]

    def _open(self) -> None:
        [version] = self._database.execute("PRAGMA user_version").fetchone()
        budget = (self.epsilon, self.delta, self.accountant)
        if version == 0:
            for statement in _TABLES.split(";"):
                self._database.execute(statement)
            self._database.execute("INSERT INTO budget VALUES (?, ?, ?)", budget)
            self._database.execute(f"PRAGMA user_version = {FORMAT_VERSION}")
        elif version != FORMAT_VERSION:
            raise PrivacyRefused(PrivacyReason.UNKNOWN_VERSION, f"ledger of version {version}, known: {FORMAT_VERSION}")
        elif (found := self._database.execute("SELECT * FROM budget").fetchone()) != budget:
            raise PrivacyRefused(
                PrivacyReason.ANOTHER_BUDGET,
                f"the ledger was opened with (epsilon, delta, accountant) {found}, not {budget}",
            )

    def _exclusive(self) -> _Exclusive:
        return _Exclusive(self._database)


class _Exclusive:
    """A transaction that no other process can interleave: read, decide, write."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def __enter__(self) -> None:
        self._database.execute("BEGIN EXCLUSIVE")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._database.execute("COMMIT" if kind is None else "ROLLBACK")
