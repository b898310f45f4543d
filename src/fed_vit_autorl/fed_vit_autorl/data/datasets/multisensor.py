"""KITTI and nuScenes: camera, LiDAR, calibration and boxes, described by an `info.json` in MMDetection3D's form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..classes import CYCLIST, PEDESTRIAN, VEHICLE
from ..sample import CameraModel, Labels, Sample
from .base import Dataset, DatasetFault, DatasetRefused, Purpose, read_image, register

LAYOUT = "info.json and the pictures and point clouds that it names"
MAX_INFO_BYTES = 512 << 20

KITTI_CLASSES = {0: PEDESTRIAN, 1: CYCLIST, 2: VEHICLE}
NUSCENES_CLASSES = {0: VEHICLE, 1: VEHICLE, 2: VEHICLE, 3: VEHICLE, 4: VEHICLE, 5: CYCLIST, 6: CYCLIST, 7: PEDESTRIAN}
NUSCENES_OBSTACLES = (8, 9)
"""Cones and barriers: neither a road user nor something to ignore."""

KITTI_BASE_FROM_LIDAR = np.array([[1.0, 0, 0, 0.76], [0, 1, 0, 0], [0, 0, 1, 1.73], [0, 0, 0, 1]])
"""The Velodyne's place on KITTI's car, from its sensor drawing: 1.73 m above the road, 0.76 m before the rear axle."""


def _read_info(folder: Path, name: str) -> list[dict[str, Any]]:
    path = folder / "info.json"
    if not path.is_file():
        raise DatasetRefused(DatasetFault.LAYOUT, f"{folder}: expected {LAYOUT}")
    try:
        with open(path, "rb") as file:
            info = json.loads(file.read(MAX_INFO_BYTES))  # not msgspec: nuScenes writes NaN
        meta, frames = info["metainfo"], info["data_list"]
        described = str(meta.get("DATASET", meta.get("dataset"))).lower()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetRefused(DatasetFault.BAD_FILE, f"{path}: {error!r}") from error
    if described != name:
        raise DatasetRefused(DatasetFault.LAYOUT, f"{path} describes {described}, not {name}")
    return frames


def _read_points(path: Path, columns: int, intensity_scale: float) -> NDArray[np.float32]:
    try:
        points = np.fromfile(path, np.float32).reshape(-1, columns)[:, :4].copy()
    except (OSError, ValueError) as error:
        raise DatasetRefused(DatasetFault.BAD_FILE, f"{path} is missing or not {columns} floats a point") from error
    points[:, 3] *= intensity_scale
    return points[np.isfinite(points).all(axis=1)]


def _rigid(matrix: list) -> NDArray[np.float64]:
    """A 4x4 transform whose rotation, stored in single precision, is made orthonormal again."""
    transform = np.array(matrix, np.float64)
    u, _, v = np.linalg.svd(transform[:3, :3])
    transform[:3, :3] = u @ v
    return transform


def _labels(instances: list[dict], classes: dict[int, int], obstacles: tuple[int, ...], size: tuple) -> Labels:
    """Boxes in the picture of `size` (width, height), strays below 1 pixel left out; classes in neither table are
    ignored regions.
    """
    boxes = np.array([entry["bbox"] for entry in instances], np.float32).reshape(-1, 4)
    boxes = np.clip(boxes, 0, np.array([*size, *size], np.float32))
    label = np.array([classes.get(entry["bbox_label"], -1) for entry in instances], np.int64)
    visible = (boxes[:, 2:] - boxes[:, :2] >= 1).all(axis=1)
    obstacle = np.array([entry["bbox_label"] in obstacles for entry in instances], bool)
    known = visible & (label >= 0)
    ignored = boxes[visible & (label < 0) & ~obstacle]
    return Labels.unknown(size[1], size[0], boxes=boxes[known], classes=label[known], ignored=ignored)


class Kitti(Dataset):
    """KITTI object frames: the left colour camera (image_2) and the Velodyne."""

    def __init__(self, folder: Path):
        self._folder, self._frames = folder, _read_info(folder, "kitti")
        self.sources = ["kitti"] * len(self._frames)

    def load(self, index: int) -> Sample:
        frame = self._frames[index]
        try:
            camera, lidar = frame["images"]["CAM2"], frame["lidar_points"]
            image = read_image(self._folder / Path(camera["img_path"]).name)
            height, width = image.shape[:2]
            projection = np.array(camera["cam2img"], np.float64)
            intrinsics = projection[:3, :3]
            # the rectified projection also shifts by the stereo baseline: that is a camera standing elsewhere
            rectified = np.eye(4)
            rectified[:3, 3] = np.linalg.solve(intrinsics, projection[:3, 3])
            base_from_camera = KITTI_BASE_FROM_LIDAR @ np.linalg.inv(rectified @ _rigid(camera["lidar2cam"]))
            return Sample(
                image=image,
                camera=CameraModel(width, height, intrinsics, base_from_camera),
                points=_read_points(self._folder / Path(lidar["lidar_path"]).name, 4, 1.0),
                base_from_lidar=KITTI_BASE_FROM_LIDAR,
                labels=_labels(frame["instances"], KITTI_CLASSES, (), (width, height)),
                source=self.sources[index],
                domain="real",
            )
        except (KeyError, TypeError, np.linalg.LinAlgError) as error:
            raise DatasetRefused(DatasetFault.BAD_FILE, f"info.json, frame {index}: {error!r}") from error


class NuScenes(Dataset):
    """nuScenes key frames, a sample per camera: all cameras of a moment share its LiDAR scan."""

    def __init__(self, folder: Path):
        self._folder = folder
        frames = _read_info(folder, "nuscenes")
        self._views = [(frame, name) for frame in frames for name in frame.get("images", {})]
        self.sources = [f"nuscenes/{name}" for _, name in self._views]

    def load(self, index: int) -> Sample:
        frame, name = self._views[index]
        try:
            camera, lidar = frame["images"][name], frame["lidar_points"]
            image = read_image(self._folder / Path(camera["img_path"]).name)
            height, width = image.shape[:2]
            intrinsics = np.array(camera["cam2img"], np.float64)
            return Sample(
                image=image,
                camera=CameraModel(width, height, intrinsics, _rigid(camera["cam2ego"])),
                points=_read_points(self._folder / Path(lidar["lidar_path"]).name, 5, 1 / 255),
                base_from_lidar=_rigid(lidar["lidar2ego"]),
                labels=_labels(frame["cam_instances"][name], NUSCENES_CLASSES, NUSCENES_OBSTACLES, (width, height)),
                stamp=float(camera["timestamp"]),
                source=self.sources[index],
                domain="real",
            )
        except (KeyError, TypeError) as error:
            raise DatasetRefused(DatasetFault.BAD_FILE, f"info.json, frame {index}: {error!r}") from error


@register("kitti", LAYOUT)
def open_kitti(folder: Path, purpose: Purpose) -> Kitti:
    """KITTI comes without a split: the same frames for every purpose."""
    return Kitti(folder)


@register("nuscenes", LAYOUT)
def open_nuscenes(folder: Path, purpose: Purpose) -> NuScenes:
    """nuScenes samples come without a split: the same frames for every purpose."""
    return NuScenes(folder)
