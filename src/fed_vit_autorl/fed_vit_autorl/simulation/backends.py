"""What can be behind an environment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Protocol

from ..refusal import Refused
from .carla_world import CarlaWorld
from .config import EgoConfig, WorldConfig
from .observation import Observation
from .scenarios import Scenario
from .town import TownKind, TownSpec, build_town, polyline_length
from .vehicle import Control
from .world import World

PLACE_M = 25.0
MAX_TRAFFIC = 300
PEOPLE_PER_VEHICLE = 0.5


class Backend(Protocol):
    """The interface of a world; `World` is the reference."""

    config: WorldConfig
    dt: float

    def reset(self, seed: int, scenarios: Mapping[str, Scenario] | None = None) -> dict[str, Observation]:
        """A new run."""

    def step(self, controls: Mapping[str, Control]) -> dict[str, Observation]:
        """One step of `dt`."""

    def close(self) -> None:
        """Frees everything."""


class BackendReason(StrEnum):
    """Why there is no such world."""

    UNKNOWN_BACKEND = "unknown_backend"
    UNKNOWN_TOWN = "unknown_town"
    UNKNOWN_WEATHER = "unknown_carla_weather"
    DENSITY = "traffic_density_out_of_range"


class BackendRefused(Refused):
    """A world that does not exist; `reason` says why."""


STAND_INS: dict[str, TownSpec] = {
    "Town01": TownSpec(TownKind.GRID, seed=1, size=4, block_m=110, speed_limit=8.33),
    "Town02": TownSpec(TownKind.GRID, seed=2, size=3, block_m=80, speed_limit=8.33),
    "Town03": TownSpec(TownKind.SPIDER, seed=3, size=6, block_m=120, lanes=2),
    "Town04": TownSpec(TownKind.SPIDER, seed=4, size=8, block_m=180, lanes=2, speed_limit=16.67),
    "Town05": TownSpec(TownKind.GRID, seed=5, size=5, block_m=120, lanes=2, speed_limit=13.89),
    "Town06": TownSpec(TownKind.RANDOM, seed=6, size=4, block_m=180, lanes=2, speed_limit=16.67),
    "Town07": TownSpec(TownKind.RANDOM, seed=7, size=5, block_m=100, speed_limit=8.33),
    "Town10HD": TownSpec(TownKind.GRID, seed=10, size=4, block_m=90, lanes=2, speed_limit=8.33),
}
"""Generated towns of the same character in the place of CARLA's maps, which the embedded world does not have."""

WEATHER_OF_CARLA: dict[str, str] = {
    "Default": "noon",
    **dict.fromkeys(("ClearNoon", "CloudyNoon", "WetNoon", "WetCloudyNoon"), "noon"),
    **dict.fromkeys(("ClearSunset", "CloudySunset", "WetSunset", "WetCloudySunset"), "dusk"),
    **dict.fromkeys(("SoftRainNoon", "MidRainyNoon", "HardRainNoon"), "rain"),
    **dict.fromkeys(("SoftRainSunset", "MidRainSunset", "HardRainSunset"), "rain_dusk"),
    **dict.fromkeys(("ClearNight", "CloudyNight", "WetNight", "WetCloudyNight"), "night"),
    **dict.fromkeys(("SoftRainNight", "MidRainyNight", "HardRainNight"), "night"),
    "DustStorm": "fog",
}
"""CARLA's weather presets as this world's."""


def embedded(vehicles: list[str], town: str, weather: str, traffic_density: float, sensors: tuple[str, ...]) -> Backend:
    """A `World` that stands in for CARLA's town."""
    spec = _known(STAND_INS, town, BackendReason.UNKNOWN_TOWN)
    light = _known(WEATHER_OF_CARLA, weather, BackendReason.UNKNOWN_WEATHER)
    if not 0.0 <= traffic_density <= 1.0:
        raise BackendRefused(BackendReason.DENSITY, f"{traffic_density}: 0 to 1")
    lanes_m = sum(polyline_length(lane.line) for lane in build_town(spec).lanes.values())
    cars = min(round(traffic_density * lanes_m / PLACE_M), MAX_TRAFFIC)
    return World(
        WorldConfig(
            town=spec,
            egos={name: EgoConfig(light) for name in vehicles},
            vehicles=cars,
            pedestrians=round(PEOPLE_PER_VEHICLE * cars),
            image="image" in sensors,
            scan="lidar" in sensors,
        )
    )


BACKENDS: dict[str, Callable[[list[str], str, str, float, tuple[str, ...]], Backend]] = {
    "embedded": embedded,
    "carla": CarlaWorld,
}


def backend_named(name: str) -> Callable[[list[str], str, str, float, tuple[str, ...]], Backend]:
    """The backend of that name; raises `BackendRefused`."""
    return _known(BACKENDS, name, BackendReason.UNKNOWN_BACKEND)


def _known(table: Mapping[str, object], name: str, reason: BackendReason):
    if name not in table:
        raise BackendRefused(reason, f"{name!r}; there are: {', '.join(table)}")
    return table[name]
