"""Camera pictures and segmentation of a `Scene`, each camera with its own light and weather."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np
from numpy.typing import NDArray

from ..data.sample import CameraModel, base_from_optical
from . import textures
from .scene import GLOWING, SKY, Scene
from .slots import FAR_BELOW
from .weather import Weather, through_the_lens

DRAWN_M = 320.0
"""Nothing further away is drawn."""
DRAWN, UNSEEN = 0, 5
"""Geom groups of what is in the field of view and what is not."""


@dataclass(frozen=True)
class CameraSpec:
    """A level camera looking ahead: pixels, horizontal field of view [rad], mount in `base_link` [m]."""

    width: int = 320
    height: int = 192
    horizontal_fov: float = np.pi / 2
    x: float = 1.2
    z: float = 1.5

    @property
    def model(self) -> CameraModel:
        """Intrinsics and mount."""
        focal = 0.5 * self.width / np.tan(0.5 * self.horizontal_fov)
        intrinsics = np.array([[focal, 0, self.width / 2], [0, focal, self.height / 2], [0, 0, 1.0]])
        return CameraModel(self.width, self.height, intrinsics, base_from_optical(self.x, 0.0, self.z))


class Camera:
    """Renders what one ego sees. A context of its own holds its sky, so that egos may live in different weathers."""

    def __init__(self, scene: Scene, spec: CameraSpec, weather: Weather, seed: int = 0):
        self.spec = spec
        self.weather = weather
        self._scene = scene
        model = scene.model
        global_ = model.vis.global_
        global_.offwidth, global_.offheight = spec.width, spec.height
        self._data = mujoco.MjData(model)
        self._paint_sky(seed)
        self._light()  # the context takes the fog over when it is made
        self._renderer = mujoco.Renderer(model, spec.height, spec.width, max_geom=model.ngeom + 50)
        for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION):
            self._renderer.scene.flags[flag] = False
        self._renderer.scene.flags[mujoco.mjtRndFlag.mjRND_FOG] = np.isfinite(weather.fog_end)
        self._option = mujoco.MjvOption()
        self._option.geomgroup[:] = 0
        self._option.geomgroup[DRAWN] = 1
        self._view = mujoco.MjvCamera()
        self._view.type = mujoco.mjtCamera.mjCAMERA_FREE
        self._view.distance = 1.0
        self._view.elevation = 0.0
        vertical = 2 * np.arctan(np.tan(spec.horizontal_fov / 2) * spec.height / spec.width)
        self._fovy = float(np.degrees(vertical))

    def place(self, poses: NDArray[np.float64], hidden: int) -> None:
        """Takes over where all road users are; the one in slot `hidden` carries this camera."""
        self._scene.mocaps.place(self._data, poses, hidden)

    def image(self, pose: tuple[float, float, float], rng: np.random.Generator) -> NDArray[np.uint8]:
        """RGB uint8 (H, W, 3) seen from `base_link` at `pose` (x, y [m], yaw [rad])."""
        return through_the_lens(self.render(pose), self.weather, rng)

    def render(self, pose: tuple[float, float, float]) -> NDArray[np.uint8]:
        """The picture before rain and noise."""
        self._light()
        self._aim(pose)
        return self._renderer.render()

    def segmentation(self, pose: tuple[float, float, float]) -> NDArray[np.int32]:
        """Geom ids (H, W) seen from `pose`; -1 where there is only sky."""
        self._aim(pose)
        self._renderer.enable_segmentation_rendering()
        try:
            return self._renderer.render()[..., 0].copy()
        finally:
            self._renderer.disable_segmentation_rendering()

    def close(self) -> None:
        """Frees the graphics context."""
        self._renderer.close()

    def _aim(self, pose: tuple[float, float, float]) -> None:
        x, y, yaw = pose
        c, s = np.cos(yaw), np.sin(yaw)
        # A free camera looks at a point from `distance` away.
        self._view.lookat[:] = x + (self.spec.x + 1.0) * c, y + (self.spec.x + 1.0) * s, self.spec.z
        self._view.azimuth = float(np.degrees(yaw))
        self._cull(pose)
        self._scene.model.vis.global_.fovy = self._fovy
        self._renderer.update_scene(self._data, self._view, self._option)

    def _cull(self, pose: tuple[float, float, float]) -> None:
        """Takes geoms whose bounding sphere is outside the field of view out of the groups that are drawn."""
        model, (x, y, yaw) = self._scene.model, pose
        c, s = np.cos(yaw), np.sin(yaw)
        where = self._data.geom_xpos
        dx, dy = where[:, 0] - x, where[:, 1] - y
        forward, left, radius = c * dx + s * dy, c * dy - s * dx, model.geom_rbound
        half = 0.5 * self.spec.horizontal_fov
        outside = np.abs(left) * np.cos(half) - forward * np.sin(half) > radius
        outside |= (forward + radius < 0) | (forward - radius > min(DRAWN_M, self.weather.fog_end))
        outside |= where[:, 2] < 0.5 * FAR_BELOW
        model.geom_group[:] = np.where(outside, UNSEEN, DRAWN)

    def _light(self) -> None:
        model, weather = self._scene.model, self.weather
        c = np.cos(weather.sun_elevation)
        towards = np.array(
            [c * np.cos(weather.sun_azimuth), c * np.sin(weather.sun_azimuth), np.sin(weather.sun_elevation)]
        )
        model.light_dir[0] = -towards
        model.light_diffuse[0] = weather.sun
        model.light_ambient[0] = weather.ambient
        model.light_specular[0] = np.array(weather.sun) * 0.5
        head = model.vis.headlight
        head.active = 1
        head.ambient[:] = 0
        head.diffuse[:] = weather.headlight
        head.specular[:] = 0
        model.vis.rgba.fog[:] = (*weather.fog, 1.0)
        model.vis.map.fogstart = weather.fog_start / model.stat.extent
        model.vis.map.fogend = min(weather.fog_end, 1e6) / model.stat.extent
        for name in GLOWING:
            strength = 0.18 if name.startswith("wall") else 1.0
            model.mat_emission[model.material(name).id] = weather.lamps * strength
        model.mat_rgba[model.material("road").id, :3] = 1.0 - 0.45 * weather.wet

    def _paint_sky(self, seed: int) -> None:
        model, weather = self._scene.model, self.weather
        texture = model.texture(SKY).id
        start = model.tex_adr[texture]
        zenith, horizon = (tuple(int(255 * c) for c in colour) for colour in (weather.zenith, weather.horizon))
        picture = textures.sky(zenith, horizon, weather.clouds, np.random.default_rng(seed))
        model.tex_data[start : start + picture.size] = picture.ravel()
