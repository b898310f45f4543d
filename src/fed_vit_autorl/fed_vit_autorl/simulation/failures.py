"""Sensor failures: what a broken camera or LiDAR delivers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8] | None
Points = NDArray[np.float32] | None
BLIND_HALF_ANGLE = np.radians(40.0)


def _blind_ahead(points: Points) -> Points:
    return points if points is None else points[np.abs(np.arctan2(points[:, 1], points[:, 0])) > BLIND_HALF_ANGLE]


# (image, points, image before the failure, points before it) → what is delivered
FAILURES: dict[str, Callable[[Image, Points, Image, Points], tuple[Image, Points]]] = {
    "camera_black": lambda image, points, *_: (None if image is None else np.zeros_like(image), points),
    "camera_silent": lambda image, points, *_: (None, points),
    "camera_frozen": lambda image, points, last, _: (last, points),
    "lidar_silent": lambda image, points, *_: (image, None),
    "lidar_frozen": lambda image, points, _, last: (image, last),
    "lidar_blind_ahead": lambda image, points, *_: (image, _blind_ahead(points)),
}
"""A silent sensor delivers None."""


@dataclass
class Failure:
    """The failure `name` from `begins` to `ends` [s]; keeps what the sensors delivered last before it."""

    name: str
    begins: float
    ends: float
    _image: Image = field(default=None, repr=False)
    _points: Points = field(default=None, repr=False)

    def apply(self, stamp: float, image: Image, points: Points) -> tuple[Image, Points]:
        """What is delivered at `stamp` [s]."""
        if self.begins <= stamp < self.ends:
            return FAILURES[self.name](image, points, self._image, self._points)
        self._image, self._points = image, points
        return image, points
