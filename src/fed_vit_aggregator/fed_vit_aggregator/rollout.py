"""Watches the release in force: widens it from the canary to the fleet, or takes it back."""

from __future__ import annotations

import logging
from collections.abc import Callable

from fed_vit_aggregator.releases import ReleaseFolder, Rollback
from fed_vit_autorl.deployment.fleet_config import FleetConfig
from fed_vit_autorl.federated.cloud.records import ReleaseRecord
from fed_vit_autorl.federated.cloud.store import Store
from fed_vit_autorl.federated.drift import FIGURE, Report, Verdict, judge, relative_drop, report

logger = logging.getLogger(__name__)

PERIOD_S = 1.0


class RolloutWatch:
    """`step` is called again and again from one thread. Only releases made by rounds are judged: what was rolled back
    to, or shipped, stays.
    """

    def __init__(
        self,
        config: FleetConfig,
        store: Store,
        releases: ReleaseFolder,
        roll_back: Callable[[int, Rollback], object],
    ) -> None:
        self._rollout, self._gate = config.rollout, config.federation.drift_gate
        self._store, self._releases, self._roll_back = store, releases, roll_back
        self._watched = (0, 0.0)  # version, when this process first saw it
        self._due = 0.0

    def step(self, now: float) -> None:
        """Judges the release in force by what is known. `now` is a steady clock in seconds."""
        record = self._releases.current
        if now < self._due or record.kind != "round":
            return
        self._due = now + PERIOD_S
        if self._watched[0] != record.version:
            self._watched = record.version, now
        better = self._better(record)
        reports = self.reports(record.version)
        canary = self._releases.canary
        verdict = judge(reports, self._gate, self._least())
        if better is not None:
            self._take_back(record, better.version, Rollback.REFERENCE)
        elif verdict is Verdict.DRIFTED:
            logger.warning("release %d loses %.1f %% in shadow", record.version, 100 * relative_drop(reports))
            self._take_back(record, record.source, Rollback.SHADOW)
        elif canary is not None and verdict is Verdict.HOLDS:
            logger.info("release %d holds on %d vehicles: for all now", record.version, len(reports))
            self._releases.widen()
        elif canary is not None and now - self._watched[1] > self._rollout.patience_s:
            self._take_back(record, record.source, Rollback.UNPROVEN)

    def reports(self, version: int) -> list[Report]:
        """What vehicles said of a release."""
        said = (report(vehicle.metrics) for vehicle in self._store.vehicles())
        return [each for each in said if each is not None and each.version == version]

    def _least(self) -> int:
        """Reports that are enough; a small fleet, or cohort, need not give more than it has vehicles."""
        canary = self._releases.canary
        may = [v.name for v in self._store.vehicles() if canary is None or canary.takes(v.name)]
        return max(1, min(self._rollout.min_reports, len(may)))

    def _better(self, record: ReleaseRecord) -> ReleaseRecord | None:
        """An earlier release that this one falls too far behind: many small losses pass the gate of each round."""
        measured = [each for each in self._store.releases() if each.version < record.version and FIGURE in each.metrics]
        best = max(measured, key=lambda each: each.metrics[FIGURE], default=None)
        if best is None or FIGURE not in record.metrics:
            return None
        return best if record.metrics[FIGURE] < (1 - self._gate) * best.metrics[FIGURE] else None

    def _take_back(self, record: ReleaseRecord, to: int, reason: Rollback) -> None:
        logger.warning("release %d is taken back for %d: %s", record.version, to, reason)
        self._roll_back(to, reason)
