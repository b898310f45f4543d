"""`World`: egos in simulated traffic with cameras and LiDARs, in lockstep."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from ..data.sample import Labels
from .config import WorldConfig
from .ego import Ego
from .events import STATIC, ego_centre
from .labels import ObjectTruth
from .observation import Observation
from .routes import PlannedRoute, plan_route
from .scenarios import Scenario
from .scene import Scene
from .slots import slots_for
from .stage import Stage
from .town import build_town
from .traffic import RoadUserState, Traffic, centres, kinds_of_traffic
from .vehicle import FULL_BRAKE, Control


class World:
    """A town with traffic and the egos of `config`.

    `reset(seed)` starts a run, `step(controls)` advances it by `config.dt`; the same configuration, seed and controls
    give the same run. There may be one World per process, because libsumo holds one simulation (`TrafficRefused`).
    Use it as a context manager, or call `close`. `stamp` is the simulated time [s], `signals` the state ("red",
    "yellow", "green") of each of `town.signals`.
    """

    def __init__(self, config: WorldConfig):
        self.config = config
        self.dt = config.dt
        self.town = build_town(config.town)
        rng = np.random.default_rng([config.town.seed, 2])
        kinds = kinds_of_traffic(config.vehicles, config.pedestrians, config.cyclists, rng)
        self.stage = Stage(config.egos)
        slots = slots_for(kinds + ["sedan"] * len(config.egos) + self.stage.kinds, rng)
        self.scene = Scene(self.town, slots)
        self.traffic = Traffic(self.town, self.scene.ground, kinds, config.dt)
        self.egos = {
            name: Ego(name, config, self.scene, len(kinds) + number) for number, name in enumerate(config.egos)
        }
        self.stamp = 0.0
        self.signals: list[str] = []
        self._pool = ThreadPoolExecutor(1, "lidar")

    def __enter__(self) -> World:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Frees graphics, threads and SUMO."""
        self._pool.shutdown()
        for ego in self.egos.values():
            ego.close()
        self.traffic.close()

    def reset(self, seed: int, scenarios: Mapping[str, Scenario] | None = None) -> dict[str, Observation]:
        """A new run: routes, traffic and noise all follow from `seed`; `scenarios` by ego make it difficult."""
        scenarios = scenarios or {}
        self._rng = np.random.default_rng([seed, 3])
        self.stamp = 0.0
        self._frame = 0
        for number, (name, route) in enumerate(self._routes(self._rng).items()):
            self.egos[name].start(route, [seed, 4, number], scenarios.get(name))
        routes = {name: ego.route for name, ego in self.egos.items()}
        self.traffic.reset(seed, routes)
        self.stage.reset(routes, scenarios)
        self._look_around()
        return self._observe()

    def step(self, controls: Mapping[str, Control]) -> dict[str, Observation]:
        """Applies one control per ego for `dt` seconds; an ego without one brakes fully."""
        for name, ego in self.egos.items():
            ego.move(controls.get(name, FULL_BRAKE), self.dt)
        self.traffic.step({name: ego.pose for name, ego in self.egos.items()})
        self._look_around()
        self._frame += 1
        self.stamp = round(self._frame * self.dt, 9)
        return self._observe()

    def continue_from(self, vehicle: str) -> PlannedRoute:
        """Gives an ego at the end of its route another one that begins there; the next observation tells of it."""
        ego = self.egos[vehicle]
        length = self.config.egos[vehicle].route_length
        route = plan_route(self.town, length, self._rng, ego.route.last_lane, ego.pose[:2])
        ego.follow(route)
        self.traffic.reroute(vehicle, route)
        return route

    def actor_id(self, name: str) -> int:
        """A number for a road user's name: egos from 1, scenarios' actors from 100, traffic from 1000, 0: static."""
        if name == STATIC:
            return 0
        if name in self.egos:
            return list(self.egos).index(name) + 1
        actors = list(self.stage.users())
        return 100 + actors.index(name) if name in actors else 1000 + self.traffic.number_of(name)

    def labels(self, vehicle: str) -> Labels:
        """What is truly in that ego's current image. For evaluation only: it costs a second rendering."""
        return self.egos[vehicle].truth_of_picture()[0]

    def objects(self, vehicle: str) -> list[ObjectTruth]:
        """Road users of which that ego's current image shows a pixel, with 3D boxes. For evaluation only."""
        return self.egos[vehicle].truth_of_picture()[1]

    def _routes(self, rng: np.random.Generator) -> dict[str, PlannedRoute]:
        """A route per ego; no two start within 15 m of each other."""
        routes: dict[str, PlannedRoute] = {}
        for name, ego in self.config.egos.items():
            for _ in range(50):
                route = plan_route(self.town, ego.route_length, rng)
                gaps = [np.linalg.norm(route.points[0] - other.points[0]) for other in routes.values()]
                if min(gaps, default=np.inf) > 15.0:
                    break
            routes[name] = route
        return routes

    def _look_around(self) -> None:
        """Finds where everybody is and lets the actors of scenarios act."""
        states = self.traffic.states()
        self._users = {
            self.traffic.name_of(number): (self.traffic.kinds[number], state)
            for number, state in enumerate(states)
            if state is not None
        }
        for name, ego in self.egos.items():
            self._users[name] = ("sedan", RoadUserState(*ego_centre(ego.state), 0.0, ego.state.yaw, ego.state.speed))
        others = np.array([(user.x, user.y) for _, user in self._users.values()])
        self.stage.step(self.dt, {name: (ego.progress, ego.state.speed) for name, ego in self.egos.items()}, others)
        self._users |= self.stage.users()
        egos = [(*ego_centre(ego.state), 0.0, ego.state.yaw) for ego in self.egos.values()]
        poses = np.vstack([centres(states), egos, self.stage.poses()])
        before = poses if self._frame == 0 else self._poses
        self._poses, self._speeds = poses, np.hypot(*(poses - before)[:, :2].T) / self.dt

    def _observe(self) -> dict[str, Observation]:
        signals = self.signals = self.traffic.signals()
        self.scene.show_signals(signals)
        for ego in self.egos.values():
            ego.place(self._poses, self._speeds)
        scans = {name: self._pool.submit(ego.scan) for name, ego in self.egos.items()} if self.config.scan else {}
        images = {name: ego.image() for name, ego in self.egos.items()} if self.config.image else {}
        return {
            name: ego.observe(
                self.stamp,
                {other: user for other, user in self._users.items() if other != name},
                signals,
                images.get(name),
                scans[name].result() if scans else None,
            )
            for name, ego in self.egos.items()
        }
