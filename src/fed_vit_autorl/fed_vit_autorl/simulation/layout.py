"""Where buildings, trees and lamps of a town stand: seeded, clear of streets and of each other."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from .ground import RESOLUTION_M, Ground, Surface, densify, offset
from .textures import WALLS
from .town import SIDEWALK_WIDTH_M, Town, polyline_length


@dataclass(frozen=True)
class Building:
    """A house: centre [m], `yaw` [rad], `length` along the street, `depth`, `height` [m], wall `style`."""

    x: float
    y: float
    yaw: float
    length: float
    depth: float
    height: float
    style: str


@dataclass(frozen=True)
class Plant:
    """A tree: foot [m], `scale` and `style` 0 to 2."""

    x: float
    y: float
    scale: float
    style: int


@dataclass(frozen=True)
class Pole:
    """A street lamp: foot [m] and `yaw` [rad] of its arm."""

    x: float
    y: float
    yaw: float


@dataclass(frozen=True)
class Layout:
    """All that stands in the town; `blocked` marks its footprints in the raster of `Ground` (bool)."""

    buildings: tuple[Building, ...]
    trees: tuple[Plant, ...]
    lamps: tuple[Pole, ...]
    blocked: NDArray[np.bool_]


def plan(town: Town, ground: Ground) -> Layout:
    """The layout that the town's seed gives."""
    rng = np.random.default_rng([town.spec.seed, 77])
    taken = ground.cells != Surface.GREEN
    solid = np.zeros_like(taken)
    buildings, trees, lamps = [], [], []
    for lane in town.sidewalks.values():
        # The kerb is on the left of a pavement lane (right-hand traffic): the street front is on its right.
        for x, y, yaw in _stations(offset(lane.line, -(SIDEWALK_WIDTH_M / 2 + 9.0)), 17.0, rng):
            length, depth = rng.uniform(10, 15), rng.uniform(9, 12)
            storeys = rng.choice([2, 3, 4, 5, 7], p=[0.3, 0.28, 0.22, 0.12, 0.08])
            style = rng.choice(list(WALLS)) if storeys < 5 else rng.choice(["office", "concrete"])
            box = Building(x, y, yaw, round(length / 3) * 3.0, round(depth / 3) * 3.0, 3.2 * storeys, str(style))
            if rng.random() < 0.82 and _claim(box, taken, solid, ground):
                buildings.append(box)
        for x, y, _ in _stations(offset(lane.line, -(SIDEWALK_WIDTH_M / 2 + 1.3)), 11.0, rng):
            if rng.random() < 0.6 and _claim_disc(x, y, 0.9, taken, solid, ground):
                trees.append(Plant(x, y, rng.uniform(0.75, 1.25), int(rng.integers(3))))
        for x, y, yaw in _stations(offset(lane.line, -(SIDEWALK_WIDTH_M / 2 - 0.3)), 28.0, rng):
            lamps.append(Pole(x, y, yaw + np.pi / 2))
    for _ in range(60):
        x, y = ground.origin + rng.random(2) * ground.size
        if _claim_disc(x, y, 2.5, taken, solid, ground):
            trees.append(Plant(x, y, rng.uniform(0.9, 1.5), int(rng.integers(3))))
    buildings += _skyline(ground, taken, rng)
    return Layout(tuple(buildings), tuple(trees), tuple(lamps), solid)


def _stations(line: NDArray, spacing: float, rng: np.random.Generator) -> list[tuple[float, float, float]]:
    if polyline_length(line) < spacing:
        return []
    fine = densify(line, 0.5)
    s = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(fine, axis=0), axis=1))])
    found = []
    for at in np.arange(spacing * rng.uniform(0.35, 0.6), s[-1] - 0.3 * spacing, spacing):
        i = min(int(np.searchsorted(s, at)), len(fine) - 2)
        dx, dy = fine[i + 1] - fine[i]
        found.append((float(fine[i, 0]), float(fine[i, 1]), float(np.arctan2(dy, dx))))
    return found


def _claim(box: Building, taken: NDArray, solid: NDArray, ground: Ground) -> bool:
    c, s = np.cos(box.yaw), np.sin(box.yaw)
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * (box.length / 2, box.depth / 2)
    corners = corners @ np.array([[c, s], [-s, c]]) + (box.x, box.y)
    return _claim_polygon(corners, 1.0, taken, solid, ground)


def _claim_disc(x: float, y: float, radius: float, taken: NDArray, solid: NDArray, ground: Ground) -> bool:
    angle = np.arange(8) * np.pi / 4
    ring = np.column_stack([np.cos(angle), np.sin(angle)])
    return _claim_polygon(ring * radius + (x, y), 0.25 / radius, taken, solid, ground)


def _claim_polygon(corners: NDArray, solid_share: float, taken: NDArray, solid: NDArray, ground: Ground) -> bool:
    pixels = np.round((corners - ground.origin) / RESOLUTION_M).astype(np.int32)
    low, high = pixels.min(axis=0), pixels.max(axis=0) + 1
    if (low < 0).any() or high[0] > taken.shape[1] or high[1] > taken.shape[0]:
        return False
    view = taken[low[1] : high[1], low[0] : high[0]]
    mask = cv2.fillPoly(np.zeros(view.shape, np.uint8), [pixels - low], 1) > 0
    if (view & mask).any():
        return False
    view |= mask
    core = np.round((pixels - low - (pixels - low).mean(axis=0)) * solid_share + (pixels - low).mean(axis=0))
    footprint = cv2.fillPoly(np.zeros(view.shape, np.uint8), [core.astype(np.int32)], 1) > 0
    solid[low[1] : high[1], low[0] : high[0]] |= footprint
    return True


def _skyline(ground: Ground, taken: NDArray, rng: np.random.Generator) -> list[Building]:
    """A ring of tall houses at the edge of the raster, so that no street ends at the horizon."""
    ring, (width, height) = [], ground.size
    perimeter = 2 * (width + height)
    for at in np.arange(0, perimeter, 21.0):
        if at < width:
            spot, yaw = (at, 6.0), 0.0
        elif at < width + height:
            spot, yaw = (width - 6.0, at - width), np.pi / 2
        elif at < 2 * width + height:
            spot, yaw = (at - width - height, height - 6.0), 0.0
        else:
            spot, yaw = (6.0, at - 2 * width - height), np.pi / 2
        x, y = ground.origin + spot
        style = str(rng.choice(["office", "concrete", "brick", "plaster"]))
        ring.append(Building(float(x), float(y), yaw, 18.0, 12.0, 3.2 * int(rng.integers(4, 9)), style))
    return ring
