"""Obstacles from raw scans of a world of boxes: ground, kerbs, bridges, clusters, velocities, blind sectors."""

import math

import numpy as np
import pytest

from fed_vit_autorl.safety.assumptions import Assumptions
from fed_vit_autorl.safety.lidar import (
    MAX_CLUSTERS,
    SECTORS,
    THIN_M,
    boxes,
    cluster,
    extract,
    ground_height,
    sector_returns,
    steepest,
    thin,
)
from fed_vit_autorl.safety.tracker import FORGET_S, MAX_TRACKS, REMEMBER_S, WALK_BRAKE, Tracker
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


def test_boxes_bound_their_clusters():
    points = np.array([[0.0, 0.0], [2.0, 1.0], [5.0, 5.0], [9.0, 9.0]])
    assert boxes(points, np.array([3, 0, 1, 2]), np.array([1, 3])).tolist() == [[0, 0, 2, 1], [5, 5, 5, 5]]


def test_thinning_keeps_one_point_per_cell():
    points = np.array([[0.01, 0.01], [0.05, 0.05], [0.2, 0.01], [-0.01, 0.01]])
    assert thin(points).tolist() == [0, 2, 3]


# Velocities

DT = 0.05


def box(x, y, length=4.5, width=1.8):
    return [x - length / 2, y - width / 2, x + length / 2, y + width / 2]


def follow(tracker, *paths, first=0, frames=8):
    for k in range(first, frames):
        motion = tracker.update(np.array([path(k * DT) for path in paths]), k * DT)
    return motion


def test_a_steady_velocity_is_found_in_both_windows():
    motion = follow(Tracker(), lambda t: box(10 + 8 * t, 2 - 3 * t), lambda t: box(30 - 12 * t, -4))
    assert motion.velocities[0] == pytest.approx(np.array([[8.0, -3.0] * 2, [-12.0, 0.0] * 2]), abs=1e-6)
    assert motion.velocities[1] == pytest.approx(motion.velocities[0], abs=1e-6)
    assert motion.seen.tolist() == [8, 8]


def test_a_braking_vehicle_shows_first_in_the_short_window():
    motion = follow(Tracker(), lambda t: box(10 + 10 * t - 4 * t**2, 0))  # 10 - 8 t
    true = 10 - 8 * 7 * DT
    assert abs(motion.velocities[1, 0, 0] - true) < abs(motion.velocities[0, 0, 0] - true)
    assert motion.velocities[1, 0, 0] == pytest.approx(true + 8 * 1.5 * DT, abs=1e-6)


def test_a_part_that_comes_into_view_is_no_motion():
    motion = follow(Tracker(), lambda t: [10, 0, 12 + 6 * t, 2])
    assert motion.velocities[0, 0].tolist() == [0.0] * 4


@pytest.mark.parametrize(("speed", "length", "drove"), [(2.2, 4.0, True), (1.8, 4.0, False), (2.2, 0.8, False)])
def test_what_stands_is_known_to_have_driven(speed, length, drove):
    tracker = Tracker()
    assert follow(tracker, lambda t: box(10 + speed * t, 0, length, 0.8), frames=7).since.tolist() == [math.inf]
    motion = follow(tracker, lambda t: box(10 + speed * min(t, 0.6), 0, length, 0.8), first=7, frames=40)
    # At 0.6 s it stops; over eight scans it is faster than 2 m/s for one more of them.
    last = 0.65 if drove else -math.inf
    assert motion.since.tolist() == pytest.approx([39 * DT - last])


def test_what_drove_is_still_known_when_it_was_hidden_for_a_moment():
    tracker = Tracker()
    follow(tracker, lambda t: box(10 + 8 * t, 0))
    tracker.update(np.zeros((0, 4)), 8 * DT)
    motion = tracker.update(np.array([box(10 + 8 * 9 * DT, 0), box(50, 0)]), 9 * DT)
    assert motion.since.tolist() == [0.0, math.inf]


def test_what_was_seen_less_than_three_times_has_no_velocity():
    tracker = Tracker()
    for k in range(2):
        motion = tracker.update(np.array([box(10 + k, 0)]), k * DT)
    assert not motion.velocities.any()
    assert motion.seen.tolist() == [2]
    assert tracker.update(np.array([box(12, 0)]), 2 * DT).velocities[1, 0] == pytest.approx([20.0, 0.0] * 2)


def test_a_box_that_is_hidden_for_a_moment_keeps_its_history():
    tracker = Tracker()
    follow(tracker, lambda t: box(10 + 8 * t, 0))
    tracker.update(np.zeros((0, 4)), 8 * DT)
    motion = tracker.update(np.array([box(10 + 8 * 9 * DT, 0)]), 9 * DT)
    assert motion.seen.tolist() == [8]
    assert motion.velocities[0, 0, 0] == pytest.approx(8.0)


def test_a_box_that_is_hidden_for_long_is_forgotten():
    tracker = Tracker()
    follow(tracker, lambda t: box(10, 0))
    late = 7 * DT + FORGET_S + 0.01
    tracker.update(np.zeros((0, 4)), late)
    assert tracker.size == 0
    assert tracker.update(np.array([box(10, 0)]), late + DT).seen.tolist() == [1]


def walk(t):
    """A person at 1.5 m/s, edges of half a metre."""
    return box(10, 4 - 1.5 * t, 0.5, 0.5)


def hidden_person():
    """A tracker that has seen a person walk for eight scans, then nobody for 0.8 s."""
    tracker = Tracker()
    follow(tracker, walk)
    for k in range(8, 8 + round(0.8 / DT)):
        tracker.update(np.zeros((0, 4)), k * DT)
    return tracker, (8 + round(0.8 / DT)) * DT


def test_who_walked_and_was_hidden_is_no_stranger_where_the_walk_leads():
    tracker, now = hidden_person()
    motion = tracker.update(np.array([walk(now)]), now)
    assert motion.seen.tolist() == [8]
    assert motion.velocities[0, 0] == pytest.approx([0.0, -1.5] * 2)


def test_who_walked_and_is_hidden_is_where_the_walk_leads():
    tracker, now = hidden_person()
    motion = tracker.update(np.array([box(10, -8)]), now)
    assert motion.hidden[0] == pytest.approx(walk(now))
    assert motion.walk[0] == pytest.approx([0.0, -1.5])


@pytest.mark.parametrize(("speed", "at"), [(0.7, [0.7]), (1.5, [1.5, 2.2]), (2.5, [2.5])])
def test_who_clearly_walked_may_have_hurried_since(speed, at):
    tracker = Tracker()
    follow(tracker, lambda t: box(10, 4 - speed * t, 0.5, 0.5))
    motion = tracker.update(np.zeros((0, 4)), 1.0)
    assert motion.walk[:, 1] == pytest.approx([-one for one in at])
    assert motion.hurry == pytest.approx([one / speed for one in at])
    seen_last = 4 - speed * 7 * DT
    assert motion.hidden[:, 1] + 0.25 == pytest.approx([seen_last - one * (1.0 - 7 * DT) for one in at])


@pytest.mark.parametrize(("wide", "walkers"), [(4, 1), (5, 0)])
def test_what_was_wider_just_now_is_no_walker(wide, walkers):
    """The crown of a tree, say, of which little is seen once: the edges of the wide boxes move, too."""
    tracker = Tracker()
    follow(tracker, lambda t: box(10, 4 - 1.5 * t, 0.5 if t > (wide - 0.5) * DT else 1.1, 0.5))
    assert len(tracker.update(np.zeros((0, 4)), 8 * DT).hidden) == 2 * walkers  # at a walk and at a run


def test_who_comes_out_elsewhere_is_a_stranger():
    tracker, now = hidden_person()
    assert tracker.update(np.array([walk(now - 0.8)]), now).seen.tolist() == [1]  # where he was seen last, 1.2 m away


def test_who_walked_does_not_become_the_front_of_a_car_that_passes():
    tracker, now = hidden_person()
    x, y = 10.0, walk(now)[1] + 0.25
    motion = tracker.update(np.array([box(x, y, 0.3, 1.8)]), now)
    assert motion.seen.tolist() == [1]
    assert motion.hidden[0] == pytest.approx(walk(now))


def test_who_walked_does_not_stop_within_a_scan_though_the_edges_say_so():
    tracker = Tracker()
    follow(tracker, walk, frames=14)
    for k in (14, 15):  # something else behind, 0.4 m of it, is one cluster with the walker now
        *near, far = walk(k * DT)
        motion = tracker.update(np.array([[*near, far + 0.4]]), k * DT)
        assert motion.velocities[:, 0] == pytest.approx(np.array([[0.0, -1.5 + WALK_BRAKE * (k - 13) * DT] * 2] * 2))


def test_who_has_just_set_out_may_stop_at_once():
    tracker = Tracker()
    follow(tracker, walk, frames=12)
    *near, far = walk(12 * DT)
    motion = tracker.update(np.array([[*near, far + 0.4]]), 12 * DT)
    assert motion.velocities[0, 0, 1] == pytest.approx(-1.5 + 0.4 * 3.5 / 42.0 / DT)  # the slope of the farther edge


def test_who_walked_and_has_stopped_stands():
    tracker = Tracker()
    follow(tracker, walk, frames=14)
    for k in range(14, 32):  # 1.5 m/s take 0.75 s at 2 m/s²
        motion = tracker.update(np.array([walk(13 * DT)]), k * DT)
    assert not motion.velocities.any()


def test_what_is_faster_than_anyone_runs_is_no_person_to_remember():
    tracker = Tracker()
    follow(tracker, lambda t: box(40 - 8 * t, 4 - 2 * t, 0.5, 0.5))  # a part of an oncoming car
    assert len(tracker.update(np.zeros((0, 4)), 8 * DT).hidden) == 0


def test_a_single_column_of_returns_is_no_person_to_remember():
    tracker = Tracker()
    follow(tracker, lambda t: box(10 - 2.3 * t, 0.8, 0.05, 0.09))  # of a side seen at a slant
    assert len(tracker.update(np.zeros((0, 4)), 8 * DT).hidden) == 0
    tracker.reset()
    follow(tracker, lambda t: box(10 - 2.3 * t, 0.8, 0.05, 0.25 if t == 0.1 else 0.09))  # a second one in one scan
    assert len(tracker.update(np.zeros((0, 4)), 8 * DT).hidden) == 1


def test_who_walked_is_forgotten_in_the_end():
    tracker, now = hidden_person()
    tracker.update(np.zeros((0, 4)), now + REMEMBER_S)
    assert tracker.size == 0


def test_boxes_too_far_apart_are_two_things():
    tracker = Tracker()
    follow(tracker, lambda t: box(10, 0))
    assert tracker.update(np.array([box(14, 0)]), 8 * DT).seen.tolist() == [1]
    assert tracker.update(np.array([box(15, 0)]), 9 * DT).seen.tolist() == [2]


def test_spray_has_a_narrow_gate():
    tracker = Tracker()
    tracker.update(np.array([box(10, 0, 0.1, 0.1)]), 0.0)
    assert tracker.update(np.array([box(11, 0, 0.1, 0.1)]), DT).seen.tolist() == [1]
    tracker.reset()
    tracker.update(np.array([box(10, 0, 0.1, 0.1)]), 0.0)
    assert tracker.update(np.array([box(10.2, 0, 0.1, 0.1)]), DT).seen.tolist() == [2]


def test_swapped_order_does_not_swap_the_tracks():
    tracker = Tracker()
    follow(tracker, lambda t: box(10 + 8 * t, 0), lambda t: box(10, 5))
    motion = tracker.update(np.array([box(10, 5), box(10 + 8 * 8 * DT, 0)]), 8 * DT)
    assert motion.velocities[0, :, 0] == pytest.approx([0.0, 8.0], abs=1e-6)


def test_the_number_of_tracks_is_bounded():
    tracker = Tracker()
    grid = np.array([box(5.0 * i, 5.0 * j) for i in range(15) for j in range(15)])
    motion = tracker.update(grid, 0.0)
    assert tracker.size == len(motion.seen) == MAX_TRACKS
    tracker.update(grid[:10] + 500.0, DT)
    assert tracker.size == MAX_TRACKS


def test_a_repeated_stamp_gives_no_velocity():
    tracker = Tracker()
    for _ in range(4):
        motion = tracker.update(np.array([box(10, 0)]), 1.0)
    assert not motion.velocities.any()


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
