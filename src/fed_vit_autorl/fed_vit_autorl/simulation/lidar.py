"""A spinning LiDAR over the town's solids and ground."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .ground import KERB_HEIGHT_M, Surface
from .solids import Solids, cast
from .weather import Weather

NEAREST_M = 0.5
ROAD_REFLECTIVITY, GREEN_REFLECTIVITY = 0.15, 0.35


@dataclass(frozen=True)
class LidarSpec:
    """A level LiDAR at (`x`, 0, `z`) [m] in `base_link`: `beams` between elevations `low` and `high` [rad], `columns`
    per turn, `noise` [m] standard deviation of the range.
    """

    beams: int = 16
    columns: int = 360
    low: float = -0.35
    high: float = 0.105
    x: float = 1.0
    z: float = 1.9
    noise: float = 0.02

    @property
    def base_from_lidar(self) -> NDArray[np.float64]:
        """(4, 4) mount."""
        transform = np.eye(4)
        transform[:3, 3] = self.x, 0.0, self.z
        return transform

    @property
    def elevations(self) -> NDArray[np.float64]:
        """(beams,) [rad], rising."""
        return np.linspace(self.low, self.high, self.beams)

    @property
    def azimuths(self) -> NDArray[np.float64]:
        """(columns,) [rad], from -π, counter-clockwise."""
        return np.linspace(-np.pi, np.pi, self.columns, endpoint=False)


class Lidar:
    """One sensor on the road user in slot `carrier`, which it does not see."""

    def __init__(self, solids: Solids, spec: LidarSpec, weather: Weather, carrier: int):
        self.spec = spec
        self.weather = weather
        self._solids = solids
        self._carrier = carrier
        self._azimuths = spec.azimuths
        self._slopes = np.tan(spec.elevations)
        # Per metre on the ground: the way along the beam.
        self._stretch = np.repeat(1.0 / np.cos(spec.elevations)[:, None], spec.columns, axis=1)
        flat = [np.cos(self._azimuths), np.sin(self._azimuths)]
        self._flat = np.stack([np.broadcast_to(f, (spec.beams, spec.columns)) for f in flat], axis=-1)

    def scan(
        self, pose: tuple[float, float, float], poses: NDArray[np.float64], rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """Returns (N, 4) x, y, z, intensity in the sensor's frame.

        It is seen from `base_link` at `pose` (x, y [m], yaw [rad]) with all road users at `poses` (slots, 4).
        """
        x, y, yaw = pose
        origin = np.array([x + self.spec.x * np.cos(yaw), y + self.spec.x * np.sin(yaw), self.spec.z])
        reach = self.weather.lidar_range
        moving = self._solids.moving(poses, self._carrier)
        prisms = self._solids.standing.joined(moving).near(origin[0], origin[1], reach)
        distance, number = cast(prisms, origin, self._azimuths + yaw, self._slopes)
        reflectivity = prisms.reflectivity[number] if len(prisms) else np.zeros_like(distance)
        ground, surface = self._ground(origin, yaw)
        below = ground < distance
        reflectivity = np.where(
            below, np.where(surface == Surface.ROAD, ROAD_REFLECTIVITY, GREEN_REFLECTIVITY), reflectivity
        )
        return self._returns(np.minimum(distance, ground), reflectivity, rng)

    def _ground(self, origin: NDArray, yaw: float) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
        """Horizontal distance (beams, columns) [m] to the ground, and the `Surface` there."""
        columns = self.spec.columns
        distance = np.full((self.spec.beams, columns), np.inf)
        surface = np.full(distance.shape, Surface.ROAD, np.uint8)
        falls = np.flatnonzero(self._slopes < -KERB_HEIGHT_M / self.weather.lidar_range)
        high = (KERB_HEIGHT_M - self.spec.z) / self._slopes[falls][:, None]
        low = -self.spec.z / self._slopes[falls][:, None]
        aim = self._azimuths + yaw
        toward = np.column_stack([np.cos(aim), np.sin(aim)])
        on_top = self._solids.ground.at(origin[:2] + high[..., None] * toward)
        below = self._solids.ground.at(origin[:2] + low[..., None] * toward)
        raised = on_top != Surface.ROAD
        # A beam that passes over the road's edge and would end under the pavement meets the kerb on its way down.
        kerb = ~raised & (below != Surface.ROAD)
        distance[falls] = np.where(raised, high, np.where(kerb, 0.5 * (high + low), low))
        surface[falls] = np.where(raised, on_top, below)
        return distance, surface

    def _returns(self, flat: NDArray, reflectivity: NDArray, rng: np.random.Generator) -> NDArray[np.float32]:
        """Points of horizontal distances `flat` (beams, columns), with noise and losses along the beam."""
        weather, reach = self.weather, self.weather.lidar_range
        chance = rng.random(flat.shape, np.float32)
        distance = flat * self._stretch + self.spec.noise * rng.standard_normal(flat.shape, np.float32)
        relative = np.minimum(distance / reach, 1.0)
        # Far surfaces are lost first.
        kept = (distance > NEAREST_M) & (distance < reach) & (chance > weather.lidar_loss * (1.0 + 2.0 * relative))
        intensity = reflectivity * np.exp(-relative)
        if weather.lidar_clutter:
            drops = chance > 1.0 - weather.lidar_clutter
            distance[drops] = rng.uniform(1.0, 8.0, drops.sum())
            intensity[drops], kept[drops] = 0.02, True
        beam = np.nonzero(kept)[0]
        along = distance[kept] / self._stretch[kept]
        points = np.empty((len(along), 4), np.float32)
        points[:, :2] = self._flat[kept] * along[:, None]
        points[:, 2] = self._slopes[beam] * along
        points[:, 3] = intensity[kept]
        return points
