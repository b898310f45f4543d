"""Parameters of the world node, and the world that they describe."""

from dataclasses import dataclass
from enum import StrEnum

from fed_vit_autorl.simulation.config import EgoConfig, WorldConfig
from fed_vit_autorl.simulation.rendering import CameraSpec
from fed_vit_autorl.simulation.town import TownKind, TownSpec
from fed_vit_common.parameters import Bounds, ParameterRefused, parameter


class WorldReason(StrEnum):
    """Why there is no such world."""

    NO_VEHICLES = "no_vehicles"
    UNKNOWN_TOWN = "unknown_town"


@dataclass(frozen=True)
class WorldParameters:
    """What the world is, how long it runs and how it waits."""

    vehicles: list = parameter(["vehicle_1", "vehicle_2"], "role names of the egos")
    weathers: list = parameter(["noon", "rain_dusk"], "weather of each ego, repeated if there are more egos")
    seed: int = parameter(1, "routes, traffic and noise follow from it", Bounds(0, 1 << 30))
    town: str = parameter("grid", "street plan: grid, spider or random")
    town_seed: int = parameter(3, "the town follows from it", Bounds(0, 1 << 30))
    town_size: int = parameter(4, "streets per side or arms", Bounds(2, 12))
    town_lanes: int = parameter(1, "lanes per direction", Bounds(1, 2))
    route_length: float = parameter(300.0, "least length of a route [m]", Bounds(40, 10_000))
    cars: int = parameter(36, "other vehicles, cyclists included", Bounds(0, 300))
    pedestrians: int = parameter(40, "people on foot", Bounds(0, 300))
    image_width: int = parameter(320, "pixels", Bounds(16, 4096))
    image_height: int = parameter(192, "pixels", Bounds(16, 4096))
    command_timeout: float = parameter(0.5, "longest wait for the control of a frame [s of wall time]", Bounds(0, 60))
    start_timeout: float = parameter(120.0, "longest wait for the first control [s of wall time]", Bounds(0, 3600))
    speed: float = parameter(1.0, "at most this many times real time; 0 for no limit", Bounds(0, 100))
    out_of_phase: bool = parameter(
        False, "vehicles' sensors look one after another within a frame's time, not all at once"
    )
    next_route: bool = parameter(True, "an ego that is at its goal is given another route; if not it stays there")
    duration: float = parameter(0.0, "end after so much simulated time [s]; 0 to go on until stopped", Bounds(0, 1e6))
    stop_at_goal: bool = parameter(False, "end when every ego has completed a route")
    truth: str = parameter("", "folder for events, summary and labelled samples; empty for none")
    truth_period: float = parameter(
        0.0, "a labelled sample every so much simulated time [s]; 0 for none", Bounds(0, 60)
    )

    def config(self) -> WorldConfig:
        """The world; raises `Refused` for what cannot be."""
        if not self.vehicles or not self.weathers:
            raise ParameterRefused(WorldReason.NO_VEHICLES, "vehicles and weathers need at least one entry each")
        if self.town not in list(TownKind):
            raise ParameterRefused(WorldReason.UNKNOWN_TOWN, f"{self.town!r}; there are: {', '.join(TownKind)}")
        egos = {
            role: EgoConfig(self.weathers[number % len(self.weathers)], self.route_length)
            for number, role in enumerate(self.vehicles)
        }
        return WorldConfig(
            town=TownSpec(TownKind(self.town), self.town_seed, self.town_size, lanes=self.town_lanes),
            egos=egos,
            vehicles=self.cars,
            pedestrians=self.pedestrians,
            camera=CameraSpec(self.image_width, self.image_height),
        )
