"""The world's configuration."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum

from fed_vit_autorl.refusal import Refused

from .lidar import LidarSpec
from .rendering import CameraSpec
from .town import TownSpec
from .vehicle import VehicleParameters
from .weather import weather_named


class ConfigReason(StrEnum):
    """Why a configuration was refused."""

    OUT_OF_RANGE = "world_config_out_of_range"


class ConfigRefused(Refused):
    """A configuration that cannot be used; `reason` says why."""


@dataclass(frozen=True)
class EgoConfig:
    """One ego: its `weather` by name and the least length of its route [m]."""

    weather: str = "noon"
    route_length: float = 300.0

    def __post_init__(self) -> None:
        weather_named(self.weather)
        if not 40 <= self.route_length <= 10_000:
            raise ConfigRefused(ConfigReason.OUT_OF_RANGE, f"route_length {self.route_length}: 40 to 10000 m")


@dataclass(frozen=True)
class WorldConfig:
    """`egos` by name; `vehicles`, `pedestrians` and so many more `cyclists` around them; `image` and `scan` switch the
    sensors on.

    `dt` is the step [s]. Raises `ConfigRefused`, `TownRefused`, `WeatherRefused`.
    """

    town: TownSpec = field(default_factory=TownSpec)
    egos: dict[str, EgoConfig] = field(default_factory=lambda: {"vehicle_0": EgoConfig()})
    vehicles: int = 24
    pedestrians: int = 24
    cyclists: int = 0
    camera: CameraSpec = field(default_factory=CameraSpec)
    lidar: LidarSpec = field(default_factory=LidarSpec)
    vehicle: VehicleParameters = field(default_factory=VehicleParameters)
    image: bool = True
    scan: bool = True
    dt: float = 0.05

    def __post_init__(self) -> None:
        checks = {
            "egos: 1 to 50": 1 <= len(self.egos) <= 50,
            "vehicles: 0 to 300": 0 <= self.vehicles <= 300,
            "pedestrians: 0 to 300": 0 <= self.pedestrians <= 300,
            "cyclists: 0 to 100": 0 <= self.cyclists <= 100,
            "dt: 0.01 to 0.2 s": math.isfinite(self.dt) and 0.01 <= self.dt <= 0.2,
            "camera: 16 to 4096 pixels a side": all(16 <= n <= 4096 for n in (self.camera.width, self.camera.height)),
            "lidar: 1 to 128 beams, 8 to 4096 columns": 1 <= self.lidar.beams <= 128
            and 8 <= self.lidar.columns <= 4096,
        }
        for rule, kept in checks.items():
            if not kept:
                raise ConfigRefused(ConfigReason.OUT_OF_RANGE, rule)
