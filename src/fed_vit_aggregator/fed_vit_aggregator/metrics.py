"""Prometheus metrics, read from the durable state when they are asked for."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from fed_vit_autorl.federated.cloud.records import Phase

if TYPE_CHECKING:
    from fed_vit_aggregator.service import AggregatorService


class FleetCollector(Collector):
    """Names begin with `fedvit_`."""

    def __init__(self, service: AggregatorService) -> None:
        self._service = service

    def collect(self) -> Iterable[Metric]:
        service = self._service
        store, run = service.store, service.config.federation.run
        rounds, releases = store.rounds(run), store.releases()
        ended = [r for r in rounds if r.phase.ended]
        yield GaugeMetricFamily("fedvit_broker_connected", "1 while connected", value=service.link.connected.is_set())
        yield GaugeMetricFamily("fedvit_vehicles_online", "Vehicles heard of lately", value=len(service.online()))
        yield GaugeMetricFamily("fedvit_round", "Number of the latest round", value=rounds[-1].number if rounds else 0)
        phases = CounterMetricFamily("fedvit_rounds", "Ended rounds by outcome", labels=["outcome"])
        for phase, count in Counter(r.phase for r in ended).items():
            phases.add_metric([phase], count)
        yield phases
        if ended:
            last = ended[-1]
            yield GaugeMetricFamily(
                "fedvit_round_seconds", "Duration of the last ended round", value=last.ended - last.opened
            )
            if last.phase is not Phase.ABANDONED:
                share = len(last.participants) / len(last.selected)
                yield GaugeMetricFamily("fedvit_participation", "Share of the selected that took part", value=share)
        accepted = sum(len(r.participants) for r in ended)
        if rounds and not rounds[-1].phase.ended:
            accepted += len(store.senders(run, rounds[-1].number))
        yield CounterMetricFamily("fedvit_updates_accepted", "Updates accepted", value=accepted)
        refused = CounterMetricFamily("fedvit_refused", "Messages and updates refused, by reason", labels=["reason"])
        reasons: Counter[str] = Counter()
        for (_, reason), count in store.refusals().items():
            reasons[reason] += count
        for reason, count in reasons.items():
            refused.add_metric([reason], count)
        yield refused
        yield CounterMetricFamily("fedvit_messages_dropped", "Messages dropped by a full queue", value=service.dropped)
        if releases:
            yield GaugeMetricFamily("fedvit_release", "Version of the release in force", value=releases[-1].version)
            figures = GaugeMetricFamily("fedvit_release_figure", "Figures of the release in force", labels=["figure"])
            for name, value in releases[-1].metrics.items():
                figures.add_metric([name], value)
            yield figures
            rollbacks = CounterMetricFamily("fedvit_rollbacks", "Releases taken back, by reason", labels=["reason"])
            for reason, count in Counter(service.releases.reason(r.version) for r in releases).items():
                if reason:
                    rollbacks.add_metric([reason], count)
            yield rollbacks
        canary = service.releases.canary
        yield GaugeMetricFamily(
            "fedvit_canary", "Version that a canary tries, 0 for none", canary.version if canary else 0
        )
        expiries = GaugeMetricFamily(
            "fedvit_metadata_expires_seconds", "Time until release metadata is refused", labels=["role"]
        )
        for role, expires in service.keys.repository.expiries().items():
            expiries.add_metric([role], expires.timestamp() - time.time())
        yield expiries
        if service.engine.privacy:
            spent, budget = service.engine.privacy
            yield GaugeMetricFamily("fedvit_privacy_spent", "Epsilon spent", value=spent)
            yield GaugeMetricFamily("fedvit_privacy_budget", "Epsilon that may be spent", value=budget)
        yield GaugeMetricFamily("fedvit_disk_free_bytes", "Free disk", value=shutil.disk_usage(store.folder).free)


def registry(service: AggregatorService) -> CollectorRegistry:
    """A registry with the fleet's metrics only."""
    own = CollectorRegistry()
    own.register(FleetCollector(service))
    return own
