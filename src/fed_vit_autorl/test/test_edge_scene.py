"""Geometry of a scene: flat road, a camera 1.5 m above it, everything by arithmetic."""

import numpy as np
import pytest

from fed_vit_autorl.data.classes import PEDESTRIAN, VEHICLE
from fed_vit_autorl.data.sample import CameraModel, base_from_optical
from fed_vit_autorl.edge.scene import MAX_RANGE_M, Ground, ground_points, object_positions
from fed_vit_autorl.models.detection import Detections

# 90° wide, level, at x = 1.2 m, z = 1.5 m: a road point d ahead of it lies 160 · 1.5 / d pixels below the horizon,
# row 96.
CAMERA = CameraModel(320, 192, np.array([[160.0, 0, 160], [0, 160, 96], [0, 0, 1]]), base_from_optical(1.2, 0.0, 1.5))
LIDAR = np.array([1.0, 0.0, 1.9])


def test_a_pixel_below_the_horizon_is_a_point_of_the_road():
    points = ground_points(CAMERA, np.array([[160.0, 120.0], [80.0, 120.0], [160.0, 50.0]]))
    np.testing.assert_allclose(points[0], [1.2 + 10, 0], atol=1e-9)  # 24 px: 160 · 1.5 / 24 = 10 m
    np.testing.assert_allclose(points[1], [1.2 + 10, 5], atol=1e-9)  # left of the middle is positive y
    assert np.isnan(points[2]).all()


def test_free_distance_ends_at_the_first_blocked_pixel_from_below():
    ground = Ground.seen_by(CAMERA, 48, 80)
    free = np.ones((48, 80), np.float32)
    assert ground.free_distance(free, 4) == pytest.approx([MAX_RANGE_M] * 4)
    free[:30] = 0  # the last free row is 30: its centre is 4 · 30.5 = 122 px, 26 px below the horizon
    middle = ground.free_distance(free, 5)[2]
    assert middle == pytest.approx(1.2 + 240 / 26, rel=0.02)
    free[45, 32:48] = 0  # an obstacle right in front of the middle sector hides what is free behind it
    assert ground.free_distance(free, 5)[2] < 1.2 + 240 / 85
    free[:] = 0
    assert ground.free_distance(free, 5).tolist() == [0] * 5


def found(box: list[float], class_id: int = VEHICLE) -> Detections:
    return Detections(np.array([box], np.float32), np.ones(1, np.float32), np.array([class_id]))


def test_an_object_is_where_lidar_hits_it_else_where_it_stands():
    seen = found([140, 90, 180, 120])
    np.testing.assert_allclose(object_positions(seen, CAMERA, None), [[11.2, 0, 0]], atol=1e-6)
    car = np.array([[9.0, 0.1, 0.8], [9.1, -0.1, 0.8], [40.0, 0, 1.0], [40.1, 0.2, 1.0]])
    road = np.array([[6.0, 0.0, 0.02], [6.1, 0.0, 0.02]])
    stray = np.array([[3.0, 0.0, 1.4]])
    hit = object_positions(seen, CAMERA, np.concatenate((car, road, stray)), LIDAR)
    np.testing.assert_allclose(hit, [[9.0, 0.1, 0.8]])
    np.testing.assert_allclose(object_positions(seen, CAMERA, road, LIDAR), [[11.2, 0, 0]], atol=1e-6)


@pytest.mark.parametrize(
    ("behind", "class_id", "there"),
    [
        # It stands 10.2 m from the LiDAR; a ray to the road 14 m away passes there at 1.9 · (1 - 10.2 / 14) = 0.52 m.
        ((15.0, 0.0), VEHICLE, False),
        ((15.0, 0.0), PEDESTRIAN, False),
        # To the road 23 m away it passes at 1.06 m: below a car's roof, above a child.
        ((24.0, 0.0), VEHICLE, False),
        ((24.0, 0.0), PEDESTRIAN, True),
        # The road just behind it tells nothing, for where it stands is not known so well.
        ((12.5, 0.0), VEHICLE, True),
        # A ray to a wall passes over it.
        ((60.0, 1.6), VEHICLE, True),
        # Road in front of it is not behind it.
        ((9.0, 0.0), VEHICLE, True),
    ],
)
def test_what_the_lidar_looks_through_is_nowhere(behind: tuple[float, float], class_id: int, there: bool):
    x, z = behind
    rays = np.array([[x, 0.02 * x, z], [x, -0.02 * x, z], [x + 0.1, 30.0, z]])
    seen = found([140, 90, 180, 120], class_id)
    wall = np.array([[60.0, 30.0, 2.0]])  # not in the box
    for count, stands in ((1, True), (2, there)):  # a single ray may be a stray one
        position = object_positions(seen, CAMERA, np.concatenate((rays[:count], wall)), LIDAR)
        assert np.isfinite(position).all() == stands


def test_a_box_above_the_horizon_has_no_position_without_lidar():
    assert np.isnan(object_positions(found([140, 20, 180, 60]), CAMERA, np.zeros((0, 3)))).all()
    nothing = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))
    assert object_positions(nothing, CAMERA, None).shape == (0, 3)
