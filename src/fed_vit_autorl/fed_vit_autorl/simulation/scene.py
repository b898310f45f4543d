"""The town as a MuJoCo model: ground, markings, houses, trees, lights, and road users as mocap bodies."""

from __future__ import annotations

import mujoco
import numpy as np
from numpy.typing import NDArray

from . import textures
from .ground import KERB_HEIGHT_M, RESOLUTION_M, Ground, Surface
from .layout import Layout, plan
from .markings import crossings_and_lines
from .meshes import Mesh, ball, box, gable, house, merge, quad, tiles, tube
from .shapes import FIXED, parts_of
from .signals import LAMP_COLOURS, Head, signal_heads
from .slots import FAR_BELOW, Mocaps, Slot
from .solids import Solids
from .town import Town

TILE_M = 50.0
SKY = "sky"
GLOWING = ("lamp_glass", "part_head", "part_tail", *(f"wall_{name}" for name in textures.WALLS))
"""Materials whose emission follows the weather."""


class Scene:
    """A compiled model of the town and of `slots` road users.

    `model` is for cameras, which change its lights and groups as they draw; `solids` is the simpler one for LiDARs.
    """

    def __init__(self, town: Town, slots: list[Slot]):
        self.town = town
        self.slots = slots
        self.ground = Ground(town)
        self.layout: Layout = plan(town, self.ground)
        self.heads: list[Head] = signal_heads(town, self.ground)
        self._rng = np.random.default_rng([town.spec.seed, 5])
        spec = mujoco.MjSpec()
        spec.copy_during_attach = False
        spec.visual.map.znear, spec.visual.map.zfar = 0.0008, 2.2
        spec.stat.extent, spec.stat.center = 300.0, (0.0, 0.0, 0.0)
        spec.visual.quality.offsamples = 0
        self._materials(spec)
        self._static(spec)
        self._road_users(spec)
        self.model = spec.compile()
        self.model.stat.extent = 300.0
        model = self.model
        self.mocaps = Mocaps(model, len(slots))
        self.slot_of_geom = np.full(model.ngeom, -1)
        for slot, body in enumerate(self.mocaps.bodies):
            self.slot_of_geom[model.geom_bodyid == body] = slot
        names = [model.geom(i).name.split("#")[0] for i in range(model.ngeom)]
        self.road_geoms = np.flatnonzero(np.isin(names, ("road", "markings")))
        self.solids = Solids(self.layout, self.heads, self.ground, slots)
        self._lamps = [model.geom(f"signal{i}").id for i in range(len(self.heads))]

    def show_signals(self, states: list[str]) -> None:
        """Lights the lamp of each signal: `states` by signal id, "red", "yellow" or "green"."""
        for geom, head in zip(self._lamps, self.heads, strict=True):
            offset_z, colour = LAMP_COLOURS[states[head.signal]]
            self.model.geom_pos[geom, 2] = head.z + offset_z
            self.model.geom_rgba[geom, :3] = colour

    def _materials(self, spec: mujoco.MjSpec) -> None:
        rng = self._rng
        _texture(spec, SKY, textures.sky((80, 130, 200), (200, 220, 240), 0.5, rng), cube=True)
        pictures = {
            "road": textures.mottled((104, 105, 108), 256, 6, rng),
            "green": textures.mottled((104, 140, 66), 256, 11, rng),
            "pavement": textures.pavement(rng),
            **{f"wall_{name}": textures.facade(name, rng) for name in textures.WALLS},
        }
        for name, picture in pictures.items():
            _texture(spec, name, picture)
            material = spec.add_material(name=name, specular=0.0, shininess=0.0)
            material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = name
        plain = {
            "kerb": (0.55, 0.54, 0.52),
            "paint_white": (0.93, 0.93, 0.90),
            "roof": (0.42, 0.24, 0.20),
            "flat_roof": (0.36, 0.36, 0.38),
            "trunk": (0.32, 0.22, 0.14),
            "crown0": (0.20, 0.42, 0.16),
            "crown1": (0.28, 0.48, 0.18),
            "crown2": (0.15, 0.34, 0.20),
            "steel": (0.30, 0.31, 0.33),
            "lamp_glass": (0.95, 0.88, 0.65),
            "signal_box": (0.06, 0.06, 0.06),
        }
        for name, colour in plain.items():
            spec.add_material(name=name, rgba=(*colour, 1.0), specular=0.0, shininess=0.0)
        for role, colour in FIXED.items():
            shine = 0.6 if role == "glass" else 0.0
            spec.add_material(name=f"part_{role}", rgba=(*colour, 1.0), specular=shine, shininess=0.5)
        spec.add_material(name="part_paint", specular=0.25, shininess=0.4)
        spec.add_material(name="signal_lamp", emission=1.0, specular=0.0)

    def _static(self, spec: mujoco.MjSpec) -> None:
        spec.worldbody.add_light(
            name="sun", type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL, castshadow=False, dir=(0, 0, -1), pos=(0, 0, 50)
        )
        ground, layout = self.ground, self.layout
        _solid(spec, "road", _draped(_road_grid(ground), 5.0), "road")
        points, faces, kerb = ground.triangles()
        raised = np.column_stack([points, np.full(len(points), KERB_HEIGHT_M)])
        _solid(spec, "green", _draped(Mesh(raised, faces[Surface.GREEN]), 6.0), "green")
        _solid(spec, "pavement", _draped(Mesh(raised, faces[Surface.PAVEMENT]), 2.4), "pavement")
        _solid(spec, "kerb", _kerb(points, kerb), "kerb")
        _solid(spec, "markings", crossings_and_lines(self.town), "paint_white")
        for style in textures.WALLS:
            of_style = [b for b in layout.buildings if b.style == style]
            if of_style:
                walls = [house(b.length, b.depth, b.height).moved(b.x, b.y, 0, b.yaw) for b in of_style]
                _solid(spec, f"walls_{style}", merge(walls), f"wall_{style}")
        pitched, flat = [], []
        for b in layout.buildings:
            low_rise = b.height < 12
            roof = gable(b.length, b.depth, b.height, 2.6) if low_rise else box(b.length + 0.5, b.depth + 0.5, 0.5)
            (pitched if low_rise else flat).append(roof.moved(b.x, b.y, 0.0 if low_rise else b.height, b.yaw))
        for name, roofs in (("roof", pitched), ("flat_roof", flat)):
            if roofs:
                _solid(spec, f"{name}s", merge(roofs), name)
        self._plants(spec)
        self._posts(spec)

    def _plants(self, spec: mujoco.MjSpec) -> None:
        trees = self.layout.trees
        crowns = [ball((1.7, 1.7, 2.0), self._rng, 0.16), ball((1.3, 1.3, 2.7), self._rng, 0.12), _fir()]
        for style in range(3):
            here = [t for t in trees if t.style == style]
            if here:
                z = 3.9 if style < 2 else 1.2
                tops = [crowns[style].moved(t.x, t.y, KERB_HEIGHT_M + z * t.scale, t.x, t.scale) for t in here]
                _solid(spec, f"crowns{style}", merge(tops), f"crown{style}")
        if trees:
            trunks = [tube(0.16, 3.0, 6).moved(t.x, t.y, KERB_HEIGHT_M, 0, t.scale) for t in trees]
            _solid(spec, "trunks", merge(trunks), "trunk")

    def _posts(self, spec: mujoco.MjSpec) -> None:
        posts = [tube(0.08, 6.0, 6).moved(p.x, p.y) for p in self.layout.lamps]
        posts += [box(1.6, 0.08, 0.08).moved(0.7, 0, 5.95).moved(p.x, p.y, 0, p.yaw) for p in self.layout.lamps]
        posts += [tube(0.09, head.z + 0.6, 8).moved(head.post_x, head.post_y) for head in self.heads]
        posts += [head.arm() for head in self.heads]
        _solid(spec, "posts", merge(posts), "steel")
        bulbs = [box(0.6, 0.22, 0.1).moved(1.3, 0, 5.86).moved(p.x, p.y, 0, p.yaw) for p in self.layout.lamps]
        if bulbs:
            _solid(spec, "bulbs", merge(bulbs), "lamp_glass")
        if self.heads:
            _solid(spec, "signal_boxes", merge([head.housing() for head in self.heads]), "signal_box")
        for i, head in enumerate(self.heads):
            spec.worldbody.add_geom(
                name=f"signal{i}",
                type=mujoco.mjtGeom.mjGEOM_BOX,
                size=(0.05, 0.14, 0.14),
                pos=(head.x, head.y, head.z),
                quat=(np.cos(head.yaw / 2), 0, 0, np.sin(head.yaw / 2)),
                material="signal_lamp",
                contype=0,
                conaffinity=0,
            )

    def _road_users(self, spec: mujoco.MjSpec) -> None:
        for kind in sorted({slot.kind for slot in self.slots}):
            for role, mesh in parts_of(kind).items():
                _mesh(spec, f"{kind}_{role}", mesh)
        for i, slot in enumerate(self.slots):
            body = spec.worldbody.add_body(name=f"slot{i}", mocap=True, pos=(0, 0, FAR_BELOW))
            for role in parts_of(slot.kind):
                body.add_geom(
                    type=mujoco.mjtGeom.mjGEOM_MESH,
                    meshname=f"{slot.kind}_{role}",
                    material=f"part_{role}",
                    rgba=(*(slot.paint if role == "paint" else FIXED[role]), 1.0),
                    contype=0,
                    conaffinity=0,
                )


def _texture(spec: mujoco.MjSpec, name: str, picture: NDArray[np.uint8], cube: bool = False) -> None:
    kind = mujoco.mjtTexture.mjTEXTURE_SKYBOX if cube else mujoco.mjtTexture.mjTEXTURE_2D
    texture = spec.add_texture(
        name=name, type=kind, width=picture.shape[1], height=picture.shape[0], nchannel=picture.shape[2]
    )
    texture.data = picture.tobytes()


def _mesh(spec: mujoco.MjSpec, name: str, mesh: Mesh) -> None:
    entry = spec.add_mesh(name=name, inertia=mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL, smoothnormal=False)
    entry.uservert = mesh.vertices.ravel()
    entry.userface = mesh.faces.ravel()
    if mesh.uv is not None:
        entry.usertexcoord = mesh.uv.ravel()
        entry.userfacetexcoord = mesh.faces.ravel()


def _solid(spec: mujoco.MjSpec, name: str, mesh: Mesh, material: str) -> None:
    """Adds a mesh that never moves, cut into tiles so that a camera need not draw those behind it."""
    for number, tile in enumerate(tiles(mesh, TILE_M)):
        part = f"{name}#{number}"
        _mesh(spec, part, tile)
        spec.worldbody.add_geom(
            name=part,
            type=mujoco.mjtGeom.mjGEOM_MESH,
            meshname=part,
            material=material,
            contype=0,
            conaffinity=0,
        )


def _road_grid(ground: Ground, cell_m: float = 10.0) -> Mesh:
    """Squares under all roads. Fog is computed at vertices, so that larger ones would show it wrongly."""
    columns, rows = np.ceil(ground.size / cell_m).astype(int)
    step = round(cell_m / RESOLUTION_M)
    is_road = ground.cells == Surface.ROAD
    parts = []
    for row in range(rows):
        for column in range(columns):
            if is_road[row * step : (row + 1) * step, column * step : (column + 1) * step].any():
                centre = ground.origin + (np.array([column, row]) + 0.5) * cell_m
                parts.append(quad(centre, np.array([1.0, 0.0]), cell_m, cell_m, 0.0))
    return merge(parts)


def _draped(mesh: Mesh, tile_m: float) -> Mesh:
    return Mesh(mesh.vertices, mesh.faces, mesh.vertices[:, :2] / tile_m)


def _kerb(points: NDArray, edges: NDArray) -> Mesh:
    a, b = points[edges[:, 0]], points[edges[:, 1]]
    count = len(edges)
    low, high = np.zeros((count, 1)), np.full((count, 1), KERB_HEIGHT_M)
    vertices = np.concatenate([np.hstack([a, low]), np.hstack([b, low]), np.hstack([b, high]), np.hstack([a, high])])
    i = np.arange(count)
    faces = np.concatenate(
        [np.column_stack([i, i + count, i + 2 * count]), np.column_stack([i, i + 2 * count, i + 3 * count])]
    )
    return Mesh(vertices, faces)


def _fir() -> Mesh:
    return merge(
        [tube(1.6, 2.4, 7, 0.45), tube(1.2, 2.2, 7, 0.35).moved(0, 0, 1.7), tube(0.8, 2.2, 7, 0.02).moved(0, 0, 3.2)]
    )
