"""Augmentations that change how things look, not where they are: light, weather, noise, dropped sensors."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from ..sample import CameraModel, Sample

FOG_GREY = 200.0


def colour(sample: Sample, hue: float, saturation: float) -> Sample:
    """Hue turned by `hue` [°, ±180], saturation multiplied."""
    hsv = cv2.cvtColor(sample.image, cv2.COLOR_RGB2HSV).astype(np.int16)
    hsv[..., 0] = (hsv[..., 0] + round(hue / 2)) % 180
    hsv[..., 1] = np.clip(hsv[..., 1] * saturation, 0, 255)
    return replace(sample, image=cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2RGB))


def light(sample: Sample, gain: float, gamma: float) -> Sample:
    """255 · gain · (value / 255) ** gamma."""
    table = np.clip(255 * gain * (np.arange(256) / 255) ** gamma, 0, 255).astype(np.uint8)
    return replace(sample, image=cv2.LUT(sample.image, table))


def noise(sample: Sample, sigma: float, random: np.random.Generator) -> Sample:
    """Gaussian noise of `sigma` grey levels on every pixel."""
    grain = random.standard_normal(sample.image.shape, np.float32) * sigma
    return replace(sample, image=_as_image(sample.image + grain))


def blur(sample: Sample, sigma: float) -> Sample:
    """Gaussian blur of `sigma` pixels."""
    return replace(sample, image=cv2.GaussianBlur(sample.image, (0, 0), sigma))


def fog(sample: Sample, visibility: float) -> Sample:
    """Koschmieder's law: what lies at distance d keeps exp(-3.912 d / visibility) of its contrast (metres).

    Distances are those of a level road; above the horizon everything counts as far as the visibility.
    """
    distance = np.minimum(_road_distance(sample.camera), visibility)
    kept = np.exp(-3.912 * distance / visibility)[:, None, None]
    return replace(sample, image=_as_image(sample.image * kept + FOG_GREY * (1 - kept)))


def rain(sample: Sample, streaks: int, random: np.random.Generator) -> Sample:
    """Bright slanted streaks, less contrast and a film of blur."""
    height, width = sample.image.shape[:2]
    layer = np.zeros((height, width), np.uint8)
    slant = random.uniform(-0.3, 0.3)
    for _ in range(streaks):
        x, y = random.uniform(0, width), random.uniform(-0.2 * height, height)
        length = random.uniform(0.05, 0.15) * height
        cv2.line(layer, (int(x), int(y)), (int(x + slant * length), int(y + length)), 255, 1)
    drops = cv2.blur(layer, (1, 3))[..., None] * np.float32(0.4 / 255)
    dull = cv2.GaussianBlur(sample.image, (0, 0), 0.6).astype(np.float32) * 0.75 + 25
    return replace(sample, image=_as_image(dull * (1 - drops) + 220 * drops))


def sun(sample: Sample, x: float, y: float, strength: float) -> Sample:
    """Glare around the point (x, y), given as shares of width and height; `strength` in [0, 1]."""
    height, width = sample.image.shape[:2]
    rows, columns = np.ogrid[:height, :width]
    squared = ((columns - x * width) ** 2 + (rows - y * height) ** 2) / (0.35 * width) ** 2
    glare = 255 * strength * np.exp(-squared).astype(np.float32)[..., None]
    return replace(sample, image=_as_image(sample.image + glare))


def occlusion(sample: Sample, share: float, random: np.random.Generator) -> Sample:
    """A grey rectangle, dirt on the lens, over `share` of the image's area."""
    height, width = sample.image.shape[:2]
    h, w = round(height * np.sqrt(share)), round(width * np.sqrt(share))
    top, left = random.integers(0, height - h + 1), random.integers(0, width - w + 1)
    image = sample.image.copy()
    image[top : top + h, left : left + w] = 90
    return replace(sample, image=image)


def camera_dropout(sample: Sample) -> Sample:
    """A black image: the camera is dead."""
    return replace(sample, image=np.zeros_like(sample.image))


def lidar_dropout(sample: Sample) -> Sample:
    """No points: the LiDAR is dead."""
    return replace(sample, points=None)


def _as_image(values: NDArray) -> NDArray[np.uint8]:
    return np.clip(values, 0, 255).astype(np.uint8)


def _road_distance(camera: CameraModel) -> NDArray[np.float32]:
    """Distance (H,) [m] of the road in the middle of each row; infinite above the horizon."""
    rows = np.stack([np.full(camera.height, camera.width / 2), np.arange(camera.height) + 0.5, np.ones(camera.height)])
    rays = camera.base_from_camera[:3, :3] @ np.linalg.inv(camera.intrinsics) @ rows
    height = camera.base_from_camera[2, 3]
    down = np.where(rays[2] < -1e-6, -rays[2], np.nan)
    distance = height * np.linalg.norm(rays, axis=0) / down
    return np.nan_to_num(distance, nan=np.inf, posinf=np.inf).astype(np.float32)
