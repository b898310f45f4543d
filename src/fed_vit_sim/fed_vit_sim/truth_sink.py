"""Writes down what truly happened in the embedded world, for evaluation only."""

from pathlib import Path

import msgspec

from fed_vit_autorl.data.sample import Sample
from fed_vit_autorl.data.store import ExperienceStore
from fed_vit_autorl.simulation.events import Collision, Event, LaneInvasion, RedLightRun
from fed_vit_autorl.simulation.observation import Observation
from fed_vit_autorl.simulation.world import World


class VehicleSummary(msgspec.Struct):
    """One vehicle's run: `route_completion` of its first route in [0, 1], `routes_completed`, `distance` [m]."""

    frames: int = 0
    timeouts: int = 0
    collisions: int = 0
    at_fault_collisions: int = 0
    lane_invasions: int = 0
    red_lights_run: int = 0
    route_completion: float = 0.0
    routes_completed: int = 0
    distance: float = 0.0
    weather: str = ""


class Summary(msgspec.Struct):
    """The whole run; `simulated_s` against `wall_s` says how fast it was."""

    simulated_s: float = 0.0
    wall_s: float = 0.0
    vehicles: dict[str, VehicleSummary] = {}


class TruthSink:
    """Files in `folder`: `summary.json`, `events.jsonl`, and labelled samples in `samples/<vehicle>`.

    A labelled sample is kept every `period` seconds of simulated time, if the vehicle has moved; 0 keeps none.
    """

    def __init__(self, folder: Path, world: World, period: float) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._world = world
        self._every = max(round(period / world.dt), 1) if period > 0 and world.config.image else 0
        self._events = (folder / "events.jsonl").open("wb")
        self._stores = {name: ExperienceStore(folder / "samples" / name) for name in world.egos} if self._every else {}
        self._last: dict[str, float] = {}

    def frame(self, number: int, name: str, seen: Observation, summary: VehicleSummary) -> None:
        """One vehicle's frame."""
        for event in seen.events:
            self._event(name, event, summary)
        if self._every and number % self._every == 0 and summary.distance - self._last.get(name, -2.0) > 1.0:
            self._last[name] = summary.distance
            self._stores[name].add(self._sample(name, seen))

    def write(self, summary: Summary) -> None:
        """Replaces the summary; a reader finds the old one or the new one, never half of it."""
        temporary = self._folder / "summary.tmp"
        temporary.write_bytes(msgspec.json.format(msgspec.json.encode(summary)))
        temporary.replace(self._folder / "summary.json")

    def close(self, summary: Summary) -> None:
        """Writes the last summary."""
        self._events.close()
        self.write(summary)

    def _event(self, name: str, event: Event, summary: VehicleSummary) -> None:
        collided = isinstance(event, Collision)
        summary.collisions += collided
        summary.at_fault_collisions += collided and event.at_fault
        summary.lane_invasions += isinstance(event, LaneInvasion)
        summary.red_lights_run += isinstance(event, RedLightRun)
        line = {"vehicle": name, "event": type(event).__name__, **vars(event)}
        self._events.write(msgspec.json.encode(line, enc_hook=lambda scalar: scalar.item()) + b"\n")
        self._events.flush()

    def _sample(self, name: str, seen: Observation) -> Sample:
        return Sample(
            image=seen.image,
            camera=seen.camera,
            points=seen.points,
            base_from_lidar=seen.base_from_lidar,
            labels=self._world.labels(name),
            ego=seen.ego,
            stamp=seen.stamp,
            source=name,
            domain=seen.weather,
        )
