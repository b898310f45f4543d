"""Environments for reinforcement learning over a world: many vehicles by name, or one in Gymnasium's interface."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from ..reinforcement.rewards import REWARDS, Moment
from ..reinforcement.route import Pose
from ..reinforcement.vehicle import pedals
from .backends import Backend, backend_named
from .events import Collision, LaneInvasion, RedLightRun
from .observation import Observation
from .vehicle import Control

ROUTE_POINTS, ROUTE_SPACING_M = 20, 2.0
SECTORS = 72
LIDAR_REACH_M = 50.0
OBSTACLE_Z_M = (0.3, 2.5)
LIGHT_REACH_M = 80.0
STATE_SIZE = 6
FULL_ACCELERATION, FULL_DECELERATION = 3.0, 6.0


class CARLAFederatedEnv:
    """A fleet in one town; every argument and result is a dict by vehicle, `vehicle_0` to `vehicle_{n-1}`.

    `town` and `weather` are CARLA's names. `traffic_density` in [0, 1] is the share of places taken, one per 25 m of
    lane. `backend` names one of `backends.BACKENDS`: "embedded" needs no server and takes a generated town in the place
    of CARLA's, "carla" a running one. `reward` names one of `REWARDS`; `sensors` which of "image" and "lidar" are
    observed.

    Actions are (2,): steering in [-1, 1] of full lock, + left, and acceleration in [-1, 1], of 3 m/s² or 6 m/s² down.
    Observations are described by `observation_space`: `state` (6,) speed, yaw rate, acceleration, steering, distance
    left of the route and heading error; `route` (20, 2) [m] in `base_link`, every 2 m; `light` (4,) red, yellow, green,
    nearness in [0, 1]; `image` (H, W, 3); `lidar` (72,) metres to the nearest obstacle per 5°, from behind over the
    right.
    """

    def __init__(
        self,
        num_vehicles: int = 20,
        town: str = "Town05",
        weather: str = "ClearNoon",
        traffic_density: float = 0.3,
        *,
        backend: str = "embedded",
        reward: str = "weighted",
        sensors: tuple[str, ...] = ("image", "lidar"),
        max_seconds: float = 120.0,
    ):
        self.vehicles = [f"vehicle_{i}" for i in range(num_vehicles)]
        self.sensors = sensors
        self._world: Backend = backend_named(backend)(self.vehicles, town, weather, traffic_density, sensors)
        self._reward: Callable[[Moment], float] = REWARDS[reward]()
        self._max_seconds = max_seconds
        self._last: dict[str, Observation] = {}
        self.action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.observation_space = spaces.Dict(self._spaces())

    def reset(
        self, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[dict[str, dict], dict[str, dict]]:
        """Observations and infos of a new run; `options` may hold `scenarios` by vehicle."""
        seed = int(np.random.default_rng().integers(1 << 30)) if seed is None else seed
        self._last = dict(self._world.reset(seed, (options or {}).get("scenarios")))
        return {name: self._observe(seen) for name, seen in self._last.items()}, {name: {} for name in self._last}

    def step(self, actions: Mapping[str, NDArray]) -> tuple[dict, dict, dict, dict, dict]:
        """Observations, rewards, terminated, truncated and infos of the vehicles that were still driving.

        A vehicle without an action brakes. One that has collided, arrived or run out of time is in no later result.
        """
        controls = {name: self._control(name, action) for name, action in actions.items() if name in self._last}
        seen = self._world.step(controls)
        observations, rewards, terminated, truncated, infos = {}, {}, {}, {}, {}
        for name, before in self._last.items():
            now = seen[name]
            moment = self._moment(before, now)
            observations[name], rewards[name] = self._observe(now), self._reward(moment)
            terminated[name] = moment.collided or now.completion >= 1.0
            truncated[name] = not terminated[name] and now.stamp >= self._max_seconds
            infos[name] = {"completion": now.completion, "events": now.events, "moment": moment}
        self._last = {name: seen[name] for name in self._last if not terminated[name] and not truncated[name]}
        return observations, rewards, terminated, truncated, infos

    def close(self) -> None:
        """Ends the world."""
        self._world.close()

    def _spaces(self) -> dict[str, spaces.Space]:
        far = np.float32(np.inf)
        known: dict[str, spaces.Space] = {
            "state": spaces.Box(-far, far, (STATE_SIZE,), np.float32),
            "route": spaces.Box(-far, far, (ROUTE_POINTS, 2), np.float32),
            "light": spaces.Box(0.0, 1.0, (4,), np.float32),
        }
        camera = self._world.config.camera
        if "image" in self.sensors:
            known["image"] = spaces.Box(0, 255, (camera.height, camera.width, 3), np.uint8)
        if "lidar" in self.sensors:
            known["lidar"] = spaces.Box(0.0, LIDAR_REACH_M, (SECTORS,), np.float32)
        return known

    def _control(self, name: str, action: NDArray) -> Control:
        steering, push = np.clip(np.asarray(action, np.float64), -1.0, 1.0)
        vehicle = self._world.config.vehicle
        acceleration = push * (FULL_ACCELERATION if push > 0 else FULL_DECELERATION)
        throttle, brake = pedals(float(acceleration), self._last[name].ego.speed, vehicle)
        return Control(float(steering) * vehicle.max_steering_angle, throttle, brake)

    def _moment(self, before: Observation, now: Observation) -> Moment:
        kinds = {type(event) for event in now.events}
        return Moment(
            progress=now.progress - before.progress,
            route_length=now.route.line.length,
            speed=now.ego.speed,
            speed_limit=now.speed_limit,
            jerk=(now.ego.acceleration - before.ego.acceleration) / self._world.dt,
            collided=Collision in kinds,
            off_lane=LaneInvasion in kinds,
            ran_red=RedLightRun in kinds,
        )

    def _observe(self, seen: Observation) -> dict[str, NDArray]:
        ego = seen.ego
        pose = Pose(*ego.position[:2], ego.yaw)
        here = seen.route.line.project(pose, seen.progress)
        state = (
            ego.speed, ego.yaw_rate, ego.acceleration, seen.control.steering_angle, here.lateral, here.heading_error
        )  # fmt: skip
        observed = {
            "state": np.array(state, np.float32),
            "route": seen.route.line.local(pose, here.s, ROUTE_POINTS, ROUTE_SPACING_M).astype(np.float32),
            "light": _light(seen),
        }
        if "image" in self.sensors:
            observed["image"] = seen.image
        if "lidar" in self.sensors:
            observed["lidar"] = _sectors(seen)
        return observed


class DrivingEnv(gymnasium.Env):
    """One vehicle of `CARLAFederatedEnv` in Gymnasium's interface; takes the same arguments but `num_vehicles`."""

    def __init__(self, **arguments: Any):
        self._fleet = CARLAFederatedEnv(1, **arguments)
        self._name = self._fleet.vehicles[0]
        self.action_space = self._fleet.action_space
        self.observation_space = self._fleet.observation_space

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[dict, dict]:
        """A new run; the same seed is the same run."""
        super().reset(seed=seed)
        chosen = int(self.np_random.integers(1 << 30)) if seed is None else seed
        observations, infos = self._fleet.reset(chosen, options)
        return observations[self._name], infos[self._name]

    def step(self, action: NDArray) -> tuple[dict, float, bool, bool, dict]:
        """One step of `dt`."""
        return tuple(result[self._name] for result in self._fleet.step({self._name: action}))

    def close(self) -> None:
        """Ends the world."""
        self._fleet.close()


def _light(seen: Observation) -> NDArray[np.float32]:
    light = seen.light
    if light is None or light.distance < 0:
        return np.zeros(4, np.float32)
    shown = [light.state == state for state in ("red", "yellow", "green")]
    return np.array([*shown, np.clip(1.0 - light.distance / LIGHT_REACH_M, 0.0, 1.0)], np.float32)


def _sectors(seen: Observation) -> NDArray[np.float32]:
    """Distance to the nearest obstacle per sector; the sensor's reach where there is none or no scan."""
    nearest = np.full(SECTORS, LIDAR_REACH_M, np.float32)
    if seen.points is not None:
        points = seen.points[:, :3] + seen.base_from_lidar[:3, 3].astype(np.float32)
        stands = (points[:, 2] > OBSTACLE_Z_M[0]) & (points[:, 2] < OBSTACLE_Z_M[1])
        distance = np.hypot(points[stands, 0], points[stands, 1])
        azimuth = np.arctan2(points[stands, 1], points[stands, 0])
        sector = np.minimum(((azimuth + np.pi) / (2 * np.pi) * SECTORS).astype(int), SECTORS - 1)
        np.minimum.at(nearest, sector, distance)
    return nearest
