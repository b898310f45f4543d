"""Obstacles from raw scans of a world of boxes: ground, kerbs, bridges, clusters, blind sectors."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from fed_vit_autorl.safety.assumptions import Assumptions
from fed_vit_autorl.safety.lidar import (
    CELL_M,
    FIT_POINTS,
    FIT_RANGE_M,
    FIT_SAMPLE,
    GRID_AHEAD_M,
    GRID_BACK_M,
    GRID_SIDE_M,
    MAX_CLUSTERS,
    RIDGE,
    SECTORS,
    SMEAR_M,
    SUPPORT_CELL_M,
    SUPPORT_RANGE_M,
    THIN_M,
    boxes,
    cluster,
    extract,
    ground_height,
    sector_returns,
    steepest,
    supported,
    thin,
)
from fed_vit_autorl.safety.view import bearings
from fed_vit_autorl.simulation.lidar import LidarSpec
from fed_vit_autorl.simulation.raybox import BoxLidar

A = Assumptions()
SPEC = LidarSpec(noise=0.01)
LIDAR = BoxLidar(SPEC)


def scan(*solids):
    """A scan from the origin; solids are (x, y, yaw, length, width, height)."""
    return LIDAR.scan((0.0, 0.0, 0.0), np.array(solids, float).reshape(-1, 6), np.random.default_rng(0))


def found(points):
    return extract(points, SPEC.base_from_lidar, A)


def test_level_ground_is_no_obstacle():
    assert len(found(scan()).points) == 0


def test_a_car_ahead_is_one_cluster_where_it_stands():
    seen = found(scan((22.0, 1.0, 0.0, 4.5, 1.8, 1.5)))
    assert len(seen.start) == 1
    assert (seen.labels == 1).all()
    assert seen.points[:, 0].min() == pytest.approx(22.0 - 2.25, abs=0.1)
    assert 0.1 < seen.points[:, 1].min() < seen.points[:, 1].max() < 1.9
    assert (seen.points[:, 2] > A.kerb_height).all()


def test_two_cars_are_two_clusters():
    assert len(found(scan((15.0, -4.0, 0.0, 4.5, 1.8, 1.5), (18.0, 4.0, 0.0, 4.5, 1.8, 1.5))).start) == 2


@pytest.mark.parametrize(("height", "stands"), [(0.15, False), (0.6, True)])
def test_a_kerb_is_ground_and_a_box_is_not(height, stands):
    assert (len(found(scan((8.0, 0.0, 0.0, 0.5, 6.0, height))).points) > 0) is stands


def test_what_hangs_above_the_road_is_passed_under():
    points = np.array([[10.0, y, 0.7, 1.0] for y in np.arange(-2, 2, 0.2)], np.float32)  # 2.6 m above the ground
    assert len(found(np.concatenate((scan(), points))).points) == 0
    points[:, 2] = 0.3
    assert len(found(np.concatenate((scan(), points))).points) == 20


def test_returns_from_the_own_body_and_from_far_away_are_left_out():
    own = np.array([[1.0, y, -0.5, 1.0] for y in (-0.9, 0.0, 0.9)], np.float32)
    far = np.array([[90.0, y, -0.5, 1.0] for y in (-0.9, 0.0, 0.9)], np.float32)
    assert len(found(np.concatenate((scan(), own, far))).points) == 0


def raised(distance, height):
    """How many obstacle points there are of 20 at that height above a road that rises by 3 %."""
    road, top = scan()[:, :3], np.array([[distance, y, 0.0] for y in np.arange(-2.0, 2.0, 0.2)])
    top[:, 0] -= SPEC.base_from_lidar[0, 3]
    top[:, 2] = height - SPEC.base_from_lidar[2, 3]
    everything = np.concatenate((road[np.isfinite(road).all(axis=1)], top)).astype(np.float32)
    everything[:, 2] += 0.03 * (everything[:, 0] + SPEC.base_from_lidar[0, 3])
    return len(found(everything).points)


@pytest.mark.parametrize(
    ("distance", "height", "count"),
    [(10.0, 0.25, 0), (10.0, 0.45, 20), (40.0, 0.5, 0), (40.0, 0.8, 20), (40.0, 2.6, 0)],
)
def test_obstacles_rise_above_the_road_by_more_than_kerbs_and_its_slope_s_change(distance, height, count):
    assert raised(distance, height) == count  # 0.2 m and 0.012 m per metre; below 2.4 m


@pytest.mark.parametrize(("distance", "count"), [(8.9, 0), (9.2, 1)])
def test_a_lone_return_is_a_drop_where_the_least_obstacle_gives_more(distance, count):
    # Half of 0.1 m² at 6.1e-4 sr a return: more than one below 9.05 m.
    lone = np.array([[distance, 0.0, -1.0, 0.0]], np.float32)
    assert len(found(np.concatenate((scan(), lone))).points) == count


def test_lost_rays_are_left_out():
    points = scan((22.0, 1.0, 0.0, 4.5, 1.8, 1.5))
    lost = np.full((50, 4), np.nan, np.float32)
    assert np.array_equal(found(np.concatenate((points, lost))).points, found(points).points)


@pytest.mark.parametrize(("pitch", "offset"), [(0.04, 0.0), (-0.04, 0.1), (0.0, -0.15)])
def test_the_ground_is_found_though_the_vehicle_pitches(pitch, offset):
    x, y = np.meshgrid(np.arange(-20.0, 40.0, 1.0), np.arange(-15.0, 15.0, 1.0))
    points = np.stack((x, y, pitch * x + offset), axis=-1).reshape(-1, 3).astype(np.float32)
    distance = np.hypot(points[:, 0], points[:, 1])
    assert np.abs(ground_height(points, distance) - points[:, 2]).max() < 0.03


def test_a_slope_steeper_than_any_road_is_not_ground():
    x, y = np.meshgrid(np.arange(4.0, 20.0, 0.5), np.arange(-5.0, 5.0, 0.5))
    points = np.stack((x, y, 0.5 * (x - 4.0)), axis=-1).reshape(-1, 3).astype(np.float32)
    height = ground_height(points, np.hypot(points[:, 0], points[:, 1]))
    assert np.abs(height).max() <= 0.1 * 20.0 + 0.1 * 5.0 + 0.25
    assert (points[:, 2] - height)[points[:, 0] > 12].min() > 1.0


def test_without_ground_points_the_ground_is_level():
    points = np.array([[5.0, 0.0, 1.0]] * 10, np.float32)
    assert (ground_height(points, np.full(10, 5.0, np.float32)) == 0.0).all()


def test_points_outside_the_grid_belong_to_no_cluster():
    points = np.array([[5, 0, 1], [-16, 0, 1], [75, 0, 1], [5, -26, 1], [5, 26, 1]], np.float32)
    labels, count = cluster(points)
    assert count == 1
    assert labels.tolist() == [1, 0, 0, 0, 0]


def test_the_grid_reaches_to_its_corner():
    points = np.array([[-15.0, -25.0, 1], [-15.01, 0.0, 1], [0.0, -25.01, 1]], np.float32)
    assert cluster(points)[0].tolist() == [1, 0, 0]


def test_every_cluster_holds_a_point():
    rng = np.random.default_rng(0)
    for _ in range(200):
        points = rng.uniform((-16.0, -27.0, 0.5), (75.0, 27.0, 1.0), (30, 3)).astype(np.float32)
        labels, count = cluster(points)
        assert set(range(1, count + 1)) == set(labels[labels > 0].tolist())


def test_neighbours_cling_together_and_a_gap_parts():
    assert cluster(np.array([[5.0, 0, 1], [5.4, 0.4, 1]], np.float32))[1] == 1
    assert cluster(np.array([[5.0, 0, 1], [5.0, 1.3, 1]], np.float32))[1] == 2
    # Along the ray more is bridged: a side seen at a slant is one thing.
    assert cluster(np.array([[5.0, 0, 1], [6.3, 0.0, 1]], np.float32))[1] == 1
    assert cluster(np.array([[5.0, 0, 1], [8.0, 0.0, 1]], np.float32))[1] == 2


def test_the_number_of_clusters_is_bounded_and_the_nearest_stay():
    x, y = np.meshgrid(np.arange(2.0, 62.0, 2.0), np.arange(-20.0, 20.0, 2.0))
    points = np.stack((x.ravel(), y.ravel(), np.ones(x.size)), axis=-1).astype(np.float32)
    labels, count = cluster(points)
    assert count == labels.max() == MAX_CLUSTERS
    distance = np.hypot(points[:, 0], points[:, 1])
    assert distance[labels > 0].max() <= distance[labels == 0].min()
    assert len(np.unique(labels)) == MAX_CLUSTERS + 1


def test_sectors_count_counter_clockwise_from_straight_back():
    angles = np.radians([-179.0, 1.0, 91.0, -1.0])  # sectors of 5°
    points = np.stack((np.cos(angles), np.sin(angles), np.zeros(4)), axis=-1).astype(np.float32)
    expected = np.zeros(SECTORS, int)
    expected[[0, 36, 54, 35]] = 1
    assert sector_returns(points).tolist() == expected.tolist()


@pytest.mark.parametrize("centre", [-52.0, -31.0, 0.0, 7.0, 55.0])
def test_wherever_10_degrees_ahead_are_blind_a_sector_has_no_returns(centre):
    points = scan((12.0, 2.0, 0.0, 4.5, 1.8, 1.5))
    assert found(points).sector_returns[24:48].min() >= A.sector_returns  # 60° to either side
    azimuth = np.degrees(np.arctan2(points[:, 1], points[:, 0]))
    blind = found(points[np.abs(azimuth - centre) > 5.0])
    assert blind.sector_returns[24:48].min() < A.sector_returns


def test_the_lowest_beam_is_found_whatever_stands_around():
    assert steepest(scan((8.0, 0.0, 0.0, 4.5, 1.8, 1.5))) == pytest.approx(math.tan(0.35), rel=0.01)
    assert found(scan()).steepest == pytest.approx(math.tan(0.35), rel=0.01)
    stray = np.concatenate((scan(), [[0.5, 0.0, -9.0, 0.0]] * 20)).astype(np.float32)
    assert steepest(stray) == pytest.approx(math.tan(0.35), rel=0.01)
    assert steepest(np.zeros((0, 3), np.float32)) == 0.0
    assert steepest(np.ones((9, 3), np.float32)) == 0.0  # it sees nothing below itself


def test_one_beam_in_a_hundred_may_be_steeper_than_the_lowest():
    slopes = np.random.default_rng(0).permutation(np.arange(1, 101)) / 100.0
    points = np.column_stack((6.0 * np.ones(100), 8.0 * np.ones(100), -10.0 * slopes)).astype(np.float32)
    assert steepest(points) == pytest.approx(0.99)


def test_boxes_bound_their_clusters():
    points = np.array([[0.0, 0.0], [2.0, 1.0], [5.0, 5.0], [9.0, 9.0]])
    assert boxes(points, np.array([3, 0, 1, 2]), np.array([1, 3])).tolist() == [[0, 0, 2, 1], [5, 5, 5, 5]]


def test_thinning_keeps_one_point_per_cell():
    points = np.array([[0.01, 0.01], [0.05, 0.05], [0.2, 0.01], [-0.01, 0.01]])
    assert thin(points).tolist() == [0, 2, 3]


def test_what_is_seen_of_a_turned_box():
    # The near corner of a car at 45° is the centre minus (length + width) / 2 · sin 45°.
    seen = found(scan((20.0, 0.0, math.pi / 4, 4.5, 1.8, 1.5)))
    assert seen.points[:, 0].min() == pytest.approx(20.0 - (4.5 + 1.8) / 2 * math.sqrt(0.5), abs=0.15)


@pytest.mark.parametrize("count", [0, 1, 3000])
@pytest.mark.parametrize("centre", [(0.0, 0.0), (-3e5, 2e6)])
def test_thinning_keeps_the_first_point_of_every_cell(count, centre):
    points = np.random.default_rng(count).uniform(-20.0, 20.0, (count, 2)) + centre
    _, first = np.unique(np.floor(points / THIN_M), axis=0, return_index=True)
    assert np.array_equal(thin(points), np.sort(first))


def test_thinning_tells_apart_cells_that_share_a_slot():
    column, row = np.divmod(np.arange(200) % 81, 9)  # the table for 200 points has 401 slots
    points = (np.stack((column, row), axis=-1) * 401 + 0.5) * THIN_M
    assert thin(points).tolist() == list(range(81))


def test_a_sector_begins_at_its_edge_whatever_the_point_before():
    edges = np.repeat(np.linspace(-np.pi, np.pi, SECTORS + 1), 50)
    rng = np.random.default_rng(0)
    beside = edges + rng.normal(0.0, 1e-6, len(edges))
    angles = rng.permutation(np.concatenate((edges, beside, rng.uniform(-np.pi, np.pi, 999))))
    x, y = (rng.uniform(1.0, 80.0, len(angles)) * (np.cos(angles), np.sin(angles))).astype(np.float32)
    sector = ((np.arctan2(y, x) + np.float32(np.pi)) * np.float32(SECTORS / (2.0 * np.pi))).astype(int) % SECTORS
    for order in (np.arange(len(x)), np.argsort(angles), np.argsort(-angles)):
        found_there = sector_returns(np.stack((x, y), axis=-1)[order])
        assert np.array_equal(found_there, np.bincount(sector, minlength=SECTORS))


def test_clusters_are_numbered_from_behind_and_from_the_right():
    points = np.array([[20.0, 5, 1], [20.0, -5, 1], [-10.0, 9, 1], [40.0, 0, 1]], np.float32)
    assert cluster(points)[0].tolist() == [3, 2, 1, 4]


# Against references in numpy and scipy

SEEDS = st.integers(0, 10_000)


def ground(rng, count, slope=(0.0, 0.0), offset=0.0, noise=0.02):
    """Points on a plane, nowhere farther than the fit reaches."""
    x, y = rng.uniform(-17.0, 17.0, (2, count))
    z = slope[0] * x + slope[1] * y + offset + rng.normal(0.0, noise, count)
    return np.column_stack((x, y, z)).astype(np.float32)


def height_of(points):
    return ground_height(points, np.hypot(points[:, 0], points[:, 1]))


def least_squares(points):
    """Heights of the plane through all of the points, kept level as `RIDGE` says."""
    given_there = np.column_stack((points[:, :2], np.ones(len(points)))).astype(float)
    normal = given_there.T @ given_there + np.diag(RIDGE)
    return given_there @ np.linalg.solve(normal, given_there.T @ points[:, 2].astype(float))


@settings(max_examples=30)
@given(SEEDS, st.floats(-0.02, 0.02), st.floats(-0.02, 0.02), st.floats(-0.05, 0.05))
def test_the_ground_is_the_plane_of_least_squares(seed, slope_x, slope_y, offset):
    points = ground(np.random.default_rng(seed), 200, (slope_x, slope_y), offset)
    assert height_of(points) == pytest.approx(least_squares(points), abs=1e-5)


def test_what_is_far_from_the_plane_is_not_of_it():
    # 0.12 m and 0.03 m per metre: at 10 m 0.42 m
    rng = np.random.default_rng(0)
    points, angle = ground(rng, 300), rng.uniform(-np.pi, np.pi, 100)
    ring = np.column_stack((10.0 * np.cos(angle), 10.0 * np.sin(angle), np.full(100, 0.44)))
    everything = np.concatenate((points, ring)).astype(np.float32)
    assert height_of(everything)[:300] == pytest.approx(least_squares(points), abs=1e-5)
    ring[:, 2] = 0.3
    assert height_of(np.concatenate((points, ring)).astype(np.float32)).mean() > 0.05


@pytest.mark.parametrize(("count", "level"), [(FIT_POINTS - 1, True), (FIT_POINTS, False)])
def test_a_few_points_are_no_ground(count, level):
    points = ground(np.random.default_rng(0), count, (0.02, 0.0))
    assert (height_of(points) == 0.0).all() == level


def test_the_ground_is_looked_for_where_it_is_near():
    points, far = ground(np.random.default_rng(0), 200), np.array([[FIT_RANGE_M + 0.1, y, 0.5] for y in range(200)])
    far[:, 1] *= 0.01
    assert height_of(np.concatenate((points, far)).astype(np.float32))[:200] == pytest.approx(
        least_squares(points), abs=1e-5
    )


def test_a_sample_of_many_points_is_enough_for_the_plane():
    points = ground(np.random.default_rng(0), 3 * FIT_SAMPLE)
    points[np.arange(len(points)) % 3 > 0, 2] += 0.1  # only every third counts
    assert height_of(points)[::3] == pytest.approx(least_squares(points[::3]), abs=1e-5)


def test_the_ground_s_offset_is_bounded():
    points = ground(np.random.default_rng(0), 400, offset=0.4, noise=0.0)
    near = np.hypot(points[:, 0], points[:, 1]) > 10.0  # as far from the plane as the band goes
    assert height_of(points[near]).max() <= 0.25 + 1e-3 + 2 * 0.1 * 17.0
    assert height_of(ground(np.random.default_rng(0), 400, offset=-0.11, noise=0.0)) == pytest.approx(-0.11, abs=1e-3)


@settings(max_examples=30)
@given(SEEDS)
def test_a_return_needs_others_around_it_up_close(seed):
    rng = np.random.default_rng(seed)
    points = np.concatenate((rng.uniform(-3.0, 3.0, (150, 3)), rng.uniform(-14.0, 14.0, (50, 3)))).astype(np.float32)
    square = points[:, 0] ** 2 + points[:, 1] ** 2
    needed = A.spray_share * 0.1 / (6.1e-4 * np.maximum(square, 1.0))
    cells = np.floor((points[:, :2] + np.float32(SUPPORT_RANGE_M)) * np.float32(1.0 / SUPPORT_CELL_M))
    asks = (needed > 1.0) & (square < SUPPORT_RANGE_M**2)
    around = (np.abs(cells[:, None] - cells[None]) <= 1.0).all(axis=2) & asks[None]
    assert supported(points, A).tolist() == (~asks | (around.sum(axis=1) >= needed)).tolist()


@settings(max_examples=30)
@given(SEEDS, st.integers(1, 120))
def test_clusters_are_the_connected_cells_of_smeared_points(seed, count):
    points = np.random.default_rng(seed).uniform((-16.0, -26.0, 0.0), (30.0, 26.0, 1.0), (count, 3)).astype(np.float32)
    columns, rows = int((GRID_BACK_M + GRID_AHEAD_M) / CELL_M) + 1, int(2 * GRID_SIDE_M / CELL_M) + 1
    taken = np.zeros((columns, rows), bool)

    def cells(at):
        corner = np.array((GRID_BACK_M, GRID_SIDE_M), np.float32)
        found_there = np.floor((at + corner) * np.float32(1.0 / CELL_M)).astype(int)
        inside = ((found_there >= 0) & (found_there < (columns, rows))).all(axis=1)
        return found_there, inside

    own, inside = cells(points[:, :2])
    smear = np.float32(SMEAR_M) / np.maximum(np.hypot(points[:, 0], points[:, 1]), np.float32(SMEAR_M))
    for step in (-1.0, -0.5, 0.0, 0.5, 1.0):
        there, in_grid = cells(points[:, :2] * (np.float32(1.0) + np.float32(step) * smear)[:, None])
        taken[tuple(there[inside & in_grid].T)] = True
    labelled, number = ndimage.label(taken, np.ones((3, 3)))
    expected = np.where(inside, labelled[tuple(np.where(inside[:, None], own, 0).T)], 0)
    labels, clusters = cluster(points)
    assert clusters == number
    assert labels.tolist() == expected.tolist()


@settings(max_examples=30)
@given(SEEDS)
def test_boxes_are_the_extremes_of_each_cluster(seed):
    rng = np.random.default_rng(seed)
    points, labels = rng.uniform(-50.0, 50.0, (40, 2)), np.sort(rng.integers(0, 4, 40))
    order = rng.permutation(40)
    start = np.searchsorted(labels, np.unique(labels[labels > 0]))
    placed = np.empty((40, 2))
    placed[order] = points
    expected = [
        [*points[labels == label].min(axis=0), *points[labels == label].max(axis=0)]
        for label in np.unique(labels)
        if label
    ]
    assert boxes(placed, order, start).tolist() == expected


def test_what_is_known_of_a_scan_s_obstacles_agrees_with_itself():
    points = scan((22.0, 1.0, 0.0, 4.5, 1.8, 1.5), (9.0, -4.0, 0.3, 4.5, 1.8, 1.5), (5.0, 30.0, 0.0, 4.5, 1.8, 3.0))
    seen = found(np.concatenate((points, np.full((3, 4), np.nan, np.float32))))
    assert set(seen.labels.tolist()) == {0, 1, 2}  # what is 29 m to the left is outside of the grid
    ends = [*seen.start[1:].tolist(), len(seen.order)]
    assert (seen.labels[seen.order[: seen.start[0]]] == 0).all()
    for label, (begin, end) in enumerate(zip(seen.start, ends, strict=True), 1):
        members = seen.order[begin:end]
        assert members.tolist() == np.flatnonzero(seen.labels == label).tolist()
        square = ((seen.points[members, :2] - SPEC.base_from_lidar[:2, 3]) ** 2).sum(axis=1).min()
        assert seen.solidity[label - 1] == pytest.approx(len(members) / max(0.1 / (6.1e-4 * square), 1.0))
    bins, distance = bearings(seen.points)
    assert (seen.bins.tolist(), seen.distance.tolist()) == (bins.tolist(), distance.tolist())
    finite = points[np.isfinite(points).all(axis=1), :3] @ SPEC.base_from_lidar[:3, :3].T.astype(np.float32)
    expected = finite[np.hypot(*(finite + SPEC.base_from_lidar[:3, 3])[:, :2].T) < A.lidar_range]
    assert seen.returns == pytest.approx(expected, abs=1e-5)
    assert seen.sector_returns.tolist() == sector_returns(seen.returns).tolist()
    assert seen.steepest == steepest(seen.returns)


@pytest.mark.parametrize(
    ("place", "left_out"),
    [
        ((-0.9, 0.9), True), ((3.6, -0.9), True), ((-1.0, 0.0), False), ((3.8, 0.0), False), ((1.0, 0.95), False),
        ((1.0, -0.95), False), ((79.9, 0.0), False), ((0.0, 80.1), True),
    ],
)  # fmt: skip
def test_the_own_body_reaches_from_bumper_to_bumper(place, left_out):
    at = np.array([*place, 1.0]) - SPEC.base_from_lidar[:3, 3]
    lone = found(np.concatenate((scan(), [[*at, 0.0]])).astype(np.float32))
    assert len(lone.returns) == len(found(scan()).returns) + (not left_out)
