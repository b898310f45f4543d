"""Weather and light by name: what changes in the scene, in the picture and in the LiDAR."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from fed_vit_autorl.refusal import Refused

Colour = tuple[float, float, float]
GRAIN_STARTS = 1 << 16


@dataclass(frozen=True)
class Weather:
    """One condition. Colours are in [0, 1]; distances in m; angles in rad.

    `sun` is the colour of the directional light from `sun_azimuth`, `sun_elevation`; `ambient` lights everything;
    `headlight` shines from the camera (the car's own lamps); `fog` colours what lies between `fog_start` and `fog_end`
    (infinite: clear air); `lamps` in [0, 1] is how bright lamps and windows glow; `wet` in [0, 1] darkens the road.
    In the picture: `rain` in [0, 1] draws streaks, blurs and lowers contrast, `noise` is the sensor's standard
    deviation in grey levels, `tint` scales the channels. In the LiDAR: `lidar_range` in m, `lidar_loss` the share of
    returns lost, `lidar_clutter` the share of false returns from drops near the sensor. `grip` scales friction.
    """

    name: str
    sun: Colour
    ambient: Colour
    zenith: Colour
    horizon: Colour
    fog: Colour
    sun_azimuth: float = 0.9
    sun_elevation: float = 0.9
    headlight: Colour = (0.0, 0.0, 0.0)
    fog_start: float = 0.0
    fog_end: float = math.inf
    clouds: float = 0.5
    lamps: float = 0.0
    wet: float = 0.0
    rain: float = 0.0
    noise: float = 1.5
    tint: Colour = (1.0, 1.0, 1.0)
    lidar_range: float = 80.0
    lidar_loss: float = 0.005
    lidar_clutter: float = 0.0
    grip: float = 1.0


WEATHERS: dict[str, Weather] = {
    weather.name: weather
    for weather in (
        Weather(
            "noon",
            sun=(0.80, 0.77, 0.70),
            ambient=(0.62, 0.64, 0.67),
            zenith=(0.22, 0.45, 0.80),
            horizon=(0.74, 0.84, 0.93),
            fog=(0.76, 0.84, 0.92),
        ),
        Weather(
            "dusk",
            sun=(0.62, 0.34, 0.14),
            ambient=(0.22, 0.20, 0.28),
            zenith=(0.13, 0.15, 0.33),
            horizon=(0.93, 0.50, 0.24),
            fog=(0.60, 0.38, 0.30),
            sun_elevation=0.16,
            headlight=(0.12, 0.11, 0.09),
            lamps=0.8,
            noise=5.0,
        ),
        Weather(
            "night",
            sun=(0.02, 0.02, 0.04),
            ambient=(0.09, 0.09, 0.14),
            zenith=(0.01, 0.01, 0.03),
            horizon=(0.05, 0.06, 0.11),
            fog=(0.02, 0.02, 0.04),
            headlight=(0.34, 0.32, 0.26),
            fog_start=8.0,
            fog_end=110.0,
            clouds=0.0,
            lamps=1.0,
            noise=8.0,
        ),
        Weather(
            "rain",
            sun=(0.16, 0.17, 0.18),
            ambient=(0.46, 0.48, 0.52),
            zenith=(0.46, 0.50, 0.55),
            horizon=(0.62, 0.66, 0.70),
            fog=(0.58, 0.62, 0.66),
            fog_start=15.0,
            fog_end=170.0,
            clouds=0.3,
            lamps=0.4,
            wet=0.7,
            rain=0.7,
            noise=5.0,
            lidar_range=55.0,
            lidar_loss=0.06,
            lidar_clutter=0.004,
            grip=0.7,
        ),
        Weather(
            "rain_dusk",
            sun=(0.10, 0.08, 0.09),
            ambient=(0.25, 0.24, 0.31),
            zenith=(0.10, 0.11, 0.20),
            horizon=(0.30, 0.24, 0.30),
            fog=(0.26, 0.24, 0.30),
            sun_elevation=0.2,
            headlight=(0.22, 0.20, 0.16),
            fog_start=8.0,
            fog_end=120.0,
            clouds=0.2,
            lamps=1.0,
            wet=0.9,
            rain=1.0,
            noise=7.0,
            tint=(0.95, 0.96, 1.08),
            lidar_range=50.0,
            lidar_loss=0.08,
            lidar_clutter=0.006,
            grip=0.65,
        ),
        Weather(
            "fog",
            sun=(0.18, 0.18, 0.18),
            ambient=(0.52, 0.53, 0.54),
            zenith=(0.72, 0.74, 0.76),
            horizon=(0.76, 0.78, 0.79),
            fog=(0.75, 0.77, 0.78),
            fog_start=4.0,
            fog_end=62.0,
            clouds=0.0,
            lamps=0.5,
            wet=0.3,
            noise=3.0,
            lidar_range=40.0,
            lidar_loss=0.05,
            lidar_clutter=0.004,
            grip=0.9,
        ),
    )
}


class WeatherReason(StrEnum):
    """Why a weather was refused."""

    UNKNOWN = "unknown_weather"


class WeatherRefused(Refused):
    """A weather that does not exist; `reason` says why."""

    def __init__(self, name: str):
        super().__init__(WeatherReason.UNKNOWN, f"{name!r}; there are: {', '.join(WEATHERS)}")


def weather_named(name: str) -> Weather:
    """The weather of that name; raises `WeatherRefused`."""
    if name not in WEATHERS:
        raise WeatherRefused(name)
    return WEATHERS[name]


def through_the_lens(image: NDArray[np.uint8], weather: Weather, rng: np.random.Generator) -> NDArray[np.uint8]:
    """The rendered image (H, W, 3) as the camera delivers it: rain on lens and air, exposure, sensor noise."""
    if weather.rain:
        image = _rain(image, weather, rng)
    if weather.tint != (1.0, 1.0, 1.0):
        image = cv2.multiply(image, (*weather.tint, 1.0))
    start = int(rng.integers(GRAIN_STARTS))
    grain = _grain(image.size)[start : start + image.size].reshape(image.shape)
    return cv2.add(image, weather.noise * grain, dtype=cv2.CV_8U)


@cache
def _grain(size: int) -> NDArray[np.float32]:
    """Gaussian noise to cut from: fresh numbers for every pixel of every picture would cost as much as the picture."""
    return np.random.default_rng(0).standard_normal(size + GRAIN_STARTS, np.float32)


def _rain(image: NDArray[np.uint8], weather: Weather, rng: np.random.Generator) -> NDArray[np.uint8]:
    height, width = image.shape[:2]
    scale = height / 192.0
    veil = tuple(int(255 * (0.55 * c + 0.12)) for c in weather.horizon)
    image = cv2.addWeighted(cv2.GaussianBlur(image, (3, 3), 0), 0.88, np.full_like(image, veil), 0.12, 0)
    streaks = np.zeros_like(image)
    bright = tuple(int(min(255, 255 * (c + 0.25))) for c in weather.horizon)
    count = int(90 * weather.rain * width / 320)
    starts = rng.random((count, 2)) * (width, height)
    lengths = rng.uniform(5, 20, count) * scale
    slant = rng.normal(0.12, 0.05, count)
    for (x, y), length, lean in zip(starts, lengths, slant, strict=True):
        cv2.line(streaks, (int(x), int(y)), (int(x + lean * length), int(y + length)), bright, max(1, int(scale)))
    image = cv2.addWeighted(image, 1.0, streaks, 0.28, 0)
    for x, y, size in rng.random((int(7 * weather.rain), 3)):
        _drop(image, int(x * width), int(y * height), int((3 + 5 * size) * scale))
    return image


def _drop(image: NDArray[np.uint8], x: int, y: int, radius: int) -> None:
    """A drop on the lens smears what is behind it."""
    left, top = max(x - radius, 0), max(y - radius, 0)
    patch = image[top : y + radius, left : x + radius]
    inside = cv2.circle(np.zeros(patch.shape[:2], np.uint8), (x - left, y - top), radius, 1, -1) > 0
    patch[inside] = cv2.blur(patch, (2 * radius + 1, 2 * radius + 1))[inside]
