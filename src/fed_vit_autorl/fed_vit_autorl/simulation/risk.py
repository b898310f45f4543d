"""Whether the ego is about to meet somebody, if all keep course and speed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..data.sample import RISK_HORIZON_S
from .vehicle import VehicleState

STEP_S = 0.2
ROOM_M = 0.3
"""Nearer than this to each other is met."""
EGO_LENGTH_M, EGO_WIDTH_M, EGO_CENTRE_M = 4.6, 1.85, 1.4


def meets(ego: VehicleState, solids: NDArray[np.float32], speeds: NDArray[np.float64]) -> bool:
    """Whether within `RISK_HORIZON_S` the ego, turning as it does, overlaps one of `solids` (K, 7) in its `base_link`.

    speeds (K,) [m/s] along each one's yaw. Bodies are taken as boxes along the ego's axes, which errs a little to the
    safe side for those that stand across.
    """
    if not len(solids):
        return False
    time = np.arange(0.0, RISK_HORIZON_S + STEP_S / 2, STEP_S)[:, None]
    turned = ego.yaw_rate * time
    x, y = (
        ego.speed * time * np.sinc(turned / np.pi),
        ego.speed * time * np.sin(turned / 2) * np.sinc(turned / 2 / np.pi),
    )
    yaw = solids[:, 6]
    ahead = solids[:, 0] + speeds * np.cos(yaw) * time - x
    left = solids[:, 1] + speeds * np.sin(yaw) * time - y
    cosine, sine = np.cos(turned), np.sin(turned)
    along, across = cosine * ahead + sine * left - EGO_CENTRE_M, cosine * left - sine * ahead
    reach_along = np.abs(np.cos(yaw)) * solids[:, 3] + np.abs(np.sin(yaw)) * solids[:, 4]
    reach_across = np.abs(np.sin(yaw)) * solids[:, 3] + np.abs(np.cos(yaw)) * solids[:, 4]
    near = np.abs(along) < (EGO_LENGTH_M + reach_along) / 2 + ROOM_M
    near &= np.abs(across) < (EGO_WIDTH_M + reach_across) / 2 + ROOM_M
    return bool(near.any())
