"""What perception saw, as a message."""

from array import array
from collections.abc import Iterable

import numpy as np
from fed_vit_msgs.msg import Scene, SceneObject
from geometry_msgs.msg import Point

from fed_vit_autorl.edge.perceiver import Seen


def scene_message(seen: Seen, positions: np.ndarray, free_distance: np.ndarray, size: tuple[int, int]) -> Scene:
    """The scene of an image of `size` (width, height), but for header, model and trace.

    positions (K, 3) [m] in `base_link`, NaN where unknown; free_distance (S,) [m].
    """
    free_space, lane = (_as_bytes(seen.masks[name]) for name in ("free_space", "lane"))
    height, width = seen.masks["free_space"].shape
    return Scene(
        image_width=size[0],
        image_height=size[1],
        objects=list(_objects(seen, positions)),
        mask_width=width,
        mask_height=height,
        free_space=free_space,
        lane=lane,
        free_distance=array("f", free_distance.astype(np.float32).tobytes()),
        features=array("f", seen.features.astype(np.float32).tobytes()),
        confidence=seen.confidence,
    )


def _as_bytes(probability: np.ndarray) -> array:
    return array("B", np.rint(probability * 255).astype(np.uint8).tobytes())


def _objects(seen: Seen, positions: np.ndarray) -> Iterable[SceneObject]:
    found = seen.detections
    for box, score, label, position in zip(found.boxes, found.scores, found.classes, positions, strict=True):
        x_min, y_min, x_max, y_max = map(float, box)
        entry = SceneObject(class_id=int(label), score=float(score), x_min=x_min, y_min=y_min, x_max=x_max, y_max=y_max)
        entry.has_position = bool(np.isfinite(position).all())
        if entry.has_position:
            entry.position = Point(x=float(position[0]), y=float(position[1]), z=float(position[2]))
        yield entry
