"""Velocities of boxes that a scan shows: who drives, who walks and is hidden, who is a stranger."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fed_vit_autorl.safety.tracker import FORGET_S, MAX_TRACKS, REMEMBER_S, WALK_BRAKE, Tracker

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
    follow(tracker, walk, frames=13)
    for k in (13, 14):  # something else behind, 0.4 m of it, is one cluster with the walker now
        *near, far = walk(k * DT)
        motion = tracker.update(np.array([[*near, far + 0.4]]), k * DT)
        assert motion.velocities[:, 0] == pytest.approx(np.array([[0.0, -1.5 + WALK_BRAKE * (k - 12) * DT] * 2] * 2))


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


def test_who_is_hidden_a_third_of_a_second_is_expected_where_it_drives_on():
    def car(t):
        return box(10 + 8 * t, 2 - 6 * t)  # 3 m in 0.3 s, more than the gate

    tracker = Tracker()
    follow(tracker, car)
    motion = tracker.update(np.array([car(13 * DT)]), 13 * DT)
    assert motion.seen.tolist() == [8]
    assert motion.velocities[0, 0] == pytest.approx([8.0, -6.0] * 2)


@pytest.mark.parametrize("grown", [(-2.0, -2.0, 0.0, 0.0), (0.0, 0.0, 2.0, 2.0)])
def test_it_is_known_again_by_the_edges_that_are_where_they_should_be(grown):
    tracker = Tracker()
    follow(tracker, lambda t: box(10 + 8 * t, 2 - 6 * t))
    motion = tracker.update(np.array([box(10 + 8 * 0.65, 2 - 6 * 0.65)]) + grown, 13 * DT)
    assert motion.seen.tolist() == [8]


@pytest.mark.parametrize(
    ("size", "shift", "same"), [(1.0, 2.05, True), (1.0, 2.1, False), (0.1, 0.49, True), (0.1, 0.51, False)]
)
def test_a_box_is_looked_for_as_far_as_its_gate(size, shift, same):
    """The nearer edge's way and a tenth of both: 1.2 times the shift, at most 2.5 m, and 0.6 m for spray."""
    tracker = Tracker()
    tracker.update(np.array([box(10, 0, size, size)]), 0.0)
    seen = tracker.update(np.array([box(10, shift, size, size)]), DT).seen
    assert seen.tolist() == [2 if same else 1]


@pytest.mark.parametrize("edge", range(4))
def test_of_two_that_share_their_nearer_edges_each_is_the_one_that_is_alike(edge):
    one, other = np.array([10.0, 0.0, 12.0, 2.0]), np.array([10.0, 0.0, 12.0, 2.0])
    other[edge] += 2.0 * (1 if edge > 1 else -1)
    tracker = Tracker()
    for k in range(3):
        tracker.update(np.array([one]), k * DT)
    tracker.update(np.array([one, other]), 3 * DT)
    assert tracker.update(np.array([other, one]), 4 * DT).seen.tolist() == [2, 5]


def test_who_walked_for_a_scan_does_not_become_what_it_is_one_cluster_with():
    tracker = Tracker()
    follow(tracker, walk)
    low_x, low_y, high_x, high_y = walk(8 * DT)
    motion = tracker.update(np.array([[low_x, low_y, high_x + 4.0, high_y + 1.8]]), 8 * DT)
    assert motion.seen.tolist() == [1]
    assert motion.hidden[0] == pytest.approx(walk(8 * DT))


def test_several_who_are_hidden_come_back_each_to_its_own():
    def other(t):
        return box(20 - 1.2 * t, -3, 0.5, 0.5)

    def parked(t):
        return box(30, 6)

    tracker = Tracker()
    follow(tracker, walk, other, parked)
    motion = tracker.update(np.array([parked(0)]), 12 * DT)
    assert motion.seen.tolist() == [8]
    walks, runs = motion.hidden[:2], motion.hidden[2:]
    assert walks == pytest.approx(np.array([walk(12 * DT), other(12 * DT)]))
    ahead = np.array([[0.0, -0.7], [-1.0, 0.0]]) * 5 * DT  # 2.2 m/s is so much faster
    assert runs == pytest.approx(walks + np.tile(ahead, 2))
    assert motion.walk == pytest.approx(np.array([[0.0, -1.5], [-1.2, 0.0], [0.0, -2.2], [-2.2, 0.0]]))
    motion = tracker.update(np.array([other(13 * DT), walk(13 * DT), box(50, 0)]), 13 * DT)
    assert motion.seen.tolist() == [8, 8, 1]
    assert motion.velocities[0] == pytest.approx(np.array([[-1.2, 0.0] * 2, [0.0, -1.5] * 2, [0.0] * 4]), abs=1e-9)


def test_who_walks_at_a_slant_does_not_stop_either():
    def slanting(t):
        return box(10 - 1.0 * t, 4 - 1.118 * t, 0.5, 0.5)  # 1.5 m/s

    tracker = Tracker()
    follow(tracker, slanting, frames=14)
    low_x, low_y, high_x, high_y = slanting(14 * DT)
    motion = tracker.update(np.array([[low_x, low_y, high_x + 0.4, high_y]]), 14 * DT)
    least = math.hypot(1.0, 1.118) - WALK_BRAKE * DT
    assert np.hypot(*motion.velocities[0, 0, :2]) == pytest.approx(least)
    assert motion.velocities[0, 0, 0] / motion.velocities[0, 0, 1] == pytest.approx(1.0 / 1.118)


@given(st.integers(0, 10_000), st.integers(3, 8))
def test_velocities_are_least_squares_slopes_of_the_edges(seed, scans):
    rng = np.random.default_rng(seed)
    stamps = 100.0 + np.cumsum(rng.uniform(0.03, 0.12, scans))
    drift = rng.uniform(-6.0, 6.0, 2)
    edges = np.array([box(10, 0, 3.0, 2.0)]) + np.tile(np.outer(stamps - stamps[0], drift), 2)
    edges += rng.uniform(-0.2, 0.2, edges.shape)
    tracker = Tracker()
    for stamp, each in zip(stamps, edges, strict=True):
        motion = tracker.update(each[None], stamp)
    assert motion.seen.tolist() == [scans]
    for window, count in enumerate((scans, min(scans, 4))):
        slopes = np.polyfit(stamps[-count:] - stamps[0], edges[-count:], 1)[0]
        for axis in range(2):
            pair = sorted((slopes[axis], slopes[axis + 2]), key=abs)
            expected = pair if pair[0] * pair[1] > 0.0 else [0.0, 0.0]
            assert motion.velocities[window, 0, axis::2] == pytest.approx(expected, abs=1e-9)


def test_a_tracker_begins_with_nothing():
    tracker = Tracker()
    assert tracker.size == 0
    motion = tracker.update(np.zeros((0, 4)), 0.0)
    assert [len(each) for each in (motion.seen, motion.since, motion.hidden, motion.walk, motion.hurry)] == [0] * 5
