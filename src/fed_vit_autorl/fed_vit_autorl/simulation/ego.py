"""One ego in the world: its motion, its sensors, its progress along its route."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..data.sample import EgoState, Labels
from ..reinforcement.expert import RoadUser
from .actors import KINDS
from .config import WorldConfig
from .events import Collision, Watch
from .failures import Failure
from .guide import RouteGuide
from .labels import ObjectTruth, labels_of, visible_objects
from .lidar import Lidar
from .observation import Imu, Observation
from .rendering import Camera
from .routes import PlannedRoute
from .scenarios import Scenario
from .scene import Scene
from .traffic import RoadUserState
from .vehicle import GRAVITY, Control, VehicleState, step
from .weather import Weather, weather_named

SEEN_M = 120.0


class Ego:
    """State and sensors of the ego in slot number `slot` of the scene."""

    def __init__(self, name: str, config: WorldConfig, scene: Scene, slot: int):
        self.name = name
        self._own_weather = weather_named(config.egos[name].weather)
        self._config = config
        self._scene = scene
        self._slot = slot
        self._camera: Camera | None = None
        self._camera_model = config.camera.model
        self._live_in(self._own_weather)
        self.state = VehicleState()

    def close(self) -> None:
        """Frees the graphics context."""
        if self._camera:
            self._camera.close()

    def start(self, route: PlannedRoute, seed: list[int], scenario: Scenario | None) -> None:
        """Stands at the start of `route`, in the weather and with the sensor failure of `scenario`, if there is one."""
        self.follow(route)
        self._live_in(weather_named(scenario.weather) if scenario and scenario.weather else self._own_weather)
        fails = scenario and scenario.failure
        self._failure = Failure(fails, scenario.begins, scenario.begins + scenario.seconds) if fails else None
        self.state = VehicleState(*route.points[0], route.start_yaw)
        self._camera_noise, self._lidar_noise, self._imu_noise = (
            np.random.default_rng([*seed, sensor]) for sensor in range(3)
        )
        self._watch = Watch(self._scene)
        self._control = Control()
        self._collided = False

    def _live_in(self, weather: Weather) -> None:
        self.weather = weather
        self._lidar = Lidar(self._scene.solids, self._config.lidar, weather, self._slot)
        if self._config.image and (self._camera is None or self._camera.weather is not weather):
            self.close()
            self._camera = Camera(self._scene, self._config.camera, weather)

    def follow(self, route: PlannedRoute) -> None:
        """Takes up a route at its beginning."""
        self._guide = RouteGuide(route)

    def move(self, control: Control, dt: float) -> None:
        """Drives for `dt` seconds."""
        self._control = control
        self.state = step(self.state, control, dt, self._config.vehicle, self.weather.grip)

    @property
    def progress(self) -> float:
        """Metres along the route."""
        return self._guide.here.s

    @property
    def route(self) -> PlannedRoute:
        """What it drives."""
        return self._guide.route

    @property
    def pose(self) -> tuple[float, float, float]:
        """x, y [m], yaw [rad] of `base_link`."""
        return self.state.x, self.state.y, self.state.yaw

    def place(self, poses: NDArray[np.float64], speeds: NDArray[np.float64]) -> None:
        """Takes over where all road users are and how fast; the ego itself is not in its own sensors' way."""
        self._poses, self._speeds = poses, speeds
        if self._camera:
            self._camera.place(poses, hidden=self._slot)

    def image(self) -> NDArray[np.uint8]:
        """The camera's picture."""
        return self._camera.image(self.pose, self._camera_noise)

    def render(self) -> NDArray[np.uint8]:
        """The picture before rain and noise."""
        return self._camera.render(self.pose)

    def scan(self) -> NDArray[np.float32]:
        """The LiDAR's returns."""
        return self._lidar.scan(self.pose, self._poses, self._lidar_noise)

    def truth_of_picture(self) -> tuple[Labels, list[ObjectTruth]]:
        """Labels of the current picture, and every road user in it with its 3D box."""
        if self._camera is None:
            raise RuntimeError("labels need a camera: set `image` in the world's configuration")
        scene, camera = self._scene, self._camera_model
        geoms = self._camera.segmentation(self.pose)
        objects = visible_objects(geoms, scene, camera, self.pose, self._poses)
        progress = self.progress
        return labels_of(
            geoms, objects, scene, camera, self.pose, self.route, progress, self._speeds, self.state
        ), objects

    def observe(
        self,
        stamp: float,
        others: dict[str, tuple[str, RoadUserState]],
        signals: list[str],
        image: NDArray[np.uint8] | None,
        points: NDArray[np.float32] | None,
    ) -> Observation:
        """The observation after a step, with its events; a collision stops the ego."""
        if self._failure:
            image, points = self._failure.apply(stamp, image, points)
        x, y, yaw = self.pose
        guide, before = self._guide, self.state
        guide.move_to(x, y, yaw)
        light = guide.light(signals)
        collisions = self._watch.collisions(stamp, before, others)
        invasions = self._watch.invasions(stamp, guide.here.lateral, guide.lane_width, guide.in_junction)
        runs = self._watch.red_light(stamp, light and (light.id, light.distance), light.state if light else "")
        if collisions:
            self._collided = True
            self._stop(collisions)
        near = {
            name: _user(kind, other)
            for name, (kind, other) in others.items()
            if np.hypot(other.x - x, other.y - y) < SEEN_M
        }
        return Observation(
            stamp=stamp,
            image=image,
            camera=self._camera_model,
            points=points,
            base_from_lidar=self._config.lidar.base_from_lidar,
            imu=self._imu(before),
            ego=EgoState(stamp, (x, y, 0.0), yaw, self.state.speed, self.state.yaw_rate, self.state.acceleration),
            control=self._control,
            route=guide.route,
            progress=guide.here.s,
            completion=guide.completion,
            light=light,
            speed_limit=guide.speed_limit,
            events=(*collisions, *invasions, *runs),
            truth=guide.truth(near, light, self._watch.off_road(self.state), self._collided),
            weather=self.weather.name,
        )

    def _stop(self, collisions: list[Collision]) -> None:
        """A heavy obstacle in front takes all speed, a light one what its mass takes (plastic collision)."""
        ahead = [c for c in collisions if abs(c.bearing) < np.pi / 2]
        if ahead:
            lost = max(np.hypot(*c.impulse[:2]) / self._config.vehicle.mass for c in ahead)
            self.state = replace(
                self.state, speed=max(self.state.speed - lost, 0.0), lateral_speed=0.0, yaw_rate=0.0, acceleration=0.0
            )

    def _imu(self, state: VehicleState) -> Imu:
        noise = self._imu_noise.standard_normal(6)
        along, across = state.acceleration, state.speed * state.yaw_rate
        return Imu(
            (along + 0.05 * noise[0], across + 0.05 * noise[1], GRAVITY + 0.05 * noise[2]),
            (0.002 * noise[3], 0.002 * noise[4], state.yaw_rate + 0.002 * noise[5]),
        )


def _user(kind: str, state: RoadUserState) -> RoadUser:
    shape = KINDS[kind]
    return RoadUser(state.x, state.y, state.yaw, state.speed, shape.length, shape.width, shape.label)
