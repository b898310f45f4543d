"""Rain near the sensor is not an obstacle, and a person standing in it is one."""

import numpy as np

from fed_vit_autorl.data.sample import EgoState
from fed_vit_autorl.safety.assumptions import Assumptions
from fed_vit_autorl.safety.surroundings import Surroundings
from fed_vit_autorl.safety.types import Scan

LIDAR_HEIGHT_M = 1.9
DEGREE = np.pi / 180


def rain(generator: np.random.Generator, drops: int = 35) -> np.ndarray:
    """Returns of drops within 8 m, in the directions of a 16-beam sensor's beams."""
    distance, azimuth = generator.uniform(1, 8, drops), generator.uniform(-np.pi, np.pi, drops)
    elevation = generator.integers(-15, 1, drops) * DEGREE
    flat = distance * np.cos(elevation)
    return np.stack([flat * np.cos(azimuth), flat * np.sin(azimuth), distance * np.sin(elevation), 0 * flat], axis=1)


def person(distance: float) -> np.ndarray:
    """What a 0.5 x 1.7 m target ahead returns to beams every 1° of azimuth and 2° of elevation."""
    azimuth = np.arange(-20, 21) * DEGREE
    elevation = np.arange(-15, 16, 2) * DEGREE
    grid_azimuth, grid_elevation = np.meshgrid(azimuth, elevation)
    y, z = distance * np.tan(grid_azimuth), distance * np.tan(grid_elevation)
    hit = (np.abs(y) < 0.25) & (z > -LIDAR_HEIGHT_M) & (z < 1.7 - LIDAR_HEIGHT_M)
    return np.stack([np.full(hit.sum(), distance), y[hit], z[hit], 0 * y[hit]], axis=1)


def obstacles(scans: list[np.ndarray]) -> list[np.ndarray]:
    """What is believed after each scan, in the map."""
    base_from_lidar = np.eye(4)
    base_from_lidar[2, 3] = LIDAR_HEIGHT_M
    seen = Surroundings(base_from_lidar, Assumptions())
    found = []
    for number, points in enumerate(scans):
        stamp = 0.1 * number
        seen.update(Scan(stamp, points.astype(np.float32)), EgoState(stamp, (0.0, 0.0, 0.0), 0.0, 0.0))
        found.append(seen._points.copy())
    return found


def test_drops_alone_leave_the_road_free():
    generator = np.random.default_rng(0)
    blocked = [len(points) > 0 for points in obstacles([rain(generator) for _ in range(100)])]
    assert np.mean(blocked) <= 0.02  # three drops in one 0.4 m cell


def test_a_person_in_the_rain_is_seen_in_every_scan():
    generator = np.random.default_rng(1)
    for distance in (5.0, 8.0, 12.0):
        for points in obstacles([np.vstack([rain(generator), person(distance)]) for _ in range(20)]):
            assert (np.abs(points[:, 0] - distance) < 0.5).any()
