"""The one sample format: what a vehicle, a dataset or the simulator hands to training and evaluation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from fed_vit_autorl.refusal import Refused

from .classes import MASKS, OBJECT_CLASSES, SEMANTIC_CLASSES, UNLABELLED

MAX_POINTS = 1 << 20
MAX_PIXELS = 1 << 25


RISK_HORIZON_S = 3.0


class SampleFault(StrEnum):
    """Why a sample, or a part of it, is refused."""

    IMAGE_SHAPE = "image_shape"
    IMAGE_TYPE = "image_type"
    CAMERA_SIZE = "camera_size"
    CAMERA_INTRINSICS = "camera_intrinsics"
    TRANSFORM = "transform"
    POINTS_SHAPE = "points_shape"
    POINTS_NOT_FINITE = "points_not_finite"
    POINTS_WITHOUT_TRANSFORM = "points_without_transform"
    BOXES_SHAPE = "boxes_shape"
    BOXES_NOT_FINITE = "boxes_not_finite"
    BOXES_ORDER = "boxes_order"
    CLASS_UNKNOWN = "class_unknown"
    MASK_SHAPE = "mask_shape"
    MASK_VALUE = "mask_value"
    EGO_NOT_FINITE = "ego_not_finite"
    STAMP = "stamp"
    RISK = "risk"


class SampleRefused(Refused):
    """A part of a sample is unusable; `reason` is the code, the message says what was found."""


def _require(condition: bool, reason: SampleFault, detail: str) -> None:
    if not condition:
        raise SampleRefused(reason, detail)


def _require_rigid(transform: NDArray[np.float64], name: str) -> None:
    ok = (
        transform.shape == (4, 4)
        and np.isfinite(transform).all()
        and np.allclose(transform[3], (0, 0, 0, 1), atol=1e-6)
        and np.allclose(transform[:3, :3] @ transform[:3, :3].T, np.eye(3), atol=1e-3)
    )
    _require(ok, SampleFault.TRANSFORM, f"{name} is not a rigid 4x4 transform")


@dataclass(frozen=True, eq=False)
class CameraModel:
    """A pinhole camera without distortion.

    `intrinsics` (3, 3) in pixels; pixel centres lie at integer + 0.5. `base_from_camera` (4, 4) maps optical
    coordinates (x right, y down, z forward) to `base_link`. Raises `SampleRefused`.
    """

    width: int
    height: int
    intrinsics: NDArray[np.float64]
    base_from_camera: NDArray[np.float64]

    def __post_init__(self) -> None:
        _require(
            self.width > 0 and self.height > 0 and self.width * self.height <= MAX_PIXELS,
            SampleFault.CAMERA_SIZE,
            f"{self.width}x{self.height}",
        )
        k = self.intrinsics
        ok = k.shape == (3, 3) and np.isfinite(k).all() and k[0, 0] > 0 and k[1, 1] > 0 and np.allclose(k[2], (0, 0, 1))
        _require(ok, SampleFault.CAMERA_INTRINSICS, "expected a finite 3x3 matrix, focal lengths > 0, last row 0 0 1")
        _require_rigid(self.base_from_camera, "base_from_camera")

    @classmethod
    def nominal(cls, width: int, height: int, horizontal_fov: float = 1.2, mount_height: float = 1.4) -> CameraModel:
        """A level camera looking ahead above `base_link`, for recordings without calibration (rad, m)."""
        focal = 0.5 * width / np.tan(0.5 * horizontal_fov)
        intrinsics = np.array([[focal, 0, 0.5 * width], [0, focal, 0.5 * height], [0, 0, 1]])
        return cls(width, height, intrinsics, base_from_optical(0.0, 0.0, mount_height))

    @property
    def camera_from_base(self) -> NDArray[np.float64]:
        """(4, 4), the inverse of `base_from_camera`."""
        return np.linalg.inv(self.base_from_camera)

    def project(self, points: NDArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Pixels (N, 2) and depths (N,) [m] of points (N, 3) in `base_link`; pixels where depth <= 0 mean nothing."""
        transform = self.camera_from_base
        optical = np.asarray(points, np.float64)[:, :3] @ transform[:3, :3].T + transform[:3, 3]
        depth = optical[:, 2]
        pixels = optical @ self.intrinsics.T
        return pixels[:, :2] / np.where(np.abs(depth) < 1e-9, 1e-9, depth)[:, None], depth

    def resized(self, width: int, height: int) -> CameraModel:
        """The camera after its image was resized to width x height pixels."""
        scale = np.diag([width / self.width, height / self.height, 1.0])
        return CameraModel(width, height, scale @ self.intrinsics, self.base_from_camera)

    def cropped(self, left: int, top: int, width: int, height: int) -> CameraModel:
        """The camera after its image was cut to the rectangle (pixels)."""
        shift = np.array([[1.0, 0, -left], [0, 1, -top], [0, 0, 1]])
        return CameraModel(width, height, shift @ self.intrinsics, self.base_from_camera)


def base_from_optical(x: float, y: float, z: float, pitch: float = 0.0) -> NDArray[np.float64]:
    """`base_from_camera` (4, 4) of a camera at (x, y, z) [m] looking ahead, pitched down by `pitch` [rad]."""
    level = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
    c, s = np.cos(pitch), np.sin(pitch)
    transform = np.eye(4)
    transform[:3, :3] = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]) @ level
    transform[:3, 3] = x, y, z
    return transform


@dataclass(frozen=True)
class EgoState:
    """The vehicle's own motion: `position` (x, y, z) [m] and `yaw` [rad] in `map`, `speed` [m/s], `yaw_rate` [rad/s],
    longitudinal `acceleration` [m/s²], `stamp` [s]. Raises `SampleRefused`.
    """

    stamp: float
    position: tuple[float, float, float]
    yaw: float
    speed: float
    yaw_rate: float = 0.0
    acceleration: float = 0.0

    def __post_init__(self) -> None:
        values = (self.stamp, *self.position, self.yaw, self.speed, self.yaw_rate, self.acceleration)
        _require(len(self.position) == 3 and all(map(math.isfinite, values)), SampleFault.EGO_NOT_FINITE, str(values))

    @property
    def map_from_base(self) -> NDArray[np.float64]:
        """(4, 4) transform; the road is taken as level."""
        c, s = np.cos(self.yaw), np.sin(self.yaw)
        transform = np.eye(4)
        transform[:2, :2] = (c, -s), (s, c)
        transform[:3, 3] = self.position
        return transform


def track_in_base(ego: EgoState, track: Sequence[EgoState]) -> NDArray[np.float64]:
    """Poses (N, 3): x, y [m], heading [rad] of `track` as seen from `ego`'s `base_link`."""
    poses = np.array([(*state.position[:2], state.yaw) for state in track], np.float64).reshape(-1, 3)
    c, s = np.cos(ego.yaw), np.sin(ego.yaw)
    poses[:, :2] = (poses[:, :2] - ego.position[:2]) @ np.array([[c, -s], [s, c]])
    poses[:, 2] = (poses[:, 2] - ego.yaw + np.pi) % (2 * np.pi) - np.pi
    return poses


def unlabelled(height: int, width: int) -> NDArray[np.uint8]:
    """A mask (height, width) of which nothing is known."""
    return np.full((height, width), UNLABELLED, np.uint8)


@dataclass(frozen=True, eq=False)
class Labels:
    """What is in the image. Masks are uint8 (H, W) and hold 0, 1 or 255 = unlabelled.

    `boxes` float32 (K, 4) xyxy in pixels, `classes` int64 (K,) indices of `OBJECT_CLASSES`. `ignored` float32 (M, 4)
    are regions of which it is not known what is in them: detections there neither train nor count. `semantic` uint8
    (H, W) holds indices of `SEMANTIC_CLASSES` or 255. `objects_known` is False where objects were never labelled, so
    that an image without boxes is not taken for an empty street.

    Where they are known: `solids` float32 (K, 7) are the objects' x, y, z [m] of the centre, length, width, height [m]
    and yaw [rad] in `base_link`; `moving` uint8 (H, W) tells what moves by itself; `risk` is the probability that the
    vehicle meets somebody within `RISK_HORIZON_S` if all keep course and speed, NaN if unknown. Raises `SampleRefused`.
    """

    boxes: NDArray[np.float32]
    classes: NDArray[np.int64]
    free_space: NDArray[np.uint8]
    lane: NDArray[np.uint8]
    drivable: NDArray[np.uint8]
    ignored: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 4), np.float32))
    semantic: NDArray[np.uint8] | None = None
    objects_known: bool = True
    solids: NDArray[np.float32] | None = None
    moving: NDArray[np.uint8] | None = None
    risk: float = float("nan")

    def __post_init__(self) -> None:
        for name, boxes in (("boxes", self.boxes), ("ignored", self.ignored)):
            ok = boxes.ndim == 2 and boxes.shape[1] == 4 and boxes.dtype == np.float32
            _require(ok, SampleFault.BOXES_SHAPE, f"{name} {boxes.dtype} {boxes.shape}, expected float32 (K, 4)")
            _require(bool(np.isfinite(boxes).all()), SampleFault.BOXES_NOT_FINITE, name)
            _require(bool((boxes[:, 2:] > boxes[:, :2]).all()), SampleFault.BOXES_ORDER, f"{name}: x0 < x1, y0 < y1")
        _require(
            self.classes.shape == self.boxes.shape[:1] and self.classes.dtype == np.int64,
            SampleFault.BOXES_SHAPE,
            f"classes {self.classes.dtype} {self.classes.shape} for {len(self.boxes)} boxes",
        )
        known = ((self.classes >= 0) & (self.classes < len(OBJECT_CLASSES))).all()
        _require(bool(known), SampleFault.CLASS_UNKNOWN, str(self.classes))
        for name in MASKS:
            self._check_mask(name, getattr(self, name), highest=1)
        if self.semantic is not None:
            self._check_mask("semantic", self.semantic, highest=len(SEMANTIC_CLASSES) - 1)
        if self.moving is not None:
            self._check_mask("moving", self.moving, highest=1)
        if self.solids is not None:
            ok = self.solids.shape == (len(self.boxes), 7) and self.solids.dtype == np.float32
            _require(ok, SampleFault.BOXES_SHAPE, f"solids {self.solids.dtype} {self.solids.shape}, expected (K, 7)")
            _require(bool(np.isfinite(self.solids).all()), SampleFault.BOXES_NOT_FINITE, "solids")
        _require(not (self.risk < 0 or self.risk > 1), SampleFault.RISK, str(self.risk))

    def _check_mask(self, name: str, mask: NDArray[np.uint8], highest: int) -> None:
        ok = mask.shape == self.free_space.shape and mask.ndim == 2 and mask.dtype == np.uint8
        _require(ok, SampleFault.MASK_SHAPE, f"{name} {mask.dtype} {mask.shape}")
        _require(not ((mask > highest) & (mask != UNLABELLED)).any(), SampleFault.MASK_VALUE, name)

    @classmethod
    def unknown(cls, height: int, width: int, **known: object) -> Labels:
        """Labels that say nothing but what is given by name."""
        fields: dict[str, object] = dict.fromkeys(MASKS, unlabelled(height, width))
        fields |= {"boxes": np.zeros((0, 4), np.float32), "classes": np.zeros(0, np.int64)}
        fields["objects_known"] = "boxes" in known
        return cls(**(fields | known))  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False)
class Sample:
    """One moment: an image and what belongs to it.

    `image` uint8 (H, W, 3) RGB; `points` float32 (N, 4) x, y, z, intensity in the `lidar` frame, or None;
    `base_from_lidar` (4, 4), needed with points; `stamp` [s]; `source` names the vehicle or drive ("vehicle_1",
    "camvid/0001TP"), `domain` the conditions ("noon", "dusk_rain"). Raises `SampleRefused`.
    """

    image: NDArray[np.uint8]
    camera: CameraModel
    points: NDArray[np.float32] | None = None
    base_from_lidar: NDArray[np.float64] | None = None
    labels: Labels | None = None
    ego: EgoState | None = None
    stamp: float = 0.0
    source: str = ""
    domain: str = ""

    def __post_init__(self) -> None:
        shape, camera, points, labels = self.image.shape, self.camera, self.points, self.labels
        _require(self.image.dtype == np.uint8, SampleFault.IMAGE_TYPE, f"{self.image.dtype}, expected uint8")
        ok = shape == (camera.height, camera.width, 3)
        _require(ok, SampleFault.IMAGE_SHAPE, f"{shape} for a camera of {camera.width}x{camera.height}")
        _require(bool(np.isfinite(self.stamp)) and self.stamp >= 0, SampleFault.STAMP, str(self.stamp))
        if points is not None:
            ok = points.ndim == 2 and points.shape[1] == 4 and points.dtype == np.float32 and len(points) <= MAX_POINTS
            detail = f"{points.dtype} {points.shape}, expected float32 (N, 4), N <= {MAX_POINTS}"
            _require(ok, SampleFault.POINTS_SHAPE, detail)
            _require(bool(np.isfinite(points).all()), SampleFault.POINTS_NOT_FINITE, "drop NaN returns first")
            ok = self.base_from_lidar is not None
            _require(ok, SampleFault.POINTS_WITHOUT_TRANSFORM, "points need base_from_lidar")
        if self.base_from_lidar is not None:
            _require_rigid(self.base_from_lidar, "base_from_lidar")
        if labels is not None:
            ok = labels.free_space.shape == shape[:2]
            _require(ok, SampleFault.MASK_SHAPE, f"labels {labels.free_space.shape}, image {shape}")

    @property
    def points_in_base(self) -> NDArray[np.float64]:
        """(N, 3) LiDAR points in `base_link`; (0, 3) without LiDAR."""
        if self.points is None or self.base_from_lidar is None:
            return np.zeros((0, 3))
        return self.points[:, :3].astype(np.float64) @ self.base_from_lidar[:3, :3].T + self.base_from_lidar[:3, 3]

    @property
    def returns_in_base(self) -> NDArray[np.float32]:
        """(N, 4) x, y, z [m] in `base_link` and intensity; (0, 4) without LiDAR."""
        if self.points is None:
            return np.zeros((0, 4), np.float32)
        return np.column_stack((self.points_in_base, self.points[:, 3])).astype(np.float32)
