"""Labels made on the vehicle, without ground truth: objects and free space from the LiDAR, the lane from the track."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from .classes import UNLABELLED
from .lidar import GroundMap, Surface, clusters, height_above, road_plane, surfaces
from .objects import Found, find_objects
from .sample import CameraModel, EgoState, Labels, Sample, track_in_base, unlabelled

LANE_WIDTH_M = 3.5
LANE_REACH_M = 50.0
MIN_RETURNS = 3
GRID_WIDTH = 160
SIGHT_M = 80.0
MIN_TRACK_M = 8.0
"""Too short a track says nothing of the lane."""
MIN_BOX_PX = 4.0
RELIABLE_M = 30.0
"""Further away the scan may miss a road user."""
TALLEST_M = 2.5


def auto_label(sample: Sample, track: Sequence[EgoState] = ()) -> Labels:
    """Labels of a sample from its own points and from `track`, the ego states of the seconds after it.

    Without points there are neither boxes nor free space, without `ego` or a track of some metres no lane: those parts
    are unlabelled. What the scan is too sparse to tell is 255 in the masks and an `ignored` region among the boxes.
    """
    camera, points = sample.camera, sample.points_in_base
    # a scan of 1° needs no finer grid for the masks
    grid = camera.resized(GRID_WIDTH, max(round(GRID_WIDTH * camera.height / camera.width), 1))
    ground, depth = _ground_under_pixels(grid)
    nearest = np.full(grid.width, np.inf)
    known: dict[str, NDArray] = {}
    masks: dict[str, NDArray] = {}
    if len(points):
        height = height_above(road_plane(points), points)
        kind = surfaces(height)
        surface = GroundMap(points, kind)
        standing, number = _standing(grid, points, height, kind)
        nearest = _nearest_obstacle(grid, standing)
        masks["free_space"] = masks["drivable"] = _road_mask(surface, ground, depth)
        found = find_objects(standing, number, surface)
        known |= _boxes(camera, found, nearest)
    if sample.ego is not None:
        masks["lane"] = _lane_mask(ground, depth, track_in_base(sample.ego, track))
    hidden = (depth >= nearest[None]) | ~np.isfinite(depth)
    for name, mask in masks.items():
        if (mask != UNLABELLED).any():
            shown = np.where(hidden, np.uint8(0), mask)
            known[name] = cv2.resize(shown, (camera.width, camera.height), interpolation=cv2.INTER_NEAREST)
    return Labels.unknown(camera.height, camera.width, **known)


def _standing(
    camera: CameraModel, points: NDArray, height: NDArray, kind: NDArray
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """x, y, height (N, 3) of what stands in or near the picture, and its clusters; a lone return is a drop of rain."""
    pixels, depth = camera.project(points)
    near_view = (depth > 0) & (depth < SIGHT_M) & (np.abs(pixels[:, 0] / camera.width - 0.5) < 0.75)
    standing = np.column_stack([points[:, :2], height])[(kind >= Surface.OBSTACLE) & near_view]
    number = clusters(standing)
    solid = np.bincount(number, minlength=1)[number] >= MIN_RETURNS
    return standing[solid], number[solid]


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


def _nearest_obstacle(camera: CameraModel, standing: NDArray) -> NDArray[np.float64]:
    """Depth (W,) [m] in each image column beyond which something standing hides the ground."""
    pixels, depth = camera.project(standing[standing[:, 2] < 2.5])
    spread = 0.6 * np.radians(1.0) * camera.intrinsics[0, 0]
    nearest = np.full(camera.width, np.inf)
    seen = depth > 0.5
    for shift in np.arange(-np.ceil(spread), np.ceil(spread) + 1):
        column = np.floor(pixels[seen, 0] + np.clip(shift, -spread, spread)).astype(int)
        inside = (column >= 0) & (column < camera.width)
        np.minimum.at(nearest, column[inside], depth[seen][inside])
    return nearest


def _road_mask(surface: GroundMap, ground: NDArray, depth: NDArray) -> NDArray[np.uint8]:
    """1 where the ground under a pixel is road, 0 where it is raised, 255 where no return tells (H, W)."""
    mask = unlabelled(*depth.shape)
    below = depth < SIGHT_M
    seen = surface.at(ground[below])
    mask[below] = np.select([seen == Surface.ROAD, seen == Surface.RAISED], [1, 0], UNLABELLED)
    return mask


def _lane_mask(ground: NDArray, depth: NDArray, track: NDArray) -> NDArray[np.uint8]:
    """1 in the corridor that the vehicle then drove, 0 beside it, 255 beyond its end (H, W)."""
    track = np.vstack([np.zeros(3), track])
    travelled = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(track[:, :2], axis=0), axis=1))])
    mask = unlabelled(*depth.shape)
    if travelled[-1] >= MIN_TRACK_M:
        along = np.arange(0.0, min(travelled[-1], LANE_REACH_M), 0.25)
        line = np.stack([np.interp(along, travelled, track[:, axis]) for axis in (0, 1)], axis=1)
        below = depth < SIGHT_M
        distance, index = cKDTree(line).query(ground[below])
        mask[below] = np.where(index == len(line) - 1, UNLABELLED, distance <= LANE_WIDTH_M / 2)
    return mask


def _boxes(camera: CameraModel, found: list[Found], nearest: NDArray) -> dict[str, NDArray]:
    boxes, classes, ignored = [], [], _too_far(camera, nearest)
    for one in found:
        box = _project(camera, one.corners)
        if box is None:
            continue
        if one.sure:
            boxes.append(box)
            classes.append(one.label)
        else:
            ignored.append(box)
    return {
        "boxes": np.array(boxes, np.float32).reshape(-1, 4),
        "classes": np.array(classes, np.int64),
        "ignored": np.array(ignored, np.float32).reshape(-1, 4),
    }


def _too_far(camera: CameraModel, nearest: NDArray[np.float64]) -> list[NDArray[np.float32]]:
    """Where road users too far for the scan would be seen: the strips of the horizon that nothing nearer hides."""
    rows = camera.project(np.array([[RELIABLE_M, 0.0, TALLEST_M], [RELIABLE_M, 0.0, 0.0]]))[0][:, 1]
    top, bottom = np.clip(rows, 0, camera.height)
    open_view = np.concatenate([[False], nearest > RELIABLE_M, [False]])
    scale = camera.width / len(nearest)
    first, last = (np.flatnonzero(np.diff(open_view.astype(int)) == sign) * scale for sign in (1, -1))
    return [
        np.array([left, top, right, bottom], np.float32)
        for left, right in zip(first, last, strict=True)
        if right - left >= MIN_BOX_PX and bottom - top >= 1
    ]


def _project(camera: CameraModel, corners: NDArray[np.float64]) -> NDArray[np.float32] | None:
    pixels, depth = camera.project(corners)
    if (depth < 0.5).any():
        return None
    limits = (camera.width, camera.height)
    low, high = np.clip(pixels.min(axis=0), 0, limits), np.clip(pixels.max(axis=0), 0, limits)
    return np.array([*low, *high], np.float32) if (high - low >= MIN_BOX_PX).all() else None
