"""Truth of a picture from its segmentation: boxes of what is visible, and the road's masks. For evaluation only."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ..data.sample import CameraModel, Labels
from .actors import KINDS
from .ground import ribbon
from .risk import meets
from .routes import PlannedRoute
from .scene import Scene
from .vehicle import VehicleState

MIN_PIXELS = 20
MIN_SIDE = 4
MIN_VISIBLE = 0.25
MOVING_MPS = 0.5
LANE_AHEAD_M = 50.0
LANE_STEP_M = 1.0


@dataclass(frozen=True)
class ObjectTruth:
    """A visible road user: slot in the scene, `label`, box (x0, y0, x1, y1) of its visible pixels, how many those are,
    the share `visible` of its projected 3D box that this box covers, in [0, 1], and the 3D box: centre on the ground
    `x`, `y`, `z` [m], `yaw` [rad] in `map`, `length`, `width`, `height` [m].
    """

    slot: int
    label: int
    box: tuple[int, int, int, int]
    pixels: int
    visible: float
    x: float
    y: float
    z: float
    yaw: float
    length: float
    width: float
    height: float


def labels_of(
    geoms: NDArray[np.int32],
    objects: list[ObjectTruth],
    scene: Scene,
    camera: CameraModel,
    pose: tuple[float, float, float],
    route: PlannedRoute,
    progress: float,
    speeds: NDArray[np.float64],
    ego: VehicleState,
) -> Labels:
    """`Labels` of a picture with geom ids `geoms` (H, W) and `visible_objects`, seen from `base_link` at `pose`.

    speeds (slots,) [m/s] of all road users; `ego` is the vehicle's own motion.
    Objects of which too little is seen are `ignored` regions. `free_space` is the visible road surface: what is seen of
    the road is not occupied, and the town's roads are all connected.
    """
    clear = [o for o in objects if _is_clear(o)]
    vague = [o for o in objects if not _is_clear(o)]
    road = np.isin(geoms, scene.road_geoms).astype(np.uint8)
    return Labels(
        boxes=np.array([o.box for o in clear], np.float32).reshape(-1, 4),
        classes=np.array([o.label for o in clear], np.int64),
        free_space=road,
        lane=road & _lane_mask(camera, pose, route, progress),
        drivable=road,
        ignored=np.array([o.box for o in vague], np.float32).reshape(-1, 4),
        solids=_solids(clear, pose),
        moving=np.isin(_slots(geoms, scene), np.flatnonzero(speeds > MOVING_MPS)).astype(np.uint8),
        risk=float(meets(ego, _solids(objects, pose), speeds[[o.slot for o in objects]])),
    )


def _solids(objects: list[ObjectTruth], pose: tuple[float, float, float]) -> NDArray[np.float32]:
    """(K, 7) as `Labels.solids`, from `base_link` at `pose`."""
    x, y, yaw = pose
    rows = np.array([(o.x, o.y, o.z + o.height / 2, o.length, o.width, o.height, o.yaw) for o in objects])
    rows = rows.reshape(-1, 7)
    c, s = np.cos(yaw), np.sin(yaw)
    rows[:, :2] = (rows[:, :2] - (x, y)) @ np.array([[c, -s], [s, c]])
    rows[:, 6] = (rows[:, 6] - yaw + np.pi) % (2 * np.pi) - np.pi
    return rows.astype(np.float32)


def _slots(geoms: NDArray[np.int32], scene: Scene) -> NDArray[np.int64]:
    """(H, W) number of the road user that each pixel shows, -1 for none."""
    return np.where(geoms >= 0, scene.slot_of_geom[np.maximum(geoms, 0)], -1)


def visible_objects(
    geoms: NDArray[np.int32],
    scene: Scene,
    camera: CameraModel,
    pose: tuple[float, float, float],
    poses: NDArray[np.float64],
) -> list[ObjectTruth]:
    """Every road user of which a pixel is seen."""
    slots = _slots(geoms, scene)
    found = []
    for slot in np.unique(slots[slots >= 0]):
        rows, columns = np.nonzero(slots == slot)
        kind = KINDS[scene.slots[slot].kind]
        box = (int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1)
        x, y, z, yaw = poses[slot]
        size = (kind.length, kind.width, kind.height)
        whole = _projected_area(camera, pose, (x, y, z, yaw), size)
        share = min(1.0, (box[2] - box[0]) * (box[3] - box[1]) / whole) if whole else 0.0
        found.append(ObjectTruth(int(slot), kind.label, box, len(rows), share, x, y, z, yaw, *size))
    return found


def _is_clear(o: ObjectTruth) -> bool:
    x0, y0, x1, y1 = o.box
    return o.pixels >= MIN_PIXELS and x1 - x0 >= MIN_SIDE and y1 - y0 >= MIN_SIDE and o.visible >= MIN_VISIBLE


def _projected_area(camera: CameraModel, pose: tuple, body: tuple, size: tuple[float, float, float]) -> float:
    """Pixels of the box around the projection of a 3D box, as far as it lies in the picture."""
    x, y, yaw = pose
    unit = np.array([(a, b, c) for a in (-0.5, 0.5) for b in (-0.5, 0.5) for c in (0.0, 1.0)]) * size
    c, s = np.cos(body[3]), np.sin(body[3])
    world = unit @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]]) + body[:3]
    c, s = np.cos(yaw), np.sin(yaw)
    base = (world - (x, y, 0)) @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    pixels, depth = camera.project(base)
    if (depth < 0.3).all():
        return 0.0
    pixels = pixels[depth >= 0.3]
    low = np.clip(pixels.min(axis=0), 0, (camera.width, camera.height))
    high = np.clip(pixels.max(axis=0), 0, (camera.width, camera.height))
    return float(np.prod(high - low))


def _lane_mask(
    camera: CameraModel, pose: tuple[float, float, float], route: PlannedRoute, progress: float
) -> NDArray[np.uint8]:
    """The corridor of the ego's lane along its route, as wide as the lane, drawn as if nothing stood in the way."""
    mask = np.zeros((camera.height, camera.width), np.uint8)
    s = np.arange(progress, min(progress + LANE_AHEAD_M, route.line.length) + LANE_STEP_M, LANE_STEP_M)
    band = ribbon(route.line.at(s), float(route.at(route.lane_widths, progress)))
    x, y, yaw = pose
    c, sn = np.cos(yaw), np.sin(yaw)
    local = (band - (x, y)) @ np.array([[c, -sn], [sn, c]])
    pixels, depth = camera.project(np.column_stack([local, np.zeros(len(local))]))
    count = len(s)
    for i in range(count - 1):
        corner = [i, i + 1, 2 * count - 2 - i, 2 * count - 1 - i]
        if (depth[corner] > 0.5).all():
            cv2.fillConvexPoly(mask, np.round(pixels[corner] * 16 - 8).astype(np.int32), 1, shift=4)
    return mask
