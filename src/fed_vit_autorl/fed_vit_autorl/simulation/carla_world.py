"""A CARLA server behind the world's interface: synchronous, one tick a step.

Needs the client (`pip install carla==0.9.16`) and a running server of the same version. No server could be run where
this was written: conversions and routes are tested with the client's own types, the rest against a double.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import numpy as np

from . import carla_frames as frames
from .carla_ego import CarlaEgo, CarlaReason, CarlaRefused
from .carla_routes import plan
from .config import EgoConfig, WorldConfig
from .guide import RouteGuide
from .lidar import LidarSpec
from .observation import Observation
from .rendering import CameraSpec
from .scenarios import Scenario
from .vehicle import FULL_BRAKE, Control

HOST, PORT, TRAFFIC_PORT = "localhost", 2000, 8000
CONNECT_S = 30.0
BLUEPRINT = "vehicle.lincoln.mkz_2020"
KMH = 1 / 3.6


class CarlaWorld:
    """Egos in `town` under CARLA's `weather`, traffic on the share `traffic_density` of its spawn points.

    The weather is the whole town's. Raises `CarlaRefused`.
    """

    def __init__(self, vehicles: list[str], town: str, weather: str, traffic_density: float, sensors: tuple[str, ...]):
        try:
            self._carla = import_module("carla")
        except ImportError as error:
            raise CarlaRefused(CarlaReason.CLIENT_MISSING, "pip install carla==0.9.16") from error
        # The body would hide a camera where the embedded world has it, so they sit on the bonnet and the roof.
        self.config = WorldConfig(
            egos={name: EgoConfig() for name in vehicles},
            camera=CameraSpec(x=2.9),
            lidar=LidarSpec(x=1.35, z=2.2),
            image="image" in sensors,
            scan="lidar" in sensors,
        )
        self.dt = self.config.dt
        self._weather, self._density = weather, traffic_density
        client = self._carla.Client(HOST, PORT)
        client.set_timeout(CONNECT_S)
        try:
            self._world = client.load_world(town)
        except RuntimeError as error:
            raise CarlaRefused(CarlaReason.SERVER_SILENT, f"{HOST}:{PORT}: {error}") from error
        self._traffic = client.get_trafficmanager(TRAFFIC_PORT)
        self._actors: list[Any] = []
        self._egos: dict[str, CarlaEgo] = {}
        self._synchronous(True)

    def reset(self, seed: int, scenarios: Mapping[str, Scenario] | None = None) -> dict[str, Observation]:
        """A new run: spawn points, routes and traffic follow from `seed`."""
        if scenarios:
            raise CarlaRefused(CarlaReason.NO_SCENARIOS, "use backend 'embedded' for scenarios")
        self._clear()
        rng = np.random.default_rng(seed)
        self._world.set_weather(getattr(self._carla.WeatherParameters, self._weather))
        self._traffic.set_random_device_seed(seed)
        places = list(rng.permutation(np.array(self._world.get_map().get_spawn_points(), object)))
        lights = list(self._world.get_actors().filter("traffic.traffic_light*"))
        for name in self.config.egos:
            self._egos[name] = self._spawn_ego(name, places, lights, rng)
        cars = list(self._world.get_blueprint_library().filter("vehicle.*"))
        for place in places[: round(self._density * len(places))]:
            car = self._world.try_spawn_actor(cars[int(rng.integers(len(cars)))], place)
            if car is not None:
                car.set_autopilot(True, TRAFFIC_PORT)
                self._actors.append(car)
        self.stamp, self._start = 0.0, None
        return self._tick()

    def step(self, controls: Mapping[str, Control]) -> dict[str, Observation]:
        """Applies one control per ego and ticks; an ego without one brakes fully."""
        for name, ego in self._egos.items():
            ego.apply(controls.get(name, FULL_BRAKE))
        return self._tick()

    def close(self) -> None:
        """Destroys what was spawned and lets the server run freely again."""
        self._clear()
        self._synchronous(False)

    def _tick(self) -> dict[str, Observation]:
        frame = self._world.tick()
        elapsed = self._world.get_snapshot().timestamp.elapsed_seconds
        self._start = elapsed if self._start is None else self._start
        self.stamp = elapsed - self._start
        signals = {
            light.id: frames.LIGHT_NAMES[str(light.state).rsplit(".", 1)[-1]]
            for light in self._world.get_actors().filter("traffic.traffic_light*")
        }
        users = [*self._world.get_actors().filter("vehicle.*"), *self._world.get_actors().filter("walker.*")]
        truths = {actor.id: (actor, frames.road_user(actor)) for actor in users}
        return {name: ego.observe(self.stamp, frame, truths, signals) for name, ego in self._egos.items()}

    def _spawn_ego(self, name: str, places: list[Any], lights: list[Any], rng: np.random.Generator) -> CarlaEgo:
        blueprint = self._world.get_blueprint_library().find(BLUEPRINT)
        blueprint.set_attribute("role_name", name)
        while places:
            place = places.pop()
            actor = self._world.try_spawn_actor(blueprint, place)
            if actor is None:
                continue
            self._actors.append(actor)
            start = self._world.get_map().get_waypoint(place.location)
            limit = max(actor.get_speed_limit(), 30.0) * KMH
            route = plan(start, self.config.egos[name].route_length, lights, limit, rng)
            ego = CarlaEgo(self._carla, self._world, actor, RouteGuide(route), self.config, self._weather)
            self._actors += ego.sensors
            return ego
        raise CarlaRefused(CarlaReason.NO_ROOM, f"for {name}: fewer vehicles, or a larger town")

    def _clear(self) -> None:
        for actor in reversed(self._actors):
            actor.destroy()
        self._actors.clear()
        self._egos.clear()

    def _synchronous(self, on: bool) -> None:
        settings = self._world.get_settings()
        settings.synchronous_mode, settings.fixed_delta_seconds = on, self.dt if on else None
        self._world.apply_settings(settings)
        self._traffic.set_synchronous_mode(on)
