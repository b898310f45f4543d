"""Whether an update that a vehicle announces may come in."""

from __future__ import annotations

from ...privacy.sealing import OVERHEAD_BYTES
from ..protocol.wire import Manifest, TransportReason, TransportRefused
from .gathering import Gathering
from .records import Phase, Round
from .store import Store


class Admission:
    """By the run's open round, and by what its gathering takes."""

    def __init__(self, run: str, store: Store, gathering: Gathering, most_bytes: int) -> None:
        self._run, self._store, self._gathering, self._most_bytes = run, store, gathering, most_bytes

    def admit(self, manifest: Manifest) -> tuple[Round, Round]:
        """The open round, and the one that the update was made for; raises `TransportRefused`."""
        current = self._store.last_round(self._run)
        if manifest.run != self._run:
            raise TransportRefused(TransportReason.WRONG_RUN, f"run {manifest.run}, this is {self._run}")
        origin = self._gathering.origin(current, manifest.round) if current is not None else None
        if current is None or origin is None:
            raise TransportRefused(TransportReason.STALE_ROUND, f"round {manifest.round} takes no updates")
        if current.phase is not Phase.OPEN:
            if self._gathering.carries_over(current):
                raise TransportRefused(TransportReason.BETWEEN_ROUNDS, "the next round may take it")
            raise TransportRefused(TransportReason.STALE_ROUND, f"round {manifest.round} takes no updates any more")
        if not self._gathering.admits(origin, manifest.vehicle):
            raise TransportRefused(TransportReason.NOT_SELECTED)
        if manifest.base_version != origin.base:
            raise TransportRefused(
                TransportReason.WRONG_BASE, f"made from release {manifest.base_version}, not {origin.base}"
            )
        if self._store.has_update(self._run, manifest.round, manifest.vehicle):
            raise TransportRefused(TransportReason.ALREADY_SUBMITTED, "another update of this round was accepted")
        limit = min(self._most_bytes, self._gathering.pipelines.of(origin.base).max_bytes + OVERHEAD_BYTES)
        if manifest.size > limit:
            raise TransportRefused(TransportReason.TOO_LARGE, f"{manifest.size} bytes, at most {limit}")
        return current, origin
