"""LiDAR among upright boxes on level ground, in numpy: a scan costs about a millisecond."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .lidar import LidarSpec

RANGE_M = 80.0


class BoxLidar:
    """A `LidarSpec` without MuJoCo: the rays of a column share their azimuth, so boxes are met in the plane."""

    def __init__(self, spec: LidarSpec) -> None:
        self.spec = spec
        self._azimuth = np.linspace(-np.pi, np.pi, spec.columns, endpoint=False)
        elevation = np.linspace(spec.low, spec.high, spec.beams)
        self._slope = np.tan(elevation)[:, None]
        with np.errstate(divide="ignore"):
            ground = np.where(self._slope < 0.0, -spec.z / self._slope, np.inf)
        self._ground = np.where(ground < RANGE_M, ground, np.inf)

    def scan(
        self, pose: tuple[float, float, float], boxes: NDArray[np.float64], rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """Returns (N, 4) x, y, z, intensity in the sensor's frame.

        `boxes` (B, 6): x, y of the centre [m], yaw [rad], length, width, height [m]; they stand on the ground.
        """
        x, y, yaw = pose
        origin = np.array([x + self.spec.x * np.cos(yaw), y + self.spec.x * np.sin(yaw)])
        reach = np.broadcast_to(self._ground, (self.spec.beams, self.spec.columns)).copy()
        enter, leave = self._crossings(origin, yaw, boxes)
        for row in np.flatnonzero(np.isfinite(enter).any(axis=1)):
            hit = np.flatnonzero(np.isfinite(enter[row]))
            near, far, top = enter[row, hit], leave[row, hit], boxes[row, 5]
            z = self.spec.z + self._slope * near
            # Over the front face the ray may still come down on the roof.
            with np.errstate(divide="ignore", invalid="ignore"):
                roof = np.where(self._slope < 0.0, (top - self.spec.z) / self._slope, np.inf)
            on_roof = (z > top) & (roof >= near) & (roof <= far)
            distance = np.where((z >= 0.0) & (z <= top), near, np.where(on_roof, roof, np.inf))
            reach[:, hit] = np.minimum(reach[:, hit], distance)
        beam, column = np.nonzero(reach < RANGE_M)
        distance = reach[beam, column] + self.spec.noise * rng.standard_normal(len(beam))
        azimuth = self._azimuth[column]
        z = distance * self._slope[beam, 0]
        points = (distance * np.cos(azimuth), distance * np.sin(azimuth), z, np.full(len(beam), 0.5))
        return np.stack(points, axis=-1).astype(np.float32)

    def _crossings(
        self, origin: NDArray[np.float64], yaw: float, boxes: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Horizontal distances (B, columns) at which the rays enter and leave each box; inf where they miss."""
        azimuth = self._azimuth + yaw
        offset = boxes[:, :2] - origin
        c, s = np.cos(boxes[:, 2]), np.sin(boxes[:, 2])
        centre = np.stack((offset[:, 0] * c + offset[:, 1] * s, offset[:, 1] * c - offset[:, 0] * s), axis=-1)
        turned = azimuth - boxes[:, 2:3]
        direction = np.stack((np.cos(turned), np.sin(turned)), axis=-1)
        direction = np.where(np.abs(direction) < 1e-9, 1e-9, direction)
        half = 0.5 * boxes[:, None, 3:5]
        a, b = (centre[:, None] - half) / direction, (centre[:, None] + half) / direction
        enter, leave = np.minimum(a, b).max(axis=2), np.maximum(a, b).min(axis=2)
        met = (enter < leave) & (enter > 0.0) & (enter < RANGE_M)
        return np.where(met, enter, np.inf), np.where(met, leave, np.inf)
