"""Where traffic lights hang and how SUMO's letters read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .ground import Ground, Surface
from .meshes import Mesh, box
from .town import Signal, Town

LAMP_COLOURS: dict[str, tuple[float, tuple[float, float, float]]] = {
    "red": (0.36, (1.0, 0.08, 0.05)),
    "yellow": (0.0, (1.0, 0.75, 0.05)),
    "green": (-0.36, (0.10, 1.0, 0.35)),
}
"""Height [m] above the middle lamp and colour of each state."""

BEFORE_POST_M = 0.35


@dataclass(frozen=True)
class Head:
    """A lamp housing of signal number `signal`: centre (`x`, `y`, `z`) [m], `yaw` along the traffic, on a post."""

    signal: int
    x: float
    y: float
    z: float
    yaw: float
    post_x: float
    post_y: float

    def housing(self) -> Mesh:
        """The dark box behind the lamps."""
        c, s = np.cos(self.yaw), np.sin(self.yaw)
        return box(0.2, 0.42, 1.2).moved(self.x + 0.14 * c, self.y + 0.14 * s, self.z - 0.6, self.yaw)

    def arm(self) -> Mesh:
        """The mast arm from the post to the housing."""
        dx, dy = self.x - self.post_x, self.y - self.post_y
        length, yaw = float(np.hypot(dx, dy)), float(np.arctan2(dy, dx))
        return box(max(length, 0.1), 0.1, 0.1).moved(self.post_x + dx / 2, self.post_y + dy / 2, self.z + 0.45, yaw)


def signal_heads(town: Town, ground: Ground) -> list[Head]:
    """Two heads per signal: one beside the stop line, one on a mast arm across the junction."""
    heads = []
    for signal in town.signals:
        beside = signal.width / 2 + 0.5
        heads.append(_head(signal, 1.0, -beside, -beside, 3.2))
        forward = np.array([np.cos(signal.yaw), np.sin(signal.yaw)])
        right = np.array([forward[1], -forward[0]])
        stop = np.array([signal.x, signal.y])
        for ahead in np.arange(12.0, 45.0, 0.5):
            post = stop + ahead * forward + (beside + 0.4) * right
            if ground.at(post) == Surface.PAVEMENT:
                heads.append(_head(signal, ahead + 0.8, -beside + 1.6, -beside - 0.4, 5.0))
                break
    return heads


def _head(signal: Signal, ahead: float, left: float, post_left: float, z: float) -> Head:
    c, s = np.cos(signal.yaw), np.sin(signal.yaw)
    x, y = signal.x + ahead * c, signal.y + ahead * s
    post_x, post_y = x + BEFORE_POST_M * c - post_left * s, y + BEFORE_POST_M * s + post_left * c
    return Head(signal.id, x - left * s, y + left * c, z, signal.yaw, post_x, post_y)


def signal_state(letters: str, links: tuple[int, ...]) -> str:
    """The light of an approach from SUMO's state string: its most permissive link counts.

    With one green phase per approach all its links agree, save for minor turns that are "g" instead of "G".
    """
    shown = {letters[link].lower() for link in links}
    if "g" in shown:
        return "green"
    return "yellow" if "y" in shown else "red"
