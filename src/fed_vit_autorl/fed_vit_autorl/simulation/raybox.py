"""LiDAR among upright boxes on level ground: a scan costs 0.1 ms, half of it the noise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fed_vit_autorl.compiled import compiled

from .lidar import LidarSpec
from .solids import first_met

RANGE_M = 80.0
INTENSITY = 0.5


class BoxLidar:
    """A `LidarSpec` in a world that is given anew with every scan."""

    def __init__(self, spec: LidarSpec) -> None:
        self.spec = spec
        self._azimuths, self._slopes = spec.azimuths, np.tan(spec.elevations)
        self._ground = -spec.z / np.minimum(self._slopes, -1e-9)

    def scan(
        self, pose: tuple[float, float, float], boxes: NDArray[np.float64], rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """Returns (N, 4) x, y, z, intensity in the sensor's frame.

        `boxes` (B, 6): x, y of the centre [m], yaw [rad], length, width, height [m]; they stand on the ground.
        """
        x, y, yaw = pose
        origin = np.array([x + self.spec.x * np.cos(yaw), y + self.spec.x * np.sin(yaw), self.spec.z])
        reach, count = _reach(boxes, origin, self._azimuths + yaw, self._slopes, self._ground)
        noise = self.spec.noise * rng.standard_normal(count)
        return _points(reach, noise, self._azimuths, self._slopes)


@compiled("Tuple((float64[:, ::1], int64))(float64[:, :], float64[:], float64[:], float64[:], float64[:])")
def _reach(
    boxes: NDArray, origin: NDArray, azimuths: NDArray, slopes: NDArray, ground: NDArray
) -> tuple[NDArray[np.float64], int]:
    """Horizontal distances (beams, columns) to the boxes or the `ground` (beams,) [m], and how many are in range."""
    zero, half, count = np.zeros(len(boxes)), 0.5 * boxes[:, 3:5], 0
    reach, _ = first_met(
        boxes[:, 0], boxes[:, 1], boxes[:, 2], half[:, 0], half[:, 1], zero, boxes[:, 5], zero > 0.0, origin, azimuths,
        slopes,
    )  # fmt: skip
    for i in range(reach.shape[0]):
        for j in range(reach.shape[1]):
            reach[i, j] = min(reach[i, j], ground[i])
            count += reach[i, j] < RANGE_M
    return reach, count


@compiled("float32[:, ::1](float64[:, ::1], float64[::1], float64[:], float64[:])")
def _points(reach: NDArray, noise: NDArray, azimuths: NDArray, slopes: NDArray) -> NDArray[np.float32]:
    """The returns, beam by beam, of distances (beams, columns), with the `noise` [m] of each that is in range."""
    points, row = np.empty((len(noise), 4), np.float32), 0
    cos, sin = np.cos(azimuths), np.sin(azimuths)
    for i in range(reach.shape[0]):
        for j in range(reach.shape[1]):
            if reach[i, j] < RANGE_M:
                distance = reach[i, j] + noise[row]
                points[row, 0], points[row, 1] = distance * cos[j], distance * sin[j]
                points[row, 2], points[row, 3] = distance * slopes[i], INTENSITY
                row += 1
    return points
