"""What the page shows, as plain JSON."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING

from fed_vit_autorl.federated.cloud.records import Phase
from fed_vit_autorl.federated.drift import relative_drop

if TYPE_CHECKING:
    from fed_vit_aggregator.service import AggregatorService

SHOWN_ROUNDS = 50
SHOWN_VEHICLES = 500


def fleet_state(service: AggregatorService) -> dict:
    """Run, vehicles (the first few; all of them in numbers), rounds, releases and refusals."""
    store, federation = service.store, service.config.federation
    online, vehicles = set(service.online()), store.vehicles()
    privacy = service.engine.privacy
    rounds = store.rounds(federation.run, SHOWN_ROUNDS)
    refused: Counter[str] = Counter()
    by_vehicle: Counter[str] = Counter()
    for (vehicle, reason), count in store.refusals().items():
        refused[reason] += count
        by_vehicle[vehicle] += count
    return {
        "region": federation.region,
        "run": federation.run,
        "paused": service.engine.paused,
        "finished": service.engine.finished,
        "num_rounds": federation.num_rounds,
        "broker": service.link.connected.is_set(),
        "vehicles": [
            asdict(vehicle) | {"online": vehicle.name in online, "refused": by_vehicle[vehicle.name]}
            for vehicle in vehicles[:SHOWN_VEHICLES]
        ],
        "fleet": {
            "known": len(vehicles),
            "online": len(online),
            "by_release": dict(Counter(str(vehicle.release) for vehicle in vehicles)),
        },
        "rounds": [
            {
                "number": r.number,
                "phase": r.phase,
                "base": r.base,
                "selected": len(r.selected),
                "updates": len(store.senders(r.run, r.number)) if r.phase is Phase.OPEN else len(r.participants),
                "seconds": r.ended - r.opened if r.ended else None,
                "release": r.release,
                "reason": r.reason,
                "metrics": r.metrics,
            }
            for r in rounds
        ],
        "releases": [
            asdict(release) | {"reason": service.releases.reason(release.version)} for release in store.releases()
        ],
        "canary": _canary(service),
        "refused": dict(refused),
        "privacy": {"spent": privacy[0], "budget": privacy[1]} if privacy else None,
    }


def _canary(service: AggregatorService) -> dict | None:
    """The release that a part of the fleet tries, and what it found."""
    offer = service.releases.canary
    if offer is None:
        return None
    reports = service.rollout.reports(offer.version)
    takers = [vehicle.name for vehicle in service.store.vehicles() if offer.takes(vehicle.name)]
    return {
        "version": offer.version,
        "vehicles": len(takers),
        "reports": len(reports),
        "lost": relative_drop(reports) if reports else None,
    }
