"""Regions below one global model."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence

from .refusal import AggregationReason, AggregationRefused
from .registry import Registry
from .strategies import STRATEGIES, Strategy
from .update import Tensors, Update, UpdateMetadata


def regional_update(strategy: Strategy, region: str, model: Tensors, round_number: int, version: int) -> Update:
    """What a region sends up: its new model minus the global one."""
    tensors = {name: tensor - model[name] for name, tensor in strategy.finish().items()}
    return Update(tensors, UpdateMetadata(round_number, version, region, 0))


class FleetManager:
    """Aggregates vehicles by region, then regions into the global model.

    With means on both levels the result is the flat weighted mean. With a robust `regional` strategy an attacker has
    to win a region; with a robust `overall` one, regions that lie are outvoted and vehicles' updates may stay masked.
    `regions`: names, over which vehicles are spread by name, or a table of vehicle to region.
    """

    def __init__(
        self,
        num_vehicles: int = 1000,
        regions: Sequence[str] | Mapping[str, str] = ("north", "south", "east", "west"),
        regional: str | Mapping[str, object] = "fedavg",
        overall: str | Mapping[str, object] = "fedavg",
        registry: Registry[Strategy] = STRATEGIES,
    ) -> None:
        if num_vehicles < 1 or not regions:
            raise ValueError("a fleet has at least one vehicle and one region")
        self.num_vehicles = num_vehicles
        self._assigned = dict(regions) if isinstance(regions, Mapping) else {}
        self.regions = sorted(set(self._assigned.values())) if self._assigned else list(regions)
        self._regional = {region: registry.build(regional) for region in self.regions}
        self._overall = registry.build(overall)

    def region_of(self, vehicle: str) -> str:
        """Region of `vehicle`; raises KeyError for one that the table does not have."""
        if self._assigned:
            return self._assigned[vehicle]
        return self.regions[zlib.crc32(vehicle.encode()) % len(self.regions)]

    def begin(self, model: Tensors, round_number: int, version: int = 0) -> None:
        self._model, self._round, self._version = model, round_number, version
        self._weights = dict.fromkeys(self.regions, 0.0)
        self._vehicles: set[str] = set()
        for strategy in self._regional.values():
            strategy.begin(model, round_number)

    def add(self, update: Update, weight: float) -> None:
        """One vehicle's update into its region; raises `AggregationRefused`."""
        vehicle = update.metadata.vehicle
        if vehicle in self._vehicles:
            raise AggregationRefused(AggregationReason.DUPLICATE, f"{vehicle} has been counted in this round")
        if len(self._vehicles) == self.num_vehicles:
            raise AggregationRefused(AggregationReason.TOO_MANY_UPDATES, f"more than {self.num_vehicles} vehicles")
        region = self.region_of(vehicle)
        self._regional[region].add(update, weight)
        self._weights[region] += weight
        self._vehicles.add(vehicle)

    def finish(self) -> Tensors:
        """The new global model; a region without updates is left out."""
        self._overall.begin(self._model, self._round)
        for region, weight in self._weights.items():
            if weight > 0:
                strategy = self._regional[region]
                update = regional_update(strategy, region, self._model, self._round, self._version)
                self._overall.add(update, weight)
        return self._overall.finish()
