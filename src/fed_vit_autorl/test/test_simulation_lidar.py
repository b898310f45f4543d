"""Beams cast at prisms, against MuJoCo's rays at the same bodies."""

import numpy as np
import pytest

from fed_vit_autorl.simulation.bench import mujoco_model, mujoco_rays
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


@pytest.mark.parametrize("seed", range(5))
def test_beams_meet_what_mujocos_rays_meet(seed):
    prisms, spec, yaw = Prisms.of(some_prisms(seed)), LidarSpec(), 0.37
    distance, number = cast(prisms, ORIGIN, spec.azimuths + yaw, np.tan(spec.elevations))
    elevation, azimuth = np.meshgrid(spec.elevations, spec.azimuths + yaw, indexing="ij")
    flat = np.cos(elevation)
    rays = np.stack([flat * np.cos(azimuth), flat * np.sin(azimuth), np.sin(elevation)], axis=-1).reshape(-1, 3)
    theirs = mujoco_rays(mujoco_model(prisms), ORIGIN, rays)()
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


@pytest.mark.parametrize("disc", [False, True])
def test_from_within_a_prism_every_beam_meets_it_at_once_and_the_last_of_two(disc):
    shape = (0, 0, 0, 3, 3, 0, 5, disc, 0.5)
    distance, number = cast(Prisms.of([shape, shape]), ORIGIN, LidarSpec().azimuths, np.array([-0.1, 0.0, 0.1]))
    assert (distance == 0).all()
    assert (number == 1).all()


@pytest.mark.parametrize("column", range(7))
def test_a_prism_that_is_nowhere_is_not_met(column):
    row = [5.0, 0.0, 0.0, 1.0, 1.0, 0.0, 3.0, 0.0, 0.5]
    assert np.isfinite(cast(Prisms.of([tuple(row)]), ORIGIN, LidarSpec().azimuths, np.array([0.0]))[0]).any()
    row[column] = np.nan
    assert np.isinf(cast(Prisms.of([tuple(row)]), ORIGIN, LidarSpec().azimuths, np.array([0.0]))[0]).all()
