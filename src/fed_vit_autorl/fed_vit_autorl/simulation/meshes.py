"""Triangle meshes made in numpy: boxes, extrusions, tubes, crowns of trees, bands on the ground."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Mesh:
    """`vertices` (N, 3) [m], `faces` (M, 3) counter-clockwise seen from outside, `uv` (N, 2) or None."""

    vertices: NDArray[np.float64]
    faces: NDArray[np.int64]
    uv: NDArray[np.float64] | None = None

    def moved(self, x: float, y: float, z: float = 0.0, yaw: float = 0.0, scale: float = 1.0) -> Mesh:
        """The mesh scaled, turned about z and shifted."""
        c, s = np.cos(yaw), np.sin(yaw)
        turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
        return Mesh(scale * self.vertices @ turn.T + (x, y, z), self.faces, self.uv)


def merge(parts: list[Mesh]) -> Mesh:
    """One mesh of many."""
    starts = np.cumsum([0, *(len(part.vertices) for part in parts[:-1])])
    uv = None if parts[0].uv is None else np.concatenate([part.uv for part in parts])
    return Mesh(
        np.concatenate([part.vertices for part in parts]),
        np.concatenate([part.faces + start for part, start in zip(parts, starts, strict=True)]),
        uv,
    )


def extrusion(profile: NDArray, width: float, taper: float = 1.0) -> Mesh:
    """A convex profile (N, 2) of x, z (counter-clockwise seen from -y) pulled `width` metres along y, flat shaded.

    `taper` scales the width at the profile's highest points.
    """
    profile = np.asarray(profile, np.float64)
    rise = (profile[:, 1] - profile[:, 1].min()) / max(np.ptp(profile[:, 1]), 1e-9)
    half = 0.5 * width * (1 + (taper - 1) * rise)
    right = np.column_stack([profile[:, 0], -half, profile[:, 1]])
    left = np.column_stack([profile[:, 0], half, profile[:, 1]])
    count = len(profile)
    vertices, faces = [right, left], []
    for i in range(1, count - 1):
        faces += [(0, i, i + 1), (count, count + i + 1, count + i)]
    for i in range(count):
        j = (i + 1) % count
        start = 2 * count + 4 * i
        vertices.append(np.array([right[i], left[i], left[j], right[j]]))
        faces += [(start, start + 1, start + 2), (start, start + 2, start + 3)]
    return Mesh(np.concatenate(vertices), np.array(faces))


def box(length: float, width: float, height: float) -> Mesh:
    """A box centred on x, y = 0 that stands on z = 0."""
    a = length / 2
    return extrusion([(-a, 0), (a, 0), (a, height), (-a, height)], width)


def house(length: float, width: float, height: float, storey_m: float = 3.2) -> Mesh:
    """Four walls with texture coordinates (one unit = one window bay of 3 m by one storey) standing on z = 0."""
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * (length / 2, width / 2)
    vertices, faces, uv = [], [], []
    for i in range(4):
        a, b = corners[i], corners[(i + 1) % 4]
        start, bays = len(vertices), round(np.linalg.norm(b - a) / 3.0)
        vertices += [(*a, 0), (*b, 0), (*b, height), (*a, height)]
        uv += [(0, 0), (bays, 0), (bays, round(height / storey_m)), (0, round(height / storey_m))]
        faces += [(start, start + 1, start + 2), (start, start + 2, start + 3)]
    return Mesh(np.array(vertices, np.float64), np.array(faces), np.array(uv, np.float64))


def gable(length: float, width: float, base: float, rise: float) -> Mesh:
    """A pitched roof on z = `base`."""
    mesh = extrusion([(-width / 2 - 0.4, base), (width / 2 + 0.4, base), (0.0, base + rise)], length + 0.8)
    turn = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1]])
    return Mesh(mesh.vertices @ turn.T, mesh.faces)


def tube(radius: float, height: float, sides: int = 8, top: float = 1.0) -> Mesh:
    """A cylinder (or cone with `top` < 1) without a bottom, standing on z = 0."""
    angle = 2 * np.pi * np.arange(sides) / sides
    ring = np.column_stack([np.cos(angle), np.sin(angle)]) * radius
    low = np.column_stack([ring, np.zeros(sides)])
    high = np.column_stack([ring * top, np.full(sides, height)])
    faces = []
    for i in range(sides):
        j = (i + 1) % sides
        faces += [(i, j, sides + j), (i, sides + j, sides + i), (sides + i, sides + j, 2 * sides)]
    return Mesh(np.concatenate([low, high, [[0, 0, height]]]), np.array(faces))


def wheel(radius: float, width: float, sides: int = 12) -> Mesh:
    """A disc with its axis along y, centred on the origin."""
    angle = 2 * np.pi * np.arange(sides) / sides
    return extrusion(np.column_stack([np.cos(angle), np.sin(angle)]) * radius, width)


def ball(radius: tuple[float, float, float], rng: np.random.Generator | None = None, rough: float = 0.0) -> Mesh:
    """An ellipsoid of 80 triangles around the origin, roughened by `rough` (relative)."""
    golden = (1 + 5**0.5) / 2
    points = [(-1, golden, 0), (1, golden, 0), (-1, -golden, 0), (1, -golden, 0)]
    points += [(z, x, y) for x, y, z in points] + [(y, z, x) for x, y, z in points]
    vertices = [np.array(p) / np.linalg.norm(p) for p in points]
    hull = [(i, j, k) for i in range(12) for j in range(i) for k in range(j)]
    edge = 1.06
    faces = []
    for i, j, k in hull:
        a, b, c = vertices[i], vertices[j], vertices[k]
        if max(np.linalg.norm(a - b), np.linalg.norm(b - c), np.linalg.norm(a - c)) < edge:
            faces.append((i, j, k) if np.dot(np.cross(b - a, c - a), a) > 0 else (i, k, j))
    middle: dict[tuple[int, int], int] = {}
    fine = []
    for i, j, k in faces:
        mid = []
        for a, b in ((i, j), (j, k), (k, i)):
            key = (min(a, b), max(a, b))
            if key not in middle:
                point = vertices[a] + vertices[b]
                vertices.append(point / np.linalg.norm(point))
                middle[key] = len(vertices) - 1
            mid.append(middle[key])
        fine += [(i, mid[0], mid[2]), (j, mid[1], mid[0]), (k, mid[2], mid[1]), tuple(mid)]
    shape = np.array(vertices)
    if rng is not None:
        shape = shape * (1 + rough * rng.uniform(-1, 1, (len(shape), 1)))
    return Mesh(shape * radius, np.array(fine))


def band(left: NDArray, right: NDArray, z: float) -> Mesh:
    """A strip on the ground between two polylines (N, 2) of the same length."""
    count = len(left)
    vertices = np.vstack([left, right])
    index = np.arange(count - 1)
    faces = np.concatenate(
        [
            np.column_stack([index, count + index, count + index + 1]),
            np.column_stack([index, count + index + 1, index + 1]),
        ]
    )
    return Mesh(np.column_stack([vertices, np.full(2 * count, z)]), faces)


def quad(centre: NDArray, direction: NDArray, length: float, width: float, z: float) -> Mesh:
    """A flat rectangle at height `z`, `length` along the unit vector `direction` (2,)."""
    along, across = 0.5 * length * direction, 0.5 * width * np.array([-direction[1], direction[0]])
    left = np.array([centre - along + across, centre + along + across])
    return band(left, left - 2 * across, z)


def tiles(mesh: Mesh, size_m: float) -> list[Mesh]:
    """The mesh cut into pieces of about `size_m` metres by the centres of its triangles."""
    cell = np.floor(mesh.vertices[mesh.faces].mean(axis=1)[:, :2] / size_m).astype(int)
    _, number = np.unique(cell, axis=0, return_inverse=True)
    pieces = []
    for k in range(number.max() + 1):
        used, faces = np.unique(mesh.faces[number.ravel() == k], return_inverse=True)
        used = np.append(used, used[: max(0, 4 - len(used))])  # MuJoCo wants at least four vertices
        pieces.append(Mesh(mesh.vertices[used], faces.reshape(-1, 3), None if mesh.uv is None else mesh.uv[used]))
    return pieces
