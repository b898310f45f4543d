"""What road users look like: the parts of each kind, every part a mesh with a role that decides its colour."""

from __future__ import annotations

import numpy as np

from .actors import KINDS
from .meshes import Mesh, ball, box, extrusion, merge, tube, wheel

PAINTS = (
    (0.75, 0.08, 0.08),
    (0.10, 0.20, 0.55),
    (0.92, 0.92, 0.92),
    (0.12, 0.12, 0.13),
    (0.55, 0.57, 0.60),
    (0.80, 0.62, 0.12),
    (0.10, 0.42, 0.25),
    (0.40, 0.20, 0.12),
    (0.35, 0.55, 0.75),
    (0.85, 0.40, 0.12),
)
CLOTHES = (*PAINTS, (0.7, 0.3, 0.6), (0.2, 0.5, 0.5), (0.9, 0.85, 0.4))
FIXED = {
    "glass": (0.07, 0.09, 0.12),
    "tyre": (0.05, 0.05, 0.05),
    "head": (0.95, 0.95, 0.85),
    "tail": (0.55, 0.02, 0.02),
    "skin": (0.85, 0.62, 0.48),
    "trousers": (0.16, 0.18, 0.26),
    "metal": (0.2, 0.2, 0.22),
}
"""Colours of the roles that do not vary; the role "paint" takes the actor's own colour."""


def parts_of(kind: str) -> dict[str, Mesh]:
    """Meshes by role, in a frame with its origin on the ground under the middle of the bounding box, x forward."""
    return {"pedestrian": _pedestrian, "cyclist": _cyclist, "debris": _debris}.get(kind, lambda: _motor(kind))()


def _motor(kind: str) -> dict[str, Mesh]:
    actor = KINDS[kind]
    length, width, height = actor.length, actor.width, actor.height
    a = length / 2
    if kind in ("van", "truck", "bus"):
        return _tall(kind, a, width, height)
    belt, bonnet, boot = 0.6 * height, {"sedan": 0.52, "hatchback": 0.50, "suv": 0.48}[kind], 0.0
    boot = {"sedan": 0.30, "hatchback": 0.05, "suv": 0.04}[kind]
    body = [(-a, 0.35), (-a + 0.1, 0.22), (a - 0.1, 0.22), (a, 0.4), (a - 0.06, 0.52 * height)]
    body += [(a - bonnet * a * 0.9, belt), (-a + 0.08, belt + 0.02)]
    front, back = a - bonnet * a, -a + boot * a + 0.15
    glass = [(back - 0.05, belt), (front, belt), (front - 0.62, height - 0.05), (back + 0.32, height - 0.05)]
    roof = [(back + 0.25, height - 0.1), (front - 0.55, height - 0.1), (front - 0.72, height), (back + 0.4, height)]
    return {
        "paint": merge([extrusion(body, width, 0.94), extrusion(roof, 0.80 * width, 0.97)]),
        "glass": extrusion(glass, 0.92 * width, 0.84),
        **_running_gear(a, width, 0.33, 0.62 * a, (0.46 * height, 0.5 * height)),
    }


def _tall(kind: str, a: float, width: float, height: float) -> dict[str, Mesh]:
    if kind == "truck":
        cab = [(a - 1.9, 0.4), (a, 0.4), (a, 1.6), (a - 0.25, 2.6), (a - 1.9, 2.6)]
        paint = merge([extrusion(cab, width * 0.96), box(2 * a - 2.2, width, height - 0.9).moved(-1.1, 0, 0.9)])
        pane = [(a - 0.6, 1.55), (a + 0.02, 1.55), (a - 0.2, 2.4), (a - 0.6, 2.4)]
        glass = extrusion(pane, width * 0.98)
        radius = 0.48
    elif kind == "bus":
        paint = merge([box(2 * a, width, 1.2).moved(0, 0, 0.35), box(2 * a, width, 0.55).moved(0, 0, height - 0.55)])
        glass = box(2 * a - 0.06, width - 0.06, height - 1.9).moved(0, 0, 1.5)
        radius = 0.48
    else:
        body = [(-a, 0.3), (a - 0.05, 0.3), (a, 0.9), (a - 0.7, 1.25), (a - 1.4, height), (-a, height)]
        paint = extrusion(body, width, 0.95)
        pane = [(a - 1.55, 1.3), (a - 0.66, 1.3), (a - 1.3, height - 0.18), (a - 1.7, height - 0.18)]
        glass = extrusion(pane, width * 0.985, 0.96)
        radius = 0.36
    gear = _running_gear(a, width, radius, 0.62 * a, (0.8, 0.95))
    return {"paint": paint, "glass": glass, **gear}


def _running_gear(a: float, width: float, radius: float, axle: float, lamp_z: tuple[float, float]) -> dict[str, Mesh]:
    wheels = [
        wheel(radius, 0.24).moved(x, y, radius) for x in (axle, -axle) for y in (width / 2 - 0.1, 0.1 - width / 2)
    ]
    lamp = box(0.08, 0.34, 0.14)
    heads = [lamp.moved(a - 0.03, y, lamp_z[0]) for y in (width / 2 - 0.28, 0.28 - width / 2)]
    tails = [lamp.moved(-a + 0.01, y, lamp_z[1]) for y in (width / 2 - 0.24, 0.24 - width / 2)]
    return {"tyre": merge(wheels), "head": merge(heads), "tail": merge(tails)}


def _pedestrian() -> dict[str, Mesh]:
    legs = [tube(0.085, 0.85, 6, 1.1).moved(x, y) for x, y in ((0.12, 0.09), (-0.12, -0.09))]
    torso = ball((0.15, 0.22, 0.36)).moved(0, 0, 1.16)
    arms = [tube(0.055, 0.6, 6).moved(x, y, 0.82) for x, y in ((-0.06, 0.25), (0.06, -0.25))]
    head = ball((0.11, 0.1, 0.13)).moved(0, 0, 1.62)
    return {"paint": merge([torso, *arms]), "trousers": merge(legs), "skin": head}


def _cyclist() -> dict[str, Mesh]:
    wheels = [wheel(0.34, 0.05, 14).moved(x, 0, 0.34) for x in (0.55, -0.55)]
    frame = extrusion([(-0.5, 0.34), (0.1, 0.3), (0.5, 0.85), (-0.2, 0.8)], 0.06)
    torso = _tilted(ball((0.17, 0.2, 0.36)), 0.5).moved(0.02, 0, 1.15)
    arms = extrusion([(0.1, 1.05), (0.5, 0.92), (0.52, 1.0), (0.15, 1.3)], 0.4)
    legs = [tube(0.08, 0.7, 6).moved(-0.08, y, 0.3) for y in (0.11, -0.11)]
    head = ball((0.11, 0.1, 0.13)).moved(0.2, 0, 1.6)
    return {
        "tyre": merge(wheels),
        "metal": frame,
        "paint": merge([torso, arms]),
        "trousers": merge(legs),
        "skin": head,
    }


def _debris() -> dict[str, Mesh]:
    crate = box(0.7, 0.7, 0.5).moved(0, 0, 0, 0.4)
    return {"paint": merge([crate, box(0.5, 0.3, 0.2).moved(0.1, 0.1, 0.45, 0.9)])}


def _tilted(mesh: Mesh, pitch: float) -> Mesh:
    c, s = np.cos(pitch), np.sin(pitch)
    turn = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    return Mesh(mesh.vertices @ turn.T, mesh.faces)
