"""Beams cast at prisms, against MuJoCo's rays at the same bodies."""

import mujoco
import numpy as np
import pytest

from fed_vit_autorl.simulation.lidar import LidarSpec
from fed_vit_autorl.simulation.solids import Prisms, cast

ORIGIN = np.array([0.3, 0.2, 1.9])


def some_prisms(seed: int, count: int = 120) -> list[tuple]:
    rng = np.random.default_rng(seed)
    rows = []
    while len(rows) < count:
        x, y, a, b = *rng.uniform(-50, 50, 2), *rng.uniform(0.1, 5, 2)
        if np.hypot(x - ORIGIN[0], y - ORIGIN[1]) > np.hypot(a, b) + 0.1:
            rows.append((x, y, rng.uniform(-3, 3), a, b, *sorted(rng.uniform(0, 8, 2)), rng.random() < 0.4, 0.5))
    return rows


def mujoco_distances(rows: list[tuple], rays: np.ndarray) -> np.ndarray:
    spec = mujoco.MjSpec()
    for x, y, yaw, a, b, low, high, disc, _ in rows:
        half = (high - low) / 2
        kind = mujoco.mjtGeom.mjGEOM_CYLINDER if disc else mujoco.mjtGeom.mjGEOM_BOX
        size = (a, half, 0) if disc else (a, b, half)
        turn = (np.cos(yaw / 2), 0, 0, np.sin(yaw / 2))
        spec.worldbody.add_geom(type=kind, size=size, pos=(x, y, low + half), quat=turn)
    model = spec.compile()
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    geom, distance = np.zeros((len(rays), 1), np.int32), np.zeros((len(rays), 1))
    mujoco.mj_multiRay(
        model, data, ORIGIN[:, None], rays.reshape(-1, 1), None, True, -1, geom, distance, None, len(rays), 1e6
    )
    return np.where(geom[:, 0] < 0, np.inf, distance[:, 0])


@pytest.mark.parametrize("seed", range(5))
def test_beams_meet_what_mujocos_rays_meet(seed):
    rows, spec, yaw = some_prisms(seed), LidarSpec(), 0.37
    distance, number = cast(Prisms.of(rows), ORIGIN, spec.azimuths + yaw, np.tan(spec.elevations))
    elevation, azimuth = np.meshgrid(spec.elevations, spec.azimuths + yaw, indexing="ij")
    flat = np.cos(elevation)
    rays = np.stack([flat * np.cos(azimuth), flat * np.sin(azimuth), np.sin(elevation)], axis=-1).reshape(-1, 3)
    theirs = mujoco_distances(rows, rays)
    ours = (distance / flat).ravel()
    assert np.isfinite(theirs).sum() > 500
    # A ray that grazes an edge may be met or not.
    assert (~np.isclose(ours, theirs, rtol=1e-6)).sum() <= 3
    assert ((number.ravel() >= 0) == np.isfinite(ours)).all()


def test_a_wall_is_where_it_stands():
    # A wall 0.5 m thick with its near face at x = 10: range 10 / cos(azimuth) / cos(elevation).
    wall = Prisms.of([(10.25, 0, 0, 0.25, 20, 0, 10, False, 0.5)])
    azimuths = np.linspace(-np.pi, np.pi, 360, endpoint=False)
    distance, _ = cast(wall, np.array([0.0, 0.0, 2.0]), azimuths, np.array([0.0, np.tan(0.1)]))
    ahead = np.abs(azimuths) < 1.0
    assert np.allclose(distance[:, ahead], 10 / np.cos(azimuths[ahead]))
    assert np.isinf(distance[:, np.abs(azimuths) > 1.2]).all()


def test_no_prisms_no_returns():
    distance, number = cast(Prisms.of([]), ORIGIN, LidarSpec().azimuths, np.tan(LidarSpec().elevations))
    assert np.isinf(distance).all()
    assert (number == -1).all()
