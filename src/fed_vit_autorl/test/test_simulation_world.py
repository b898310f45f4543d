"""The world as its users see it: repeatable runs, sensors that agree with the truth, events."""

from dataclasses import replace

import numpy as np
import pytest

from fed_vit_autorl.reinforcement.expert import Expert
from fed_vit_autorl.reinforcement.vehicle import pedals
from fed_vit_autorl.simulation.config import ConfigReason, ConfigRefused, EgoConfig, WorldConfig
from fed_vit_autorl.simulation.events import Collision, ego_is_at_fault, overlap
from fed_vit_autorl.simulation.ground import KERB_HEIGHT_M
from fed_vit_autorl.simulation.rendering import CameraSpec
from fed_vit_autorl.simulation.town import TownSpec
from fed_vit_autorl.simulation.traffic import TrafficReason, TrafficRefused
from fed_vit_autorl.simulation.vehicle import Control
from fed_vit_autorl.simulation.weather import WEATHERS, WeatherReason, WeatherRefused
from fed_vit_autorl.simulation.world import World

CONFIG = WorldConfig(
    town=TownSpec(seed=3, size=3),
    egos={"noon": EgoConfig("noon", 120.0), "dusk": EgoConfig("rain_dusk", 120.0)},
    vehicles=12,
    pedestrians=12,
    camera=CameraSpec(160, 96),
)


@pytest.fixture(scope="module")
def world():
    with World(CONFIG) as made:
        yield made


def drive(world, seed, frames):
    """Expert drivers for some frames; every frame's observations."""
    seen = world.reset(seed)
    experts = {name: Expert(one.route.line, CONFIG.vehicle) for name, one in seen.items()}
    history = [seen]
    for _ in range(frames):
        controls = {}
        for name, one in seen.items():
            decision = experts[name].decide(one.ego, one.truth.users, one.truth.stop_line)
            controls[name] = Control(decision.steering, *pedals(decision.acceleration, one.ego.speed, CONFIG.vehicle))
        seen = world.step(controls)
        history.append(seen)
    return history


def test_the_same_seed_is_the_same_run(world):
    first, second, other = drive(world, 5, 40), drive(world, 5, 40), drive(world, 6, 1)
    for a, b in zip(first, second, strict=True):
        for name in CONFIG.egos:
            assert a[name].ego == b[name].ego
            assert a[name].truth == b[name].truth or a[name].truth.users == b[name].truth.users
            assert (a[name].image == b[name].image).all()
            assert (a[name].points == b[name].points).all()
    assert first[0]["noon"].ego != other[0]["noon"].ego


def test_time_and_motion(world):
    history = drive(world, 5, 60)
    assert history[-1]["noon"].stamp == pytest.approx(3.0)
    assert history[-1]["noon"].ego.speed > 2.0
    assert history[-1]["noon"].progress > 2.0
    # At rest an accelerometer measures gravity upwards.
    assert history[0]["noon"].imu.acceleration[2] == pytest.approx(9.81, abs=0.3)


def test_an_ego_without_a_control_brakes(world):
    drive(world, 5, 60)
    for _ in range(40):
        seen = world.step({})
    assert seen["noon"].ego.speed == 0.0


def test_rain_at_dusk_is_darker_than_noon(world):
    seen = world.reset(5)
    assert seen["dusk"].image.mean() < 0.6 * seen["noon"].image.mean()
    assert len(seen["dusk"].points) < len(seen["noon"].points)


def test_the_lidar_sees_the_road_at_its_height_and_the_kerb_above_it(world):
    seen = world.reset(5)["noon"]
    transform = seen.base_from_lidar
    points = seen.points[:, :3] @ transform[:3, :3].T + transform[:3, 3]
    ground = points[(points[:, 2] > -0.1) & (points[:, 2] < 0.25)]
    c, s = np.cos(seen.ego.yaw), np.sin(seen.ego.yaw)
    flat = ground[:, :2] @ np.array([[c, s], [-s, c]]) + seen.ego.position[:2]
    height = world.scene.ground.height(flat)
    near = np.hypot(*ground[:, :2].T) < 15
    agree = np.abs(ground[near, 2] - height[near]) < 0.06
    assert agree.mean() > 0.9, "all but the beams that end half-way up a kerb"
    assert {0.0, KERB_HEIGHT_M} == set(height[near])


def test_labels_fit_the_picture_and_the_truth(world):
    drive(world, 8, 60)
    labels = world.labels("noon")
    assert labels.free_space.shape == (96, 160)
    assert 0.1 < labels.drivable.mean() < 0.6
    assert (labels.lane <= labels.drivable).all()
    assert not (labels.moving & labels.drivable).any(), "what moves hides the road"
    pixels, depth = world.config.camera.model.project(labels.solids[:, :3].astype(float))
    for box, pixel in zip(labels.boxes[depth > 6], pixels[depth > 6], strict=True):
        assert (box[:2] - 8 < pixel).all(), "the 3D box is where the picture shows it, but for what hides it"
        assert (pixel < box[2:] + 8).all()
    assert labels.lane[-4:, 60:100].mean() > 0.9, "the ego's lane begins before its bonnet"
    for x0, y0, x1, y1 in labels.boxes:
        assert 0 <= x0 < x1 <= 160
        assert 0 <= y0 < y1 <= 96


def test_a_vehicle_ahead_is_in_its_projected_place(world):
    """The other ego is put 12 m ahead: its box, its LiDAR returns and the truth's gap must agree."""
    world.reset(5)
    front, back = world.egos["dusk"], world.egos["noon"]
    yaw = back.state.yaw
    front.state = replace(
        front.state, x=back.state.x + 12 * np.cos(yaw), y=back.state.y + 12 * np.sin(yaw), yaw=yaw, speed=0.0
    )
    seen = world.step({})["noon"]
    assert seen.truth.users["dusk"].x == pytest.approx(front.state.x + 1.35 * np.cos(yaw), abs=0.1)
    # Rear axles are 12 m apart, the front overhangs and wheelbase make 3.65 m, the rear overhang 0.95 m.
    assert seen.truth.lead_gap == pytest.approx(12.0 - 3.65 - 0.95, abs=0.1)
    labels = world.labels("noon")
    rear = np.array([[11.05, side, height] for side in (-0.85, 0.85) for height in (0.3, 1.4)])
    pixels, _ = seen.camera.project(rear)
    x0, _, x1, y1 = labels.boxes[np.argmin(np.abs(labels.boxes[:, [0, 2]].mean(axis=1) - 80))]
    assert abs(x0 - pixels[:, 0].min()) < 4
    assert abs(x1 - pixels[:, 0].max()) < 4
    assert abs(y1 - pixels[:, 1].max()) < 6
    nearest = max(world.objects("noon"), key=lambda found: found.pixels)
    assert (nearest.length, nearest.width, nearest.height) == (4.6, 1.82, 1.45)
    assert (nearest.x, nearest.y) == pytest.approx((seen.truth.users["dusk"].x, seen.truth.users["dusk"].y))
    assert nearest.visible > 0.8
    points = seen.points[:, :3] + seen.base_from_lidar[:3, 3]
    ahead = points[(np.abs(points[:, 1]) < 0.8) & (points[:, 2] > 0.4) & (points[:, 2] < 0.8) & (points[:, 0] > 3)]
    assert ahead[:, 0].min() == pytest.approx(11.05, abs=0.1)


def test_driving_into_another_is_a_collision_at_fault_once(world):
    world.reset(5)
    front, back = world.egos["dusk"], world.egos["noon"]
    yaw = back.state.yaw
    front.state = replace(front.state, x=back.state.x + 15 * np.cos(yaw), y=back.state.y + 15 * np.sin(yaw), yaw=yaw)
    struck, strikes = [], []
    for _ in range(120):
        seen = world.step({"noon": Control(throttle=1.0)})
        strikes += [e for e in seen["noon"].events if isinstance(e, Collision)]
        struck += [e for e in seen["dusk"].events if isinstance(e, Collision)]
    assert strikes[0].other == "dusk"
    assert strikes[0].at_fault
    assert abs(strikes[0].bearing) < 0.2
    # 15 - 4.6 = 10.4 m of way at up to 3.5 m/s²: v = √(2 a s) <= 8.5 m/s
    assert 5.0 < strikes[0].closing_speed < 8.6
    # Plastic: m/2 · v for equal masses.
    assert np.hypot(*strikes[0].impulse[:2]) == pytest.approx(750 * strikes[0].closing_speed, rel=0.01)
    assert len(struck) >= 1
    assert not struck[0].at_fault


def test_leaving_the_road_is_noticed(world):
    world.reset(5)
    names = []
    for _ in range(100):
        seen = world.step({"noon": Control(0.3, 0.6)})["noon"]
        names += [type(event).__name__ for event in seen.events]
        if seen.truth.off_road:
            break
    assert seen.truth.off_road
    assert "LaneInvasion" in names


def test_an_expert_finishes_its_route_and_goes_on(world):
    seen = world.reset(5)
    ego = world.egos["noon"]
    line = ego.route.line
    start = line.length - 25.0
    x, y = line.at(np.array(start))
    ego.state = replace(ego.state, x=x, y=y, yaw=float(line.heading(start)))
    rest = line.s >= start
    arrays = ("points", "options", "speed_limits", "lane_widths", "in_junction")
    ego.follow(replace(ego.route, stops=(), **{name: getattr(ego.route, name)[rest] for name in arrays}))
    seen = world.step({})
    expert = Expert(seen["noon"].route.line, CONFIG.vehicle)
    for _ in range(300):
        one = seen["noon"]
        if one.completion == 1.0:
            break
        decision = expert.decide(one.ego, one.truth.users, one.truth.stop_line)
        pressed = pedals(decision.acceleration, one.ego.speed, CONFIG.vehicle)
        seen = world.step({"noon": Control(decision.steering, *pressed)})
    assert one.completion == 1.0
    assert not one.truth.collided
    route = world.continue_from("noon")
    one = world.step({})["noon"]
    assert one.route is route
    assert one.completion < 0.1


def test_a_second_world_in_one_process_is_refused(world):
    with pytest.raises(TrafficRefused) as refusal:
        World(replace(CONFIG, image=False))
    assert refusal.value.reason == TrafficReason.BUSY


@pytest.mark.parametrize(
    ("speed", "bearing", "other_toward", "ego_toward", "fault"),
    [
        (8.0, 0.0, 0.0, 8.0, True),  # runs into a standing car
        (0.0, 0.0, 8.0, 0.0, False),  # stands and is run into
        (8.0, 3.0, 4.0, -8.0, False),  # is struck from behind
        (3.0, 1.2, 9.0, 0.5, False),  # is struck from the side by one that drives into it
        (8.0, 0.3, 7.0, 8.0, True),  # head on
    ],
)
def test_fault(speed, bearing, other_toward, ego_toward, fault):
    assert ego_is_at_fault(speed, bearing, other_toward, ego_toward) is fault


def test_rectangles_overlap_when_no_axis_separates_them():
    square = np.array([(0, 0), (1, 0), (1, 1), (0, 1)], float)
    diamond = np.array([(1.4, 0.5), (1.9, 1.0), (1.4, 1.5), (0.9, 1.0)])
    assert overlap(square, diamond)
    assert not overlap(square, diamond + np.array([0.4, 0.2]))
    assert not overlap(square, square + np.array([1.1, 0.0]))


@pytest.mark.parametrize(
    "wrong", [{"egos": {}}, {"vehicles": 3000}, {"pedestrians": -1}, {"dt": 0.0}, {"camera": CameraSpec(8, 8)}]
)
def test_a_world_that_cannot_be_is_refused(wrong):
    with pytest.raises(ConfigRefused) as refusal:
        WorldConfig(**wrong)
    assert refusal.value.reason == ConfigReason.OUT_OF_RANGE


def test_unknown_weather_is_refused_with_what_there_is():
    with pytest.raises(WeatherRefused, match="rain_dusk") as refusal:
        EgoConfig("sunshine")
    assert refusal.value.reason == WeatherReason.UNKNOWN
    assert {"noon", "dusk", "night", "rain", "rain_dusk", "fog"} == set(WEATHERS)
