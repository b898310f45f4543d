"""Labels made on the vehicle, without ground truth: objects and free space from the LiDAR, the lane from the track."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from .classes import UNLABELLED
from .lidar import Surface, height_above, road_plane, surfaces
from .objects import Found, find_objects
from .sample import CameraModel, EgoState, Labels, Sample, track_in_base, unlabelled

LANE_WIDTH_M = 3.5
LANE_REACH_M = 40.0
MIN_TRACK_M = 8.0
"""Too short a track says nothing of the lane."""
ALONG = 4.0
"""Roads go on in the direction of travel: a return speaks for ground this many times further ahead than sideways."""
REACH_M = 2.0
"""How far sideways a ground return speaks for the ground beside it."""
MIN_BOX_PX = 4.0
RELIABLE_M = 40.0


def auto_label(sample: Sample, track: Sequence[EgoState] = ()) -> Labels:
    """Labels of a sample from its own points and from `track`, the ego states of the seconds after it.

    Without points there are neither boxes nor free space, without `ego` or a track of some metres no lane: those parts
    are unlabelled. What the scan is too sparse to tell is 255 in the masks and an `ignored` region among the boxes.
    """
    camera, points = sample.camera, sample.points_in_base
    ground, depth = _ground_under_pixels(camera)
    nearest = np.full(camera.width, np.inf)
    known: dict[str, NDArray] = {}
    if len(points):
        height = height_above(road_plane(points), points)
        kind = surfaces(height)
        nearest = _nearest_obstacle(camera, points, height)
        road = _road_mask(ground, points, kind)
        road[depth >= nearest[None]] = 0
        road[~np.isfinite(depth)] = 0
        known |= {"free_space": road, "drivable": road} | _boxes(camera, find_objects(points, height, kind))
    if sample.ego is not None:
        known["lane"] = _lane_mask(ground, depth, track_in_base(sample.ego, track), nearest)
    return Labels.unknown(camera.height, camera.width, **known)


def _ground_under_pixels(camera: CameraModel) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where each pixel's ray meets z = 0: (H, W, 2) in `base_link` and its depth (H, W) [m]; inf above the horizon."""
    columns, rows = np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5)
    optical = np.stack([columns, rows, np.ones_like(rows)], axis=-1) @ np.linalg.inv(camera.intrinsics).T
    rays = optical @ camera.base_from_camera[:3, :3].T
    origin = camera.base_from_camera[:3, 3]
    with np.errstate(divide="ignore"):
        depth = np.where(rays[..., 2] < -1e-4, -origin[2] / rays[..., 2], np.inf)
    ground = origin[:2] + rays[..., :2] * np.where(np.isfinite(depth), depth, 0.0)[..., None]
    return ground, depth


def _nearest_obstacle(camera: CameraModel, points: NDArray, height: NDArray) -> NDArray[np.float64]:
    """Depth (W,) [m] in each image column beyond which something standing hides the ground."""
    standing = points[(height > 0.3) & (height < 2.5)]
    pixels, depth = camera.project(standing)
    spread = 0.6 * np.radians(1.0) * camera.intrinsics[0, 0]
    nearest = np.full(camera.width, np.inf)
    seen = depth > 0.5
    for shift in np.arange(-np.ceil(spread), np.ceil(spread) + 1):
        column = np.floor(pixels[seen, 0] + np.clip(shift, -spread, spread)).astype(int)
        inside = (column >= 0) & (column < camera.width)
        np.minimum.at(nearest, column[inside], depth[seen][inside])
    return nearest


def _road_mask(ground: NDArray, points: NDArray, kind: NDArray) -> NDArray[np.uint8]:
    """1 where the ground nearest to a pixel's is road, 0 where it is raised, 255 where no return is near (H, W)."""
    scale = np.array([1 / ALONG, 1.0])
    flat = (kind == Surface.ROAD) | (kind == Surface.RAISED)
    mask = unlabelled(*ground.shape[:2])
    if flat.any():
        distance, index = cKDTree(points[flat, :2] * scale).query(ground * scale, distance_upper_bound=REACH_M)
        found = np.isfinite(distance)
        mask[found] = (kind[flat] == Surface.ROAD)[index[found]]
    return mask


def _lane_mask(ground: NDArray, depth: NDArray, track: NDArray, nearest: NDArray) -> NDArray[np.uint8]:
    """1 in the corridor that the vehicle then drove, 0 beside it, 255 beyond its end (H, W)."""
    track = np.vstack([np.zeros(3), track])
    travelled = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(track[:, :2], axis=0), axis=1))])
    mask = unlabelled(*depth.shape)
    if travelled[-1] < MIN_TRACK_M:
        return mask
    along = np.arange(0.0, min(travelled[-1], LANE_REACH_M), 0.25)
    line = np.stack([np.interp(along, travelled, track[:, axis]) for axis in (0, 1)], axis=1)
    distance, index = cKDTree(line).query(ground)
    mask[:] = distance <= LANE_WIDTH_M / 2
    mask[(index == len(line) - 1) & np.isfinite(depth)] = UNLABELLED
    mask[depth >= nearest[None]] = 0
    mask[~np.isfinite(depth)] = 0
    return mask


def _boxes(camera: CameraModel, found: list[Found]) -> dict[str, NDArray]:
    boxes, classes, ignored = [], [], []
    for one in found:
        box = _project(camera, one.corners)
        if box is None:
            continue
        far = np.linalg.norm(one.corners[:, :2], axis=1).min() > RELIABLE_M
        if far or not one.sure:
            ignored.append(box)
        else:
            boxes.append(box)
            classes.append(one.label)
    return {
        "boxes": np.array(boxes, np.float32).reshape(-1, 4),
        "classes": np.array(classes, np.int64),
        "ignored": np.array(ignored, np.float32).reshape(-1, 4),
    }


def _project(camera: CameraModel, corners: NDArray[np.float64]) -> NDArray[np.float32] | None:
    pixels, depth = camera.project(corners)
    if (depth < 0.5).any():
        return None
    limits = (camera.width, camera.height)
    low, high = np.clip(pixels.min(axis=0), 0, limits), np.clip(pixels.max(axis=0), 0, limits)
    return np.array([*low, *high], np.float32) if (high - low >= MIN_BOX_PX).all() else None
