"""Kinds of road users: sizes, SUMO classes and label classes. One table that traffic, scene and truth read."""

from __future__ import annotations

from dataclasses import dataclass

from ..data.classes import CYCLIST, PEDESTRIAN, VEHICLE


@dataclass(frozen=True)
class ActorKind:
    """`length`, `width`, `height` [m] of the bounding box; `label` an index of `OBJECT_CLASSES`; `mass` [kg];
    `max_speed` [m/s]; `sumo_class` its vClass; `share` of the vehicles that are of this kind.
    """

    name: str
    length: float
    width: float
    height: float
    label: int
    mass: float
    max_speed: float
    sumo_class: str
    share: float = 0.0


KINDS: dict[str, ActorKind] = {
    kind.name: kind
    for kind in (
        ActorKind("sedan", 4.6, 1.82, 1.45, VEHICLE, 1500, 40.0, "passenger", 0.34),
        ActorKind("hatchback", 4.0, 1.75, 1.5, VEHICLE, 1200, 40.0, "passenger", 0.22),
        ActorKind("suv", 4.8, 1.95, 1.78, VEHICLE, 2000, 40.0, "passenger", 0.18),
        ActorKind("van", 5.4, 2.0, 2.3, VEHICLE, 2400, 35.0, "delivery", 0.09),
        ActorKind("truck", 7.6, 2.45, 3.2, VEHICLE, 9000, 25.0, "truck", 0.05),
        ActorKind("bus", 10.5, 2.5, 3.1, VEHICLE, 12000, 22.0, "bus", 0.04),
        ActorKind("cyclist", 1.8, 0.6, 1.75, CYCLIST, 90, 5.0, "bicycle", 0.08),
        ActorKind("pedestrian", 0.5, 0.55, 1.75, PEDESTRIAN, 75, 1.4, "pedestrian"),
        ActorKind("debris", 0.8, 0.8, 0.6, VEHICLE, 40, 0.0, "passenger"),
    )
}

VEHICLE_KINDS: tuple[str, ...] = tuple(name for name, kind in KINDS.items() if kind.share)
EGO_KIND = KINDS["sedan"]
