"""What only shows over time: frozen sensors, jumps of the localisation and of the clock, blind sectors, collisions."""

import math
from bisect import bisect
from collections import deque

import numpy as np
from numpy.typing import NDArray

from fed_vit_autorl.data.sample import EgoState
from fed_vit_autorl.reinforcement.route import Pose

from .assumptions import Assumptions
from .lidar import SECTORS
from .reasons import Reason
from .types import Odometry, Scan
from .validation import yaw

AHEAD_SECTORS = slice(SECTORS // 3, 2 * SECTORS // 3)  # 60° to either side of straight ahead
POSES = 32
PUSHING = 0.3  # m/s², commanded acceleration that must move a vehicle


class ClockMonitor:
    """Notices a clock that goes back, or forward by more than it may."""

    def __init__(self, a: Assumptions) -> None:
        self._a, self._last = a, math.nan

    def check(self, now: float) -> Reason | None:
        """`now` [s] of this tick against that of the last; the first one is good."""
        before, self._last = self._last, now
        if now < before or now - before > self._a.clock_jump:
            return Reason.CLOCK_JUMP
        return None


def dead_reckoned(ego: EgoState, dt: float) -> Pose:
    """Where the ego is `dt` s after its state."""
    turn = 0.5 * ego.yaw_rate * dt
    way = ego.speed * dt
    x, y = ego.position[0] + way * math.cos(ego.yaw + turn), ego.position[1] + way * math.sin(ego.yaw + turn)
    return Pose(x, y, ego.yaw + 2.0 * turn)


class LocalisationMonitor:
    """Follows the odometry: frozen while moving or pushed, or jumping away from where its own speed leads."""

    def __init__(self, a: Assumptions) -> None:
        self._a = a
        self.reset()

    def reset(self) -> None:
        """Forget the past."""
        self._poses: deque[EgoState] = deque(maxlen=POSES)
        self._unchanged_since = math.nan

    def update(self, odometry: Odometry, pushed: bool) -> tuple[EgoState, Reason | None]:
        """The ego's state, and what is wrong with the localisation.

        Args:
            odometry: validated and newer than the last.
            pushed: whether the vehicle is commanded to accelerate.
        """
        before = self._poses[-1] if self._poses else None
        acceleration = 0.0
        if before is not None:
            acceleration = (odometry.speed - before.speed) / (odometry.stamp - before.stamp)
        ego = EgoState(
            odometry.stamp,
            odometry.position,
            yaw(odometry.orientation),
            odometry.speed,
            odometry.yaw_rate,
            acceleration,
        )
        self._poses.append(ego)
        if before is None:
            return ego, None
        if self._jumped(before, ego):
            return ego, Reason.ODOMETRY_JUMP
        return ego, self._frozen(before, ego, pushed)

    def at(self, stamp: float) -> EgoState | None:
        """The state nearest in time to `stamp`; None before the first."""
        after = bisect(self._poses, stamp, key=lambda ego: ego.stamp)
        around = [self._poses[i] for i in (after - 1, after) if 0 <= i < len(self._poses)]
        return min(around, key=lambda ego: abs(ego.stamp - stamp), default=None)

    def _jumped(self, before: EgoState, ego: EgoState) -> bool:
        way = before.speed * (ego.stamp - before.stamp)
        x = before.position[0] + way * math.cos(before.yaw)
        y = before.position[1] + way * math.sin(before.yaw)
        return math.hypot(ego.position[0] - x, ego.position[1] - y) > self._a.jump_distance

    def _frozen(self, before: EgoState, ego: EgoState, pushed: bool) -> Reason | None:
        same = ego.position == before.position and ego.yaw == before.yaw and ego.speed == before.speed
        moving = abs(ego.speed) > self._a.frozen_speed
        if not same or not (moving or pushed):
            self._unchanged_since = math.nan
            return None
        if math.isnan(self._unchanged_since):
            self._unchanged_since = before.stamp
        return Reason.ODOMETRY_FROZEN if ego.stamp - self._unchanged_since >= self._a.frozen_odometry else None


class ScanMonitor:
    """Notices a LiDAR that repeats itself while the vehicle moves."""

    def __init__(self, a: Assumptions) -> None:
        self._a = a
        self._last, self._repeats = b"", 0

    def update(self, scan: Scan, moving: bool) -> Reason | None:
        """`scan` is newer than the last; `moving`: whether the scan has to change."""
        data = scan.points.tobytes()
        self._repeats = self._repeats + 1 if data == self._last and moving else 0
        self._last = data
        return Reason.LIDAR_FROZEN if self._repeats + 1 >= self._a.frozen_scans else None


def blind_sector(sector_returns: NDArray[np.int64], a: Assumptions) -> Reason | None:
    """A sector of the 120° ahead without returns: the ground alone gives some, wherever the LiDAR sees."""
    blind = sector_returns[AHEAD_SECTORS] < a.sector_returns
    return Reason.LIDAR_BLIND_SECTOR if blind.any() else None
