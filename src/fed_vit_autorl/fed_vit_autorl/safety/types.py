"""What goes into the shield and what comes out. Times are seconds of one clock; frames as in the architecture."""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from fed_vit_autorl.reinforcement.route import Route

from .mrm import Manoeuvre
from .reasons import Reason


@dataclass(frozen=True, slots=True)
class Action:
    """A point of the space in which proposals are projected: road-wheel angle [rad], acceleration [m/s²]."""

    steering: float
    acceleration: float


@dataclass(frozen=True, slots=True)
class Command:
    """What the vehicle is told: road-wheel angle [rad], positive left; throttle and brake in [0, 1]."""

    steering_angle: float
    throttle: float
    brake: float
    hand_brake: bool = False
    hazard_lights: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Proposal:
    """What the policy wants; `stamp` is the camera's, `path` (M, 2) [m] in `base_link` as of `stamp`, maybe empty."""

    stamp: float
    steering_angle: float
    throttle: float
    brake: float
    path: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Odometry:
    """Pose in `map` (position [m], quaternion x, y, z, w), forward speed [m/s] and yaw rate [rad/s]."""

    stamp: float
    position: tuple[float, float, float]
    orientation: tuple[float, float, float, float]
    speed: float
    yaw_rate: float


@dataclass(frozen=True, slots=True, eq=False)
class Scan:
    """One LiDAR sweep: `points` float32 (N, ≥3) [m] in the `lidar` frame; a `dense` scan may not hold NaN."""

    stamp: float
    points: NDArray[np.float32]
    dense: bool = True


class LightState(IntEnum):
    """State of a traffic light (numbers of fed_vit_msgs/TrafficLight)."""

    UNKNOWN = 0
    RED = 1
    YELLOW = 2
    GREEN = 3
    OFF = 4


@dataclass(frozen=True, slots=True)
class Light:
    """A light on the route; `distance` [m] from the ego's front to its stop line, negative once passed."""

    state: LightState
    distance: float


@dataclass(frozen=True, slots=True)
class Lights:
    """The lights on the route, as of `stamp`."""

    stamp: float
    lights: tuple[Light, ...]


@dataclass(frozen=True, slots=True, eq=False)
class SceneHint:
    """Positions (K, 2) [m] in `base_link` where the learned perception sees road users."""

    stamp: float
    positions: NDArray[np.float64]


@dataclass(slots=True)
class ShieldInputs:
    """The latest of each input; None where nothing usable has come.

    `collision` and `shield_fault` are events since the last step.
    """

    proposal: Proposal | None = None
    odometry: Odometry | None = None
    scan: Scan | None = None
    lights: Lights | None = None
    route: Route | None = None
    scene: SceneHint | None = None
    collision: bool = False
    shield_fault: bool = False


@dataclass(frozen=True, slots=True)
class ShieldOutput:
    """The command, why it differs from the proposal (gravest first; empty: it does not), and the manoeuvre's state."""

    control: Command
    reasons: tuple[Reason, ...]
    state: Manoeuvre
