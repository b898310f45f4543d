"""LiDAR among upright boxes on level ground: a scan costs half a millisecond."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .lidar import LidarSpec
from .solids import Prisms, cast

RANGE_M = 80.0
INTENSITY = 0.5


class BoxLidar:
    """A `LidarSpec` in a world that is given anew with every scan."""

    def __init__(self, spec: LidarSpec) -> None:
        self.spec = spec
        self._azimuths, self._slopes = spec.azimuths, np.tan(spec.elevations)
        down = np.minimum(self._slopes, -1e-9)
        self._ground = np.repeat((-spec.z / down)[:, None], spec.columns, axis=1)

    def scan(
        self, pose: tuple[float, float, float], boxes: NDArray[np.float64], rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """Returns (N, 4) x, y, z, intensity in the sensor's frame.

        `boxes` (B, 6): x, y of the centre [m], yaw [rad], length, width, height [m]; they stand on the ground.
        """
        x, y, yaw = pose
        origin = np.array([x + self.spec.x * np.cos(yaw), y + self.spec.x * np.sin(yaw), self.spec.z])
        centre_x, centre_y, turn, length, width, height = boxes.T
        none = np.zeros(len(boxes))
        prisms = Prisms(centre_x, centre_y, turn, 0.5 * length, 0.5 * width, none, height, none > 0.0, none)
        met, _ = cast(prisms, origin, self._azimuths + yaw, self._slopes)
        reach = np.minimum(met, self._ground)
        beam, column = np.nonzero(reach < RANGE_M)
        distance = reach[beam, column] + self.spec.noise * rng.standard_normal(len(beam))
        azimuth = self._azimuths[column]
        points = (distance * np.cos(azimuth), distance * np.sin(azimuth), distance * self._slopes[beam])
        return np.stack((*points, np.full(len(beam), INTENSITY)), axis=-1).astype(np.float32)
