"""What an ego perceives in one step, and what only an expert or an evaluation may look at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..data.sample import CameraModel, EgoState
from ..reinforcement.expert import RoadUser, StopLine
from .events import Event
from .routes import PlannedRoute
from .vehicle import Control


@dataclass(frozen=True)
class Imu:
    """`acceleration` (x, y, z) [m/s²] with gravity and `angular_velocity` (x, y, z) [rad/s] in `base_link`."""

    acceleration: tuple[float, float, float]
    angular_velocity: tuple[float, float, float]


@dataclass(frozen=True)
class LightAhead:
    """The next light of the route: signal's `id`, `state` "red", "yellow" or "green", `distance` [m] from the front
    bumper to its stop line, and the line's middle `x`, `y` in `map`.
    """

    id: int
    state: str
    distance: float
    x: float
    y: float


@dataclass(frozen=True, eq=False)
class Truth:
    """What no sensor tells. An expert driver needs no more than this, the ego's state and the route.

    `users`: every other road user within 120 m, egos included, by a name that stays the same from step to step, in
    the form that `reinforcement.expert.Expert.decide` takes; `stop_line` likewise. `lateral` [m] left of the route's
    line and `heading_error` [rad]; `lead_gap` [m] bumper to bumper and `lead_speed` [m/s] of the nearest road user in
    the lane ahead (infinite, 0 if there is none); `off_road`: a corner of the vehicle is off the road;
    `collided`: there has been a collision in this run. For expert drivers and evaluation only.
    """

    users: dict[str, RoadUser]
    stop_line: StopLine | None
    lateral: float
    heading_error: float
    lead_gap: float
    lead_speed: float
    off_road: bool
    collided: bool


@dataclass(frozen=True, eq=False)
class Observation:
    """One ego's view of one frame at simulated time `stamp` [s].

    `image` uint8 (H, W, 3) RGB and `points` float32 (N, 4) x, y, z, intensity in the `lidar` frame are None where that
    sensor is off. `control` is what was applied last. `progress` [m] along `route`, `completion` in [0, 1];
    `speed_limit` [m/s]. `events` are those of this step.
    """

    stamp: float
    image: NDArray[np.uint8] | None
    camera: CameraModel
    points: NDArray[np.float32] | None
    base_from_lidar: NDArray[np.float64]
    imu: Imu
    ego: EgoState
    control: Control
    route: PlannedRoute
    progress: float
    completion: float
    light: LightAhead | None
    speed_limit: float
    events: tuple[Event, ...]
    truth: Truth
    weather: str
