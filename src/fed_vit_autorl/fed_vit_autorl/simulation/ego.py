"""One ego in the world: its motion, its sensors, its progress along its route."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..data.classes import VEHICLE
from ..data.sample import EgoState, Labels
from ..reinforcement.expert import RoadUser, StopLine
from ..reinforcement.route import Pose
from .actors import EGO_KIND, KINDS
from .config import WorldConfig
from .events import Collision, Watch
from .failures import Failure
from .labels import labels_of
from .lidar import Lidar
from .observation import Imu, LightAhead, Observation, Truth
from .rendering import Camera
from .routes import PlannedRoute
from .scenarios import Scenario
from .scene import Scene
from .traffic import RoadUserState
from .vehicle import GRAVITY, Control, VehicleState, step
from .weather import Weather, weather_named

SEEN_M = 120.0
LIGHT_AHEAD_M = 80.0
LIGHT_BEHIND_M = 4.0
GOAL_M = 3.0


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
        self.route: PlannedRoute

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
        self.route = route
        self._progress = self._furthest = 0.0

    def move(self, control: Control, dt: float) -> None:
        """Drives for `dt` seconds."""
        self._control = control
        self.state = step(self.state, control, dt, self._config.vehicle, self.weather.grip)

    @property
    def progress(self) -> float:
        """Metres along the route."""
        return self._progress

    @property
    def pose(self) -> tuple[float, float, float]:
        """x, y [m], yaw [rad] of `base_link`."""
        return self.state.x, self.state.y, self.state.yaw

    def place(self, poses: NDArray[np.float64]) -> None:
        """Takes over where all road users are; the ego itself is not in its own sensors' way."""
        self._poses = poses
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

    def labels(self) -> Labels:
        """Truth of the current picture."""
        if self._camera is None:
            raise RuntimeError("labels need a camera: set `image` in the world's configuration")
        geoms = self._camera.segmentation(self.pose)
        return labels_of(geoms, self._scene, self._camera_model, self.pose, self._poses, self.route, self._progress)

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
        here = self.route.line.project(Pose(x, y, yaw), self._progress)
        self._progress = here.s
        self._furthest = max(self._furthest, here.s)
        collisions = self._watch.collisions(stamp, self.state, others)
        in_junction = bool(self.route.at(self.route.in_junction, here.s))
        width = float(self.route.at(self.route.lane_widths, here.s))
        invasions = self._watch.invasions(stamp, here.lateral, width, in_junction)
        before = self.state
        if collisions:
            self._collided = True
            self._stop(collisions)
        light = self._light(signals)
        runs = self._watch.red_light(stamp, light and (light.id, light.distance), light.state if light else "")
        near = {
            name: _user(kind, other)
            for name, (kind, other) in others.items()
            if np.hypot(other.x - x, other.y - y) < SEEN_M
        }
        lead_gap, lead_speed = self._lead(near)
        truth = Truth(
            users=near,
            stop_line=None
            if light is None
            else StopLine(light.distance, light.state == "red", light.state == "yellow"),
            lateral=here.lateral,
            heading_error=here.heading_error,
            lead_gap=lead_gap,
            lead_speed=lead_speed,
            off_road=self._watch.off_road(self.state),
            collided=self._collided,
        )
        return Observation(
            stamp=stamp,
            image=image,
            camera=self._camera_model,
            points=points,
            base_from_lidar=self._config.lidar.base_from_lidar,
            imu=self._imu(before),
            ego=EgoState(stamp, (x, y, 0.0), yaw, self.state.speed, self.state.yaw_rate, self.state.acceleration),
            control=self._control,
            route=self.route,
            progress=self._progress,
            completion=min(self._furthest / max(self.route.line.length - GOAL_M, 1.0), 1.0),
            light=light,
            speed_limit=float(self.route.at(self.route.speed_limits, here.s)),
            events=(*collisions, *invasions, *runs),
            truth=truth,
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

    def _light(self, signals: list[str]) -> LightAhead | None:
        front = self._progress + EGO_KIND.length - self._config.vehicle.rear_overhang
        for s, signal in self.route.stops:
            if -LIGHT_BEHIND_M < s - front < LIGHT_AHEAD_M:
                x, y = self.route.line.at(np.array(s))
                return LightAhead(signal, signals[signal], float(s - front), float(x), float(y))
        return None

    def _lead(self, users: dict[str, RoadUser]) -> tuple[float, float]:
        if not users:
            return np.inf, 0.0
        front = self._progress + EGO_KIND.length - self._config.vehicle.rear_overhang
        points = np.array([(user.x, user.y) for user in users.values()])
        along, lateral = self.route.line.project_points(points, self._progress, self._progress + 60.0)
        best, speed = np.inf, 0.0
        for user, s, side in zip(users.values(), along, lateral, strict=True):
            toward = np.cos(user.yaw - float(self.route.line.heading(s)))
            half = 0.5 * (user.length if user.class_id == VEHICLE else user.width)
            gap = s - half - front
            reach = 0.5 * (EGO_KIND.width + user.width)
            if abs(side) < reach and s > self._progress + 1.0 and s < self._progress + 59.0 and gap < best:
                best, speed = max(float(gap), 0.0), float(user.speed * toward)
        return best, speed

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
