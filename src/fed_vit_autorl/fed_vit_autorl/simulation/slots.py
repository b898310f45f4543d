"""Road users as numbered places in a MuJoCo model: their paint, and where they are moved."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np
from numpy.typing import NDArray

from .shapes import CLOTHES, PAINTS

FAR_BELOW = -80.0
"""z [m] of a road user that is not there."""


@dataclass(frozen=True)
class Slot:
    """A road user's kind by name and its paint (r, g, b in [0, 1])."""

    kind: str
    paint: tuple[float, float, float]


def slots_for(kinds: list[str], rng: np.random.Generator) -> list[Slot]:
    """A slot per kind with a colour drawn from the kind's palette."""
    palettes = {"pedestrian": CLOTHES, "cyclist": CLOTHES}
    return [Slot(kind, tuple(rng.choice(palettes.get(kind, PAINTS)))) for kind in kinds]


class Mocaps:
    """The mocap bodies named slot0, slot1, … of a model."""

    def __init__(self, model: mujoco.MjModel, count: int):
        self.model = model
        self.bodies = np.array([model.body(f"slot{i}").id for i in range(count)], int)
        self._mocap = model.body_mocapid[self.bodies]

    def place(self, data: mujoco.MjData, poses: NDArray[np.float64], hidden: int | None = None) -> None:
        """Moves the road users to `poses` (slots, 4) of x, y, z [m], yaw [rad]; NaN or `hidden` takes one away."""
        away = np.isnan(poses[:, 0])
        if hidden is not None:
            away[hidden] = True
        where = np.where(away[:, None], (0.0, 0.0, FAR_BELOW, 0.0), poses)
        data.mocap_pos[self._mocap] = where[:, :3]
        half = 0.5 * where[:, 3]
        data.mocap_quat[self._mocap] = np.column_stack([np.cos(half), 0 * half, 0 * half, np.sin(half)])
        mujoco.mj_kinematics(self.model, data)
