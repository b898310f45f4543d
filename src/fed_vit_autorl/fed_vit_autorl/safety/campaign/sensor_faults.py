"""Sensor faults by name: each turns the true LiDAR scan or odometry of a frame into what reaches the shield."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ..types import Odometry, Scan

Sensed = tuple[Scan | None, Odometry | None]
Fault = Callable[[Scan, Odometry], Sensed]


def none(rng: np.random.Generator) -> Fault:
    """Healthy sensors."""
    return lambda scan, odometry: (scan, odometry)


def lidar_silent(rng: np.random.Generator) -> Fault:
    """No scan arrives any more."""
    last: list[Scan] = []

    def sense(scan: Scan, odometry: Odometry) -> Sensed:
        last.append(scan)
        del last[1:]
        return last[0], odometry

    return sense


def lidar_frozen(rng: np.random.Generator) -> Fault:
    """The same points with ever new stamps."""
    first: list[Scan] = []

    def sense(scan: Scan, odometry: Odometry) -> Sensed:
        first.append(scan)
        del first[1:]
        return Scan(scan.stamp, first[0].points, scan.dense), odometry

    return sense


def lidar_nan(rng: np.random.Generator) -> Fault:
    """Some or all points are NaN."""
    share = rng.choice((0.01, 0.5, 1.0))

    def sense(scan: Scan, odometry: Odometry) -> Sensed:
        points = scan.points.copy()
        points[rng.random(len(points)) < share] = np.nan
        return Scan(scan.stamp, points, scan.dense), odometry

    return sense


def lidar_ghost(rng: np.random.Generator) -> Fault:
    """Boxes of returns where nothing is."""

    def sense(scan: Scan, odometry: Odometry) -> Sensed:
        centre = rng.uniform((2.0, -8.0, -1.5), (40.0, 8.0, -0.5))
        ghost = centre + rng.uniform(-0.5, 0.5, (40, 3))
        points = np.zeros((40, scan.points.shape[1]), np.float32)
        points[:, :3] = ghost
        return Scan(scan.stamp, np.concatenate((scan.points, points)), scan.dense), odometry

    return sense


def lidar_blind(rng: np.random.Generator) -> Fault:
    """A sector of the view gives no returns."""
    centre, width = rng.uniform(-np.pi, np.pi), np.radians(rng.uniform(10.0, 90.0))

    def sense(scan: Scan, odometry: Odometry) -> Sensed:
        azimuth = np.arctan2(scan.points[:, 1], scan.points[:, 0])
        off = np.abs((azimuth - centre + np.pi) % (2.0 * np.pi) - np.pi)
        return Scan(scan.stamp, scan.points[off > 0.5 * width], scan.dense), odometry

    return sense


def odometry_silent(rng: np.random.Generator) -> Fault:
    """No odometry arrives any more."""
    last: list[Odometry] = []

    def sense(scan: Scan, odometry: Odometry) -> Sensed:
        last.append(odometry)
        del last[1:]
        return scan, last[0]

    return sense


def odometry_frozen(rng: np.random.Generator) -> Fault:
    """The same pose and speed with ever new stamps."""
    first: list[Odometry] = []

    def sense(scan: Scan, odometry: Odometry) -> Sensed:
        first.append(odometry)
        del first[1:]
        return scan, replace(first[0], stamp=odometry.stamp)

    return sense


def odometry_nan(rng: np.random.Generator) -> Fault:
    """A value is NaN."""
    field = str(rng.choice(("speed", "yaw_rate")))
    return lambda scan, odometry: (scan, replace(odometry, **{field: float("nan")}))


def odometry_jump(rng: np.random.Generator) -> Fault:
    """The position leaps by some metres now and then."""
    offset = np.zeros(2)

    def sense(scan: Scan, odometry: Odometry) -> Sensed:
        if rng.random() < 0.02:
            offset[:] = rng.uniform(-15.0, 15.0, 2)
        x, y, z = odometry.position
        return scan, replace(odometry, position=(x + offset[0], y + offset[1], z))

    return sense


FAULTS: dict[str, Callable[[np.random.Generator], Fault]] = {
    make.__name__: make
    for make in (
        none,
        lidar_silent,
        lidar_frozen,
        lidar_nan,
        lidar_ghost,
        lidar_blind,
        odometry_silent,
        odometry_frozen,
        odometry_nan,
        odometry_jump,
    )
}
