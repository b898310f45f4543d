"""Bench `sim`: how much faster than real time two vehicles with cameras and LiDARs are simulated, and what is floor."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import mujoco
import numpy as np
from numpy.typing import NDArray

from ..reinforcement.control import PurePursuit
from ..reinforcement.route import Pose
from .config import EgoConfig, WorldConfig
from .observation import Observation
from .rendering import CameraSpec
from .solids import Prisms
from .town import TownSpec
from .vehicle import Control
from .world import World

STEPS = 300
CORES = 2
REPEATS = 40
CRUISE = 6.0


def run() -> dict:
    """Two vehicles (noon, rain at dusk), 320×192 at 20 Hz, 16×360 LiDAR, 30 vehicles and 30 people, on two cores.

    `ratio` is simulated over wall time; `step_cpu_ms` does not depend on what else the machine does. The floor is what
    MuJoCo alone needs for the same pictures and, by `mj_multiRay`, for the same rays at what stands in reach;
    `step_over_floor` below 1 means that a whole step costs less.
    """
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:CORES])
    try:
        return _measure(
            WorldConfig(
                town=TownSpec(seed=3),
                egos={"vehicle_0": EgoConfig("noon"), "vehicle_1": EgoConfig("rain_dusk")},
                vehicles=30,
                pedestrians=30,
                camera=CameraSpec(320, 192),
            )
        )
    finally:
        os.sched_setaffinity(0, before)


def mujoco_model(prisms: Prisms) -> mujoco.MjModel:
    """The same bodies as geoms of MuJoCo, for its own ray caster."""
    spec = mujoco.MjSpec()
    for i in range(len(prisms)):
        half, yaw = (prisms.high[i] - prisms.low[i]) / 2, prisms.yaw[i]
        spec.worldbody.add_geom(
            type=mujoco.mjtGeom.mjGEOM_CYLINDER if prisms.disc[i] else mujoco.mjtGeom.mjGEOM_BOX,
            size=(prisms.a[i], half, 0) if prisms.disc[i] else (prisms.a[i], prisms.b[i], half),
            pos=(prisms.x[i], prisms.y[i], prisms.low[i] + half),
            quat=(np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)),
        )
    return spec.compile()


def mujoco_rays(model: mujoco.MjModel, origin: NDArray, rays: NDArray) -> Callable[[], NDArray[np.float64]]:
    """A function that casts `rays` (N, 3) from `origin` (3,) and gives ranges (N,), infinite where nothing is met."""
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    geom, distance, flat = np.zeros((len(rays), 1), np.int32), np.zeros((len(rays), 1)), rays.reshape(-1, 1)
    start = np.asarray(origin, np.float64)[:, None]

    def cast() -> NDArray[np.float64]:
        mujoco.mj_multiRay(model, data, start, flat, None, True, -1, geom, distance, None, len(rays), 1e6)
        return np.where(geom[:, 0] < 0, np.inf, distance[:, 0])

    return cast


def _measure(config: WorldConfig) -> dict:
    with World(config) as world:
        seen = world.reset(1)
        steering = PurePursuit(config.vehicle)
        times, cpu_s = np.empty(STEPS), 0.0
        for i in range(STEPS):
            controls = {name: _cruise(one, steering) for name, one in seen.items()}
            start, cpu = time.perf_counter(), time.process_time()
            seen = world.step(controls)
            times[i] = time.perf_counter() - start
            cpu_s += time.process_time() - cpu
        floor = {name: _floor(world, name) for name in world.egos}
    step_ms = 1e3 * float(times.mean())
    render_ms, rays_ms = (sum(part[i] for part in floor.values()) for i in (0, 1))
    return {
        "vehicles": len(config.egos),
        "image": [config.camera.width, config.camera.height],
        "lidar": [config.lidar.beams, config.lidar.columns],
        "cores": CORES,
        "ratio": config.dt * STEPS / float(times.sum()),
        "step_ms": {"mean": step_ms, "p50": _percentile(times, 50), "p99": _percentile(times, 99)},
        "step_cpu_ms": 1e3 * cpu_s / STEPS,
        "floor_ms": {"mujoco_render": render_ms, "mujoco_rays": rays_ms},
        "step_over_floor": step_ms / (render_ms + rays_ms),
    }


def _cruise(one: Observation, steering: PurePursuit) -> Control:
    """Follows the route at about 6 m/s past everything: the bench needs motion, not manners."""
    pose = Pose(*one.ego.position[:2], one.ego.yaw)
    path = one.route.line.local(pose, one.progress, 20, 2.0)
    throttle = 0.4 if one.ego.speed < CRUISE else 0.0
    return Control(steering.steer(path, one.ego.speed, 0.05), throttle)


def _floor(world: World, name: str) -> tuple[float, float]:
    """Milliseconds that MuJoCo needs for one picture and for one scan."""
    ego, spec = world.egos[name], world.config.lidar
    bodies = world.scene.solids.standing.near(ego.state.x, ego.state.y, ego.weather.lidar_range)
    elevation, azimuth = np.meshgrid(spec.elevations, spec.azimuths, indexing="ij")
    flat = np.cos(elevation)
    rays = np.stack([flat * np.cos(azimuth), flat * np.sin(azimuth), np.sin(elevation)], axis=-1).reshape(-1, 3)
    cast = mujoco_rays(mujoco_model(bodies), np.array([ego.state.x, ego.state.y, spec.z]), rays)
    return _milliseconds(ego.render), _milliseconds(cast)


def _milliseconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    for _ in range(REPEATS):
        work()
    return 1e3 * (time.perf_counter() - start) / REPEATS


def _percentile(times: NDArray, q: float) -> float:
    return 1e3 * float(np.percentile(times, q))
