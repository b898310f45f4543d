from dataclasses import replace

import numpy as np
import pytest

from fed_vit_autorl.data.auto_label import auto_label
from fed_vit_autorl.data.classes import PEDESTRIAN, UNLABELLED, VEHICLE
from fed_vit_autorl.data.lidar import clusters, height_above, road_plane
from fed_vit_autorl.data.sample import CameraModel, EgoState, Sample, base_from_optical
from fed_vit_autorl.evaluation.label_quality import auto_label_quality, label_quality
from fed_vit_autorl.models.detection import iou_matrix

CAMERA = CameraModel(320, 192, np.array([[160.0, 0, 160], [0, 160, 96], [0, 0, 1]]), base_from_optical(1.2, 0.0, 1.5))
MOUNT = np.array([1.2, 0.0, 1.9])
ROAD_HALF_WIDTH = 5.0
CAR = ((14.0, -3.0, 0.25), (18.5, -1.2, 1.5))
PERSON = ((11.8, 6.0, 0.15), (12.2, 6.5, 1.9))
WALL = ((5.0, 12.0, 0.0), (60.0, 13.0, 9.0))


def scan(boxes=(), slope=0.0, seed=0, loss=0.0) -> np.ndarray:
    """16 × 360 rays against a street (z = slope · x, kerbs 0.15 m high at ±5 m) and axis-aligned boxes, 2 cm noise."""
    random = np.random.default_rng(seed)
    elevation, azimuth = np.meshgrid(np.radians(np.linspace(-20, 6, 16)), np.radians(np.arange(360)), indexing="ij")
    flat = np.cos(elevation)
    rays = np.stack([flat * np.cos(azimuth), flat * np.sin(azimuth), np.sin(elevation)], -1).reshape(-1, 3)
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = np.full(len(rays), np.inf)
        for height, on_road in ((0.0, True), (0.15, False)):
            reach = (height - MOUNT[2] + slope * MOUNT[0]) / (rays[:, 2] - slope * rays[:, 0])
            y = rays[:, 1] * reach
            hit = (reach > 0) & ((np.abs(y) < ROAD_HALF_WIDTH) == on_road)
            distance = np.where(hit, np.minimum(distance, reach), distance)
        for low, high in boxes:
            a, b = (np.array(low) - MOUNT) / rays, (np.array(high) - MOUNT) / rays
            enter, leave = np.minimum(a, b).max(axis=1), np.maximum(a, b).min(axis=1)
            distance = np.where((enter > 0) & (enter < leave), np.minimum(distance, enter), distance)
    kept = (distance < 60) & (random.random(len(rays)) >= loss)
    points = rays[kept] * (distance[kept] + random.normal(0, 0.02, kept.sum()))[:, None]
    return np.column_stack([points, np.ones(len(points))]).astype(np.float32)


def sample(points: np.ndarray | None, ego: EgoState | None = None) -> Sample:
    mount = np.eye(4)
    mount[:3, 3] = MOUNT
    return Sample(np.zeros((192, 320, 3), np.uint8), CAMERA, points, mount, ego=ego)


def projected(low, high) -> np.ndarray:
    corners = np.array([(x, y, z) for x in (low[0], high[0]) for y in (low[1], high[1]) for z in (low[2], high[2])])
    pixels = CAMERA.project(corners)[0]
    return np.concatenate([pixels.min(axis=0), pixels.max(axis=0)])[None]


def ground_pixel(x: float, y: float) -> tuple[int, int]:
    u, v = CAMERA.project(np.array([[x, y, 0.0]]))[0][0]
    return int(v), int(u)


def test_a_car_and_a_person_are_found_where_they_are():
    labels = auto_label(sample(scan([CAR, PERSON])))
    assert sorted(labels.classes.tolist()) == [VEHICLE, PEDESTRIAN]
    car, person = (labels.boxes[labels.classes == label] for label in (VEHICLE, PEDESTRIAN))
    assert iou_matrix(car, projected((14, -3, 0), (18.5, -1.2, 1.5)))[0, 0] > 0.6
    assert iou_matrix(person, projected(*PERSON))[0, 0] > 0.6


def test_houses_and_an_empty_street_are_no_objects():
    assert len(auto_label(sample(scan([WALL]))).boxes) == 0
    assert len(auto_label(sample(scan())).boxes) == 0


def test_free_space_is_the_road_between_the_kerbs_up_to_what_stands_on_it():
    mask = auto_label(sample(scan([CAR]))).free_space
    assert mask[ground_pixel(8, 0)] == mask[ground_pixel(20, 3)] == mask[ground_pixel(6, -4)] == 1
    assert mask[ground_pixel(8, 7)] == mask[ground_pixel(12, -7)] == 0
    assert mask[ground_pixel(16, -2)] == mask[ground_pixel(25, -3.6)] == 0
    assert not mask[:90].any()


def test_a_sloping_road_is_still_road():
    points = scan([], slope=0.02)[:, :3].astype(float) + MOUNT
    plane = road_plane(points)
    assert plane[1] == pytest.approx(0.02, abs=0.003)
    on_road = (np.abs(points[:, 1]) < 4.5) & (points[:, 0] < 20)
    assert np.abs(height_above(plane, points[on_road])).max() < 0.08


def test_lost_returns_and_drops_of_rain_change_little():
    clean = auto_label(sample(scan([CAR])))
    random = np.random.default_rng(1)
    points = scan([CAR], loss=0.15)
    drops = np.column_stack([random.normal(size=(30, 3)) * (3, 3, 0.5), np.ones(30)]).astype(np.float32)
    wet = auto_label(sample(np.concatenate([points, drops])))
    assert wet.classes.tolist() == clean.classes.tolist()
    both = (wet.free_space == 1) & (clean.free_space == 1)
    either = (wet.free_space == 1) | (clean.free_space == 1)
    assert both.sum() > 0.9 * either.sum()


def test_the_lane_is_what_was_driven_and_unknown_beyond():
    track = [EgoState(t, (6.0 * t, 0.0, 0.0), 0.0, 6.0) for t in np.arange(0.0, 5.0, 0.5)]
    mask = auto_label(sample(scan(), track[0]), track[1:]).lane
    assert mask[ground_pixel(10, 0)] == mask[ground_pixel(10, 1.5)] == 1
    assert mask[ground_pixel(10, 2.2)] == mask[ground_pixel(20, -2.5)] == 0
    assert mask[ground_pixel(38, 0)] == UNLABELLED


def test_a_bend_is_followed_to_the_left():
    angle = np.linspace(0, np.pi / 2, 20)
    track = [EgoState(float(a), (20 * np.sin(a), 20 - 20 * np.cos(a), 0.0), float(a), 5.0) for a in angle]
    mask = auto_label(sample(scan(), track[0]), track[1:]).lane
    assert mask[ground_pixel(14.1, 5.9)] == 1
    assert mask[ground_pixel(14.1, 0)] == 0


def test_what_cannot_be_known_is_unlabelled():
    labels = auto_label(sample(None))
    assert not labels.objects_known
    for mask in (labels.free_space, labels.lane, labels.drivable):
        assert (mask == UNLABELLED).all()
    standing = EgoState(0.0, (0.0, 0.0, 0.0), 0.0, 0.0)
    still = auto_label(sample(scan(), standing), [replace(standing, stamp=float(t)) for t in range(1, 9)])
    assert (still.lane == UNLABELLED).all()
    assert (still.free_space == 1).any()


def test_far_road_users_are_ignored_rather_than_denied():
    far = ((45.0, -1.0, 0.25), (49.5, 0.8, 1.5))
    labels = auto_label(sample(scan([far])))
    box = projected((45, -1, 0), (49.5, 0.8, 1.5))[0]
    inside = (labels.ignored[:, :2] <= box[:2]).all(axis=1) & (labels.ignored[:, 2:] >= box[2:]).all(axis=1)
    assert inside.any()
    assert len(labels.boxes) == 0


@pytest.mark.parametrize("count", [0, 1, 5])
def test_a_nearly_empty_scan_is_no_crash(count):
    points = np.ones((count, 4), np.float32) * 5
    assert len(auto_label(sample(points)).boxes) == 0


def test_neighbours_cluster_by_the_scans_own_spacing():
    near = np.array([[5.0, 0], [5, 0.3], [5, 1.5]])
    assert len(set(clusters(near).tolist())) == 2
    far = np.array([[40.0, 0], [40, 1.0], [40, 3.0]])
    assert len(set(clusters(far).tolist())) == 2
    assert clusters(np.zeros((0, 2))).tolist() == []


def test_quality_of_labels_against_truth():
    made = auto_label(sample(scan([CAR])))
    perfect = label_quality([made], [made])
    assert (perfect["precision"], perfect["recall"], perfect["free_space_iou"]) == (1, 1, 1)
    assert perfect["lane_coverage"] == 0
    truth = replace(made, boxes=np.zeros((0, 4), np.float32), classes=np.zeros(0, np.int64))
    assert label_quality([made], [truth])["precision"] == 0
    blind, careful = truth, replace(truth, ignored=made.boxes)
    assert [label_quality([own], [made])["denied"] for own in (made, blind, careful)] == [0, 1, 0]
    street = [
        replace(sample(scan([CAR]), EgoState(t, (8.0 * t, 0.0, 0.0), 0.0, 8.0)), labels=made, stamp=t, domain="noon")
        for t in (0.0, 1.0, 2.0)
    ]
    assert auto_label_quality(street)["by_domain"]["noon"]["precision"] == 1
    with pytest.raises(ValueError, match="points"):
        auto_label_quality([replace(one, points=None) for one in street])
