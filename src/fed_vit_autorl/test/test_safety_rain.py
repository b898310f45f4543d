"""Rain as the embedded world's LiDAR sees it is no obstacle, and whoever stands in it is one."""

from types import SimpleNamespace

import numpy as np
import pytest

from fed_vit_autorl.data.sample import EgoState
from fed_vit_autorl.reinforcement.route import Route
from fed_vit_autorl.safety import SafetyShield
from fed_vit_autorl.safety.assumptions import Assumptions
from fed_vit_autorl.safety.lidar import supported
from fed_vit_autorl.safety.reasons import Reason
from fed_vit_autorl.safety.surroundings import Surroundings
from fed_vit_autorl.safety.types import Odometry, Proposal, Scan, ShieldInputs
from fed_vit_autorl.simulation.ground import Surface
from fed_vit_autorl.simulation.lidar import Lidar, LidarSpec
from fed_vit_autorl.simulation.solids import Prisms
from fed_vit_autorl.simulation.weather import weather_named

A = Assumptions()
SPEC = LidarSpec()
DT = 0.05
RAIN = "rain_dusk"
ADULT, CHILD = (0.25, 1.7), (0.15, 1.1)  # radius and height [m]
ROAD = Route(np.stack((np.arange(-10.0, 400.0, 2.0), np.zeros(205)), axis=-1), np.full(205, 14.0))
PATH = np.stack((2.0 * np.arange(1, 21), np.zeros(20)), axis=-1)


def lidar(weather, *people):
    """The world's sensor on an endless road; people are (x, y, radius, height)."""
    solids = Prisms.of([(x, y, 0.0, radius, radius, 0.0, height, True, 0.3) for x, y, radius, height in people])
    place = SimpleNamespace(
        standing=Prisms.of([]),
        moving=lambda poses, carrier: solids,
        ground=SimpleNamespace(at=lambda points: np.full(points.shape[:-1], Surface.ROAD, np.uint8)),
    )
    return Lidar(place, SPEC, weather_named(weather), carrier=0)


def drive(sensor, seconds, seed=0, speed=8.0):
    """A point mass that keeps asking for full throttle up to 8 m/s: (x, speed, reasons) of each frame."""
    shield, rng, x, frames = SafetyShield(SPEC.base_from_lidar), np.random.default_rng(seed), 0.0, []
    for now in np.arange(round(seconds / DT)) * DT:
        output = shield.step(
            ShieldInputs(
                proposal=Proposal(now, 0.0, 1.0 if speed < 8.0 else 0.0, 0.0, PATH),
                odometry=Odometry(now, (x, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0), speed, 0.0),
                scan=Scan(now, sensor.scan((x, 0.0, 0.0), np.zeros((0, 4)), rng)),
                route=ROAD,
            ),
            now,
        )
        frames.append((x, speed, output.reasons))
        speed = max(speed + (3.5 * output.control.throttle - 8.0 * output.control.brake) * DT, 0.0)
        x += speed * DT
    return frames


@pytest.mark.parametrize("weather", ["rain", RAIN, "fog"])
def test_drops_in_the_air_do_not_disturb_a_drive(weather):
    frames = drive(lidar(weather), 10.0)
    assert sum(bool(reasons) for _, _, reasons in frames) <= 1  # 200 frames of 25 to 35 drops each


@pytest.mark.parametrize("person", [ADULT, CHILD])
@pytest.mark.parametrize("seed", range(3))
def test_whoever_stands_in_the_rain_is_stopped_for(person, seed):
    frames = drive(lidar(RAIN, (40.0, 0.3, *person)), 9.0, seed)
    x, speed, reasons = frames[-1]
    assert speed == 0.0
    assert 2.8 < 40.0 - person[0] - A.front - x < 3.6
    assert Reason.OBSTACLE in reasons
    stops = next(k for k, (_, speed, _) in enumerate(frames) if speed == 0.0)
    assert all(speed < 0.3 for _, speed, _ in frames[stops:])  # and it stays where it is


@pytest.mark.parametrize("distance", [4.0, 6.0, 8.0, 11.0, 16.0, 24.0])
def test_a_person_in_the_rain_is_seen_scan_after_scan(distance):
    sensor, rng, seen = lidar(RAIN, (distance, 0.0, *ADULT)), np.random.default_rng(1), Surroundings(
        SPEC.base_from_lidar, A
    )  # fmt: skip
    found = []
    for k in range(40):
        ego = EgoState(k * DT, (0.0, 0.0, 0.0), 0.0, 0.0)
        seen.update(Scan(k * DT, sensor.scan((0.0, 0.0, 0.0), np.zeros((0, 4)), rng)), ego)
        found.append(bool((np.hypot(seen._points[:, 0] - distance, seen._points[:, 1]) < 0.5).any()))
    assert np.mean(found[1:]) >= (1.0 if distance < 12.0 else 0.9)


@pytest.mark.parametrize(("distance", "enough"), [(2.0, 21), (4.0, 6), (8.0, 2), (10.0, 1), (30.0, 1)])
def test_half_of_what_the_least_obstacle_returns_is_enough(distance, enough):
    # 0.1 m² / (6.1e-4 sr · d²): 40.98, 10.25, 2.56, 1.64, 0.18 returns
    around = np.tile([distance, 0.0, -1.0], (enough, 1)).astype(np.float32)
    assert supported(around, A).all()
    assert not supported(around[1:], A).any()


def test_returns_count_as_around_a_point_up_to_0_2_m_and_not_from_0_4_m_on():
    for angle in np.random.default_rng(0).uniform(-np.pi, np.pi, 50):  # 8 m away 2 of them are asked for
        pair = np.tile([8.0 * np.cos(angle), 8.0 * np.sin(angle), 0.0], (2, 1)).astype(np.float32)
        pair[1, 0] += 0.19
        assert supported(pair, A).all()
        pair[1, 0] += 0.22
        assert not supported(pair, A).any()
