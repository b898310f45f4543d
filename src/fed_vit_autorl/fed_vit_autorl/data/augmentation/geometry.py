"""Augmentations that move pixels: image, masks, boxes, camera, points and ego motion move together."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from ..classes import FULLER_MASKS, MASKS, UNLABELLED
from ..sample import CameraModel, EgoState, Labels, Sample

MIRROR = np.diag([1.0, -1.0, 1.0, 1.0])
"""y → -y in a frame with x forward, y left."""
MIRROR_SOLID = np.array([1, -1, 1, 1, 1, 1, -1], np.float32)
MIRROR_OPTICAL = np.diag([-1.0, 1.0, 1.0, 1.0])

MIN_VISIBLE = 0.25
"""Boxes of which less than this share of the area stays in the image become ignored regions."""


def flip(sample: Sample) -> Sample:
    """The mirrored scene: left is right, in the image, the points and the vehicle's motion."""
    camera = sample.camera
    intrinsics = camera.intrinsics.copy()
    intrinsics[0, 2] = camera.width - intrinsics[0, 2]
    intrinsics[0, 1] *= -1
    mirrored = replace(
        camera, intrinsics=intrinsics, base_from_camera=MIRROR @ camera.base_from_camera @ MIRROR_OPTICAL
    )
    points, base_from_lidar = sample.points, sample.base_from_lidar
    if points is not None:
        points = points * np.array([1, -1, 1, 1], np.float32)
    if base_from_lidar is not None:
        base_from_lidar = MIRROR @ base_from_lidar @ MIRROR
    return replace(
        sample,
        image=np.ascontiguousarray(sample.image[:, ::-1]),
        camera=mirrored,
        points=points,
        base_from_lidar=base_from_lidar,
        labels=_flip_labels(sample.labels, camera.width) if sample.labels else None,
        ego=mirror_ego(sample.ego) if sample.ego else None,
    )


def mirror_ego(ego: EgoState) -> EgoState:
    """The state in a world mirrored at the map's x axis; a mirrored track belongs to a flipped sample."""
    x, y, z = ego.position
    return replace(ego, position=(x, -y, z), yaw=-ego.yaw, yaw_rate=-ego.yaw_rate)


def mirror_trajectory(points: NDArray) -> NDArray:
    """Waypoints (..., 2) in `base_link` of a flipped sample."""
    return points * np.array([1, -1], points.dtype)


def _flip_labels(labels: Labels, width: int) -> Labels:
    def flip_boxes(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], axis=1)

    masks = {name: np.ascontiguousarray(mask[:, ::-1]) for name, mask in _masks(labels).items()}
    solids = None if labels.solids is None else labels.solids * MIRROR_SOLID
    return replace(labels, boxes=flip_boxes(labels.boxes), ignored=flip_boxes(labels.ignored), solids=solids, **masks)


def _masks(labels: Labels) -> dict[str, NDArray[np.uint8]]:
    """Those that there are."""
    masks = {name: getattr(labels, name) for name in (*MASKS, *FULLER_MASKS)}
    return {name: mask for name, mask in masks.items() if mask is not None}


def crop(sample: Sample, left: int, top: int, width: int, height: int) -> Sample:
    """The rectangle (pixels), enlarged to the size that the image had."""
    camera = sample.camera.cropped(left, top, width, height).resized(sample.camera.width, sample.camera.height)
    scale_x, scale_y = sample.camera.width / width, sample.camera.height / height
    pixel_map = np.array([[scale_x, 0, -left * scale_x], [0, scale_y, -top * scale_y]])
    return _moved(sample, pixel_map, camera)


def rotate(sample: Sample, angle: float) -> Sample:
    """What the camera sees when rolled clockwise by `angle` [rad] about its axis; new corners are black and
    unlabelled. A box becomes the one around the ellipse that filled the old one, exact for small angles.
    """
    c, s = np.cos(angle), np.sin(angle)
    roll = np.array([[c, s, 0, 0], [-s, c, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    intrinsics = sample.camera.intrinsics
    pixel_map = (intrinsics @ roll[:3, :3] @ np.linalg.inv(intrinsics))[:2]
    camera = replace(sample.camera, base_from_camera=sample.camera.base_from_camera @ roll.T)
    return _moved(sample, pixel_map, camera)


def _moved(sample: Sample, pixel_map: NDArray[np.float64], camera: CameraModel) -> Sample:
    """`sample` with its image plane moved by the affine `pixel_map` (2, 3), which `camera` describes."""
    size = (camera.width, camera.height)
    # OpenCV puts pixel centres at integers, the camera model at integers + 0.5
    by_index = pixel_map.copy()
    by_index[:, 2] += pixel_map[:, :2] @ (0.5, 0.5) - 0.5
    labels = sample.labels
    if labels is not None:

        def move(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
            return cv2.warpAffine(
                mask, by_index, size, flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=UNLABELLED
            )

        boxes, well, cut = _move_boxes(labels.boxes, pixel_map, size)
        ignored, _, cut_ignored = _move_boxes(labels.ignored, pixel_map, size)
        labels = replace(
            labels,
            boxes=boxes,
            classes=labels.classes[well],
            ignored=np.concatenate([ignored, cut_ignored, cut]),
            solids=None if labels.solids is None else labels.solids[well],
            **{name: move(mask) for name, mask in _masks(labels).items()},
        )
    image = cv2.warpAffine(sample.image, by_index, size, flags=cv2.INTER_LINEAR)
    return replace(sample, image=image, camera=camera, labels=labels)


def _move_boxes(
    boxes: NDArray[np.float32], pixel_map: NDArray[np.float64], size: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.float32]]:
    """Boxes of what is still well visible, which those are, and the boxes of what is mostly cut off."""
    corners = boxes.astype(np.float64)
    middle = (corners[:, :2] + corners[:, 2:]) / 2 @ pixel_map[:, :2].T + pixel_map[:, 2]
    half = np.sqrt(((corners[:, 2:] - corners[:, :2]) / 2) ** 2 @ (pixel_map[:, :2] ** 2).T)
    moved = np.concatenate([middle - half, middle + half], axis=1)
    clipped = np.clip(moved, 0, (*size, *size))
    inside = (clipped[:, 2:] - clipped[:, :2] >= 1).all(axis=1)
    area, visible = ((b[:, 2:] - b[:, :2]).prod(axis=1) for b in (moved, clipped))
    well = inside & (visible >= MIN_VISIBLE * area)
    clipped = clipped.astype(np.float32)
    return clipped[well], well, clipped[inside & ~well]
