"""How fast to go: the intelligent driver model, the speed that a route's curves allow, stopping at a line, comfort."""

import math
from dataclasses import dataclass

import numpy as np

from fed_vit_autorl.compiled import compiled
from fed_vit_autorl.reinforcement.polyline import KNOTS, curvature_at, limit_at
from fed_vit_autorl.reinforcement.route import Route

AHEAD_STEP_M = 2.0
LAST_M = 0.3
"""Nearer to where it should stand a vehicle just stops."""


@dataclass(frozen=True)
class DrivingStyle:
    """Comfort and distance: m/s², m/s³, m, s. `deceleration` is what is planned with, `hardest` what need allows;
    `jerk` lies within nuPlan's 4.13 m/s³, and who has to brake harder than `urgent` does not wait for it.
    """

    acceleration: float = 1.8
    deceleration: float = 2.0
    hardest: float = 6.0
    urgent: float = 3.0
    jerk: float = 3.0
    lateral: float = 2.0
    standstill_gap: float = 4.5
    headway: float = 1.6
    stop_line_gap: float = 1.5


def free_road(speed: float, target_speed: float, style: DrivingStyle) -> float:
    """Acceleration in m/s² towards `target_speed` (m/s) on an empty road: IDM's, and braking above the target."""
    if target_speed < 0.1:
        return -style.deceleration
    if speed <= target_speed:
        return style.acceleration * (1.0 - (speed / target_speed) ** 4)
    return -min(3.0 * (speed - target_speed), style.deceleration)


def follow(speed: float, gap: float, lead_speed: float, style: DrivingStyle) -> float:
    """IDM's acceleration without its free-road term, in m/s² (Treiber et al. 2000), `gap` metres behind a lead."""
    approach = speed * (speed - lead_speed) / (2.0 * math.sqrt(style.acceleration * style.deceleration))
    wanted = style.standstill_gap + max(speed * style.headway + approach, 0.0)
    return _bounded(style.acceleration * (1.0 - (wanted / max(gap, 0.1)) ** 2), style)


def stop_at(speed: float, distance: float, style: DrivingStyle) -> float:
    """Acceleration in m/s² that ends `distance` metres ahead at standstill: v²/2d once that is worth braking for."""
    needed = speed**2 / (2.0 * max(distance, LAST_M))
    if distance <= LAST_M:
        return _bounded(-max(needed, style.deceleration), style)
    approach = math.sqrt(1.2 * style.deceleration * distance)
    if needed > 0.6 * style.deceleration:
        return _bounded(-needed, style)
    return _bounded(min(style.acceleration, 1.5 * (approach - speed)), style)


def must_stop(speed: float, distance: float, red: bool, yellow: bool) -> bool:
    """Whether a light says stop: red unless its line is passed, yellow when a stop needs no more than 3 m/s².

    Whoever stands with the bumper on the line waits as well.
    """
    if distance < (0.0 if speed > 1.0 else -1.0):
        return False
    return red or (yellow and speed**2 / (2.0 * max(distance, 0.1)) <= 3.0)


def curve_speed(route: Route, s: float, style: DrivingStyle, horizon: float = 60.0) -> float:
    """The speed in m/s from which comfortable braking reaches each limit and curve (√(a_lat/|κ|)) ahead."""
    return _curve_speed(route.knots, s, style.lateral, style.deceleration, horizon)


@compiled(f"float64({KNOTS}, float64, float64, float64, float64)")
def _curve_speed(knots, s, lateral, deceleration, horizon):
    least = np.inf
    for i in range(int(np.ceil(horizon / AHEAD_STEP_M))):
        ahead = i * AHEAD_STEP_M
        curvature, limit = abs(curvature_at(knots, s + ahead, 3.0)), limit_at(knots, s + ahead)
        allowed = np.minimum(np.sqrt(lateral / np.maximum(curvature, 1e-4)), limit)
        least = np.minimum(least, np.sqrt(allowed * allowed + 1.2 * deceleration * ahead))
    return np.minimum(least, limit_at(knots, s))


class Ease:
    """Makes the accelerations that a drive asks for comfortable, one frame after the other."""

    def __init__(self, style: DrivingStyle) -> None:
        self._style = style
        self._stamp, self._given, self._pressing = math.nan, 0.0, False

    def __call__(self, wanted: float, speed: float, stamp: float) -> float:
        """What to do at `stamp` [s] and `speed` [m/s] for the `wanted` acceleration [m/s²].

        It changes at the style's jerk, towards standstill too: a constant jerk j ends at rest through a = -√(2 j v).
        Need that is there for a second frame knows no comfort; in one frame alone it is a ghost's more often than not.
        """
        style, before = self._style, max(self._given, -self._style.deceleration)
        change = style.jerk * max(stamp - self._stamp, 0.0) if stamp > self._stamp else 0.0
        pressed, pressing = self._pressing, wanted <= -style.urgent
        self._stamp, self._pressing = stamp, pressing
        if not (pressed and pressing):
            wanted = min(max(wanted, before - change), before + change)
            wanted = max(wanted, -math.sqrt(2.0 * style.jerk * max(speed, 0.0)))
        self._given = wanted
        return wanted


def _bounded(acceleration: float, style: DrivingStyle) -> float:
    return float(min(max(acceleration, -style.hardest), style.acceleration))
