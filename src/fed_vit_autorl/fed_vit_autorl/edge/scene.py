"""Where things are: positions of detected objects and free road per sector, in `base_link`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fed_vit_autorl.data.classes import OBJECT_CLASSES
from fed_vit_autorl.data.sample import CameraModel
from fed_vit_autorl.models.detection import Detections

GROUND_CLEARANCE_M = 0.3
"""LiDAR returns below this height are road, not object."""
MAX_RANGE_M = 80.0
MIN_RETURNS = 2
PLACE_ERROR_M = 2.0
"""Of the place where a box stands on the road; only returns from further behind it were made through it."""
LOWEST_M = {"vehicle": 1.2, "pedestrian": 0.8, "cyclist": 1.0}
"""How tall a road user is at least: a ray that passes its place below that would have met it."""


@dataclass(frozen=True)
class Ground:
    """Distance [m] from `base_link`, in the plane of the road, of what a mask's pixels show of it.

    `distance` (h, w): infinite above the horizon, at most `MAX_RANGE_M` below it.
    """

    distance: np.ndarray

    @classmethod
    def seen_by(cls, camera: CameraModel, height: int, width: int) -> Ground:
        """The ground behind each pixel of a mask of height x width that covers the camera's whole image."""
        columns, rows = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
        x, y = ground_points(camera.resized(width, height), np.stack((columns, rows), -1).reshape(-1, 2)).T
        distance = np.minimum(np.hypot(x, y), MAX_RANGE_M)
        return cls(np.where(np.isfinite(x), distance, np.inf).reshape(height, width))

    def free_distance(self, free_space: np.ndarray, sectors: int) -> np.ndarray:
        """Free road (sectors,) [m] per equal sector of columns, left to right, from probabilities (h, w).

        A column is free up to its first pixel, from below, that is not; a sector as far as a quarter of its columns.
        """
        below = np.isfinite(self.distance)
        blocked = (free_space < 0.5) & below
        upward = blocked[::-1]
        first = np.where(upward.any(0), upward.argmax(0), below[::-1].sum(0))
        lowest = free_space.shape[0] - first  # row index just below which the column is still free
        inside = np.clip(lowest, 0, free_space.shape[0] - 1)
        reach = np.where(first > 0, self.distance[inside, np.arange(free_space.shape[1])], 0.0)
        reach = np.where(np.isfinite(reach), reach, MAX_RANGE_M)
        return np.array([np.quantile(part, 0.25) for part in np.array_split(reach, sectors)], np.float32)


def ground_points(camera: CameraModel, pixels: np.ndarray) -> np.ndarray:
    """Points (N, 2) x, y [m] in `base_link` where rays through pixels (N, 2) meet the road z = 0; NaN above the
    horizon."""
    rays = np.concatenate((pixels, np.ones((len(pixels), 1))), 1) @ np.linalg.inv(camera.intrinsics).T
    rays = rays @ camera.base_from_camera[:3, :3].T
    down = np.where(rays[:, 2] < -1e-6, -rays[:, 2], np.nan)
    return camera.base_from_camera[:2, 3] + rays[:, :2] * (camera.base_from_camera[2, 3] / down)[:, None]


def object_positions(
    found: Detections, camera: CameraModel, points: np.ndarray | None, lidar: np.ndarray | None = None
) -> np.ndarray:
    """Nearest point (K, 3) [m] in `base_link` of the objects found in an image; NaN where nothing tells it.

    points (N, 3) in `base_link`: the nearest return above the road that projects into the box and has company within a
    metre (in range). Without such returns: where the box stands on the road, the ray through the middle of its lower
    edge; unless the LiDAR at `lidar` (3,) in `base_link` has looked through it there, as through a reflection.
    """
    boxes = found.boxes
    bottom = np.stack(((boxes[:, 0] + boxes[:, 2]) / 2, boxes[:, 3]), 1)
    flat = ground_points(camera, bottom.astype(np.float64))
    near = np.hypot(*flat.T) < MAX_RANGE_M
    positions = np.concatenate((np.where(near[:, None], flat, np.nan), np.where(near, 0.0, np.nan)[:, None]), 1)
    if points is None or len(points) == 0:
        return positions
    pixels, depth = camera.project(points)
    points, pixels = points[depth > 0.1], pixels[depth > 0.1]
    reach = np.hypot(points[:, 0], points[:, 1])
    solid = points[:, 2] > GROUND_CLEARANCE_M
    for index, ((left, top, right, bottom), label) in enumerate(zip(boxes, found.classes, strict=True)):
        margin = 0.1 * (right - left)
        across = (pixels[:, 0] > left + margin) & (pixels[:, 0] < right - margin)
        inside = across & solid & (pixels[:, 1] > top) & (pixels[:, 1] < bottom)
        candidates = np.flatnonzero(inside)[np.argsort(reach[inside], kind="stable")]
        distances = reach[candidates]
        company = np.searchsorted(distances, distances + 1.0) - np.arange(len(distances))
        if (supported := np.flatnonzero(company >= MIN_RETURNS)).size:
            positions[index] = points[candidates[supported[0]]]
        elif lidar is not None:
            rays, place = points[across] - lidar, flat[index] - lidar[:2]
            if _looked_through(rays, place, lidar[2], LOWEST_M[OBJECT_CLASSES[label]]):
                positions[index] = np.nan
    return positions


def _looked_through(returns: np.ndarray, place: np.ndarray, height: float, lowest: float) -> bool:
    """Whether returns (N, 3) lie behind a place (2,), both from a LiDAR at `height` [m], whose rays pass that place
    above the road and below `lowest` [m], where they would have met who stands there.
    """
    distance, reach = np.hypot(*place), np.hypot(returns[:, 0], returns[:, 1])
    behind = reach > distance + PLACE_ERROR_M
    passed = height + returns[behind, 2] * distance / reach[behind]
    return bool(((passed > GROUND_CLEARANCE_M) & (passed < lowest)).sum() >= MIN_RETURNS)
