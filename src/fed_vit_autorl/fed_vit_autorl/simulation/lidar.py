"""A spinning LiDAR on a `Scene`, by ray casting."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import mujoco
import numpy as np
from numpy.typing import NDArray

from .scene import SENSED, Scene
from .weather import Weather


@dataclass(frozen=True)
class LidarSpec:
    """A level LiDAR at (`x`, 0, `z`) [m] in `base_link`: `beams` between elevations `low` and `high` [rad], `columns`
    per turn, `noise` [m] standard deviation of the range.
    """

    beams: int = 16
    columns: int = 360
    low: float = np.radians(-20.0)
    high: float = np.radians(6.0)
    x: float = 1.2
    z: float = 1.9
    noise: float = 0.02

    @property
    def base_from_lidar(self) -> NDArray[np.float64]:
        """(4, 4) mount."""
        transform = np.eye(4)
        transform[:3, 3] = self.x, 0.0, self.z
        return transform

    @property
    def directions(self) -> NDArray[np.float64]:
        """Unit vectors (beams × columns, 3) in the sensor's frame, beam by beam from the lowest."""
        elevation, azimuth = np.meshgrid(
            np.linspace(self.low, self.high, self.beams),
            np.linspace(-np.pi, np.pi, self.columns, endpoint=False),
            indexing="ij",
        )
        flat = np.cos(elevation)
        return np.stack([flat * np.cos(azimuth), flat * np.sin(azimuth), np.sin(elevation)], axis=-1).reshape(-1, 3)


class Lidar:
    """Casts the rays of one sensor. It has a copy of the model, so that it may run while a camera draws."""

    def __init__(self, scene: Scene, spec: LidarSpec, weather: Weather):
        self.spec = spec
        self.weather = weather
        self._model = copy.copy(scene.model)
        self._rays = spec.directions
        count = len(self._rays)
        self._geom = np.zeros((count, 1), np.int32)
        self._distance = np.zeros((count, 1))
        self._groups = np.zeros((6, 1), np.uint8)
        self._groups[SENSED] = 1
        self._reflectivity = np.random.default_rng(0).uniform(0.2, 0.9, self._model.ngeom)
        self._reflectivity[scene.road_geoms] = 0.15

    def scan(
        self, data: mujoco.MjData, pose: tuple[float, float, float], rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """Returns (N, 4) x, y, z, intensity in the sensor's frame, seen from `base_link` at `pose` (x, y, yaw)."""
        x, y, yaw = pose
        c, s = np.cos(yaw), np.sin(yaw)
        turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
        origin = np.array([[x + self.spec.x * c], [y + self.spec.x * s], [self.spec.z]])
        rays = self._rays @ turn.T
        reach = self.weather.lidar_range
        mujoco.mj_multiRay(
            self._model, data, origin, rays.reshape(-1, 1), self._groups, True, -1,
            self._geom, self._distance, None, len(rays), reach,
        )  # fmt: skip
        return self._returns(self._distance[:, 0], self._geom[:, 0], rng)

    def _returns(self, distance: NDArray, geom: NDArray, rng: np.random.Generator) -> NDArray[np.float32]:
        weather = self.weather
        chance = rng.random(len(distance), np.float32)
        distance = distance + self.spec.noise * rng.standard_normal(len(distance), np.float32)
        # Far and dark surfaces are lost first.
        lost = weather.lidar_loss * (1.0 + 2.0 * np.clip(distance / weather.lidar_range, 0, 1))
        kept = (geom >= 0) & (distance > 0.5) & (chance > lost)
        intensity = self._reflectivity[geom] * np.exp(-distance / weather.lidar_range)
        if weather.lidar_clutter:
            false = rng.random(len(distance), np.float32) < weather.lidar_clutter
            distance = np.where(false, rng.uniform(1.0, 8.0, len(distance)), distance)
            intensity, kept = np.where(false, 0.02, intensity), kept | false
        points = self._rays[kept] * distance[kept, None]
        return np.column_stack([points, intensity[kept]]).astype(np.float32)
