"""What the LiDAR makes of boxes around a corridor: their distances, their velocities, and where the view ends."""

import math

import numpy as np
import pytest

from fed_vit_autorl.data.sample import EgoState
from fed_vit_autorl.reinforcement.route import Pose
from fed_vit_autorl.safety.assumptions import Assumptions
from fed_vit_autorl.safety.corridor import arc
from fed_vit_autorl.safety.known import CROSSING_SCANS
from fed_vit_autorl.safety.surroundings import Surroundings
from fed_vit_autorl.safety.types import Scan
from fed_vit_autorl.simulation.lidar import LidarSpec
from fed_vit_autorl.simulation.raybox import BoxLidar

A = Assumptions()
SPEC = LidarSpec(noise=0.0)
LIDAR, FINE = BoxLidar(SPEC), BoxLidar(LidarSpec(columns=3600, noise=0.0))
DT = 0.05
CAR = (4.5, 1.8, 1.5)
ORIGIN = Pose(0.0, 0.0, 0.0)
AHEAD = arc(ORIGIN, 0.0, 40.0)


def look(boxes, scans=8, lidar=LIDAR, here=ORIGIN):
    """The surroundings of an ego that stands, after `scans` scans of `boxes(t)`; the last at t = 0."""
    seen = Surroundings(SPEC.base_from_lidar, A)
    for k in range(1 - scans, 1):
        solids = np.array(boxes(k * DT), float).reshape(-1, 6)
        points = lidar.scan((0.0, 0.0, 0.0), solids, np.random.default_rng(0))
        seen.update(Scan(k * DT, points), EgoState(k * DT, (here.x, here.y, 0.0), here.yaw, 0.0))
        seen.hazards(arc(here, 0.0, 40.0), 0.0)
    return seen


def hazards(boxes, scans=8, ego_speed=0.0, lidar=LIDAR):
    """By the way abreast: rows of (way, gap, way abreast, along, closing)."""
    h = look(boxes, scans, lidar).hazards(AHEAD, ego_speed)
    return [
        dict(zip(("way", "gap", "abreast", "along", "closing"), row, strict=True))
        for row in sorted(zip(h.way, h.gap, h.way_abreast, h.along, h.closing, strict=True), key=lambda row: row[2])
    ]


def test_an_empty_road_has_no_hazards():
    assert hazards(lambda t: []) == []


def test_what_stands_in_the_corridor_is_reached_after_its_way():
    (car,) = hazards(lambda t: [(20.0, 0.0, 0.0, *CAR)])
    assert car["way"] == pytest.approx(20.0 - 2.25 - A.front, abs=0.05)
    assert (car["along"], car["closing"]) == (0.0, 0.0)


def test_two_that_drive_have_each_its_own_speed():
    lead, oncoming = hazards(lambda t: [(15.0 + 6.0 * t, 0.0, 0.0, *CAR), (30.0 - 5.0 * t, 3.2, 0.0, *CAR)])
    assert lead["along"] == pytest.approx(6.0, abs=0.1)
    assert oncoming["along"] == pytest.approx(-5.0, abs=0.1)
    assert lead["way"] == pytest.approx(15.0 - 2.25 - A.front, abs=0.05)
    assert oncoming["way"] == math.inf
    assert oncoming["gap"] == pytest.approx(3.2 - 0.9 - A.half_width, abs=0.05)


@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_who_crosses_closes_in_from_either_side_and_leaves_on_the_other(side):
    (comes,) = hazards(lambda t: [(18.0, side * (9.0 + 4.0 * -t), math.pi / 2, *CAR)])
    assert comes["closing"] == pytest.approx(4.0, abs=0.2)
    assert comes["along"] == 0.0
    assert comes["gap"] == pytest.approx(9.0 - 2.25 - A.half_width, abs=0.1)
    assert 18.0 - 0.95 - A.front < comes["abreast"] < 18.0 + 0.95 - A.front
    (goes,) = hazards(lambda t: [(18.0, side * (9.0 + 4.0 * t), math.pi / 2, *CAR)])
    assert goes["closing"] <= 0.0


def test_who_has_just_come_into_view_does_not_cross_yet():
    def car(t):
        return [(18.0, 9.0 - 4.0 * t, math.pi / 2, *CAR)]

    assert hazards(car, CROSSING_SCANS - 1)[0]["closing"] == 0.0
    assert hazards(car, CROSSING_SCANS)[0]["closing"] > 3.0


def test_sideways_motion_has_to_stand_out_from_the_jitter_of_a_fast_ego():
    # 0.4 m/s and 5 % of the relative speed: 0.4 + 0.05 · 10 m/s = 0.9 m/s
    def drifts(length):
        return lambda t: [(18.0, 5.6 - 0.7 * t, 0.0, length, 0.5, 1.75)]

    assert hazards(drifts(2.0), ego_speed=0.0, lidar=FINE)[0]["closing"] == pytest.approx(0.7, abs=0.1)
    assert hazards(drifts(2.0), ego_speed=10.0, lidar=FINE)[0]["closing"] == 0.0
    # a person shows no slant: who steps out is seen from a fast ego, too
    assert hazards(drifts(0.5), ego_speed=10.0, lidar=FINE)[0]["closing"] == pytest.approx(0.7, abs=0.1)


def test_the_jitter_is_that_of_the_relative_speed():
    # 0.4 m/s and 5 % of 4 m/s
    def drifts(t):
        return [(18.0 + 6.0 * t, 5.6 - 0.8 * t, 0.0, *CAR)]

    assert hazards(drifts, ego_speed=10.0, lidar=FINE)[0]["closing"] == pytest.approx(0.8, abs=0.1)
    assert hazards(drifts, ego_speed=20.0, lidar=FINE)[0]["closing"] == 0.0


def test_a_vehicle_that_has_stopped_before_the_corridor_does_not_cross_any_more():
    assert hazards(lambda t: [(18.0, 9.0 - 4.0 * min(t + 0.2, 0.0), math.pi / 2, *CAR)])[0]["closing"] == 0.0


SLANTED = (  # x_min, y_min, x_max, y_max [m]: of a car at 11.2 m/s on a street that leads to the upper right
    (-11.04, -16.04, -9.57, -14.29), (-10.15, -15.30, -8.48, -13.34), (-10.31, -14.47, -7.73, -12.59),
    (-8.78, -13.67, -6.85, -12.04), (-8.41, -12.98, -6.04, -11.15), (-9.19, -12.92, -5.18, -10.12),
    (-8.30, -11.84, -4.48, -9.37), (-8.13, -11.65, -3.70, -8.52),
)  # fmt: skip


@pytest.mark.parametrize(("mirror_x", "mirror_y"), [(1.0, 1.0), (-1.0, 1.0), (1.0, -1.0)])
def test_what_comes_into_view_at_a_slant_to_the_map_does_not_come_from_the_side(mirror_x, mirror_y):
    yaw, seen = math.atan2(-mirror_y, -mirror_x), Surroundings(np.eye(4), A)
    for k, (x_min, y_min, x_max, y_max) in enumerate(SLANTED):
        share = np.linspace(0.0, 1.0, 40)
        x, y = mirror_x * (x_min + share * (x_max - x_min)), mirror_y * (y_min + share * (y_max - y_min))  # of its side
        ahead, left = x * math.cos(yaw) + y * math.sin(yaw), y * math.cos(yaw) - x * math.sin(yaw)
        side = [np.column_stack((ahead, left, np.full(40, height))) for height in (0.4, 0.8, 1.2)]
        seen.update(Scan(0.1 * k, np.concatenate(side)), EgoState(0.1 * k, (0.0, 0.0, 0.0), yaw, 11.0))
    found = seen.hazards(arc(Pose(0.0, 0.0, yaw), 0.0, 40.0), 11.0)
    assert found.along.tolist() == pytest.approx([-7.3], abs=0.1)  # the edges that move less are the tail's
    assert found.closing.tolist() == [0.0]


@pytest.mark.parametrize(("pace", "closing"), [(0.0, 1.0), (1.2, 1.0), (2.4, None)])
def test_the_edge_of_what_stands_or_creeps_goes_on_for_a_moment_though_it_is_lost(pace, closing):
    """The nearer edge of a car comes at 1 m/s; of the last scan's columns none meets it any more."""
    seen = Surroundings(SPEC.base_from_lidar, A)
    for k in range(-15, 1):
        t = k * DT
        near = 2.75 if k == 0 else 2.6 - t
        solid = np.array([(18.0 + pace * t, 0.5 * (near + 4.5), 0.0, 4.5, 4.5 - near, 1.5)])
        points = FINE.scan((0.0, 0.0, 0.0), solid, np.random.default_rng(0))
        seen.update(Scan(t, points), EgoState(t, (0.0, 0.0, 0.0), 0.0, 0.0))
        found = seen.hazards(AHEAD, 0.0)
    assert found.closing[0] == 0.0
    assert found.closing[1:].max(initial=0.0) == pytest.approx(closing or 0.0, abs=0.1)
    if closing:
        assert found.gap[1:].min() == pytest.approx(2.6 - A.half_width, abs=0.05)


@pytest.mark.parametrize(("stopped", "hesitant"), [(0.0, True), (2.1, True), (2.3, False)])
def test_what_drove_in_the_last_two_seconds_may_go_on(stopped, hesitant):
    """Eight scans tell that it drives faster than 2 m/s for 0.2 s after it has stopped from 6 m/s."""
    seen = look(lambda t: [(24.0 + 6.0 * min(t + stopped, 0.0), 3.2, 0.0, *CAR)], scans=60, lidar=FINE)
    assert seen.hazards(AHEAD, 0.0).hesitant.tolist() == [hesitant]


PERSON = (0.5, 0.5, 1.75)


def walker(t):
    """Comes from the left at 1.5 m/s; at t = 0 he is 3 m from the middle of the corridor."""
    return 18.0, 3.0 - 1.5 * t, 0.0, *PERSON


def test_who_walks_on_behind_a_vehicle_still_closes_in():
    hiding = 12.0, 2.6, 0.0, 5.0, 2.0, 2.5  # a van, from 0.8 s ago
    walks, runs = hazards(lambda t: [walker(t), *([hiding] if t > -0.8 else [])], 36, lidar=FINE)[-2:]
    assert walks["closing"] == pytest.approx(1.5, abs=0.3)
    assert walks["gap"] == pytest.approx(3.0 - A.half_width, abs=0.4)  # of his middle
    assert runs["closing"] == pytest.approx(2.2, abs=0.1)
    assert runs["gap"] == pytest.approx(walks["gap"] - 0.7 * 0.8, abs=0.3)


def test_who_has_just_set_out_and_is_hidden_is_expected_at_a_run():
    def sets_out(t):
        """Stands, walks at 2.3 m/s from 0.7 s ago, and is hidden behind a van from 0.5 s ago."""
        person = 18.0, 4.3 - 2.3 * (t + 0.7) * (t > -0.7), 0.0, *PERSON
        return [person, *([(12.0, 2.6, 0.0, 5.0, 2.0, 2.5)] if t > -0.5 else [])]

    walks, runs = hazards(sets_out, 26, lidar=FINE)[-2:]
    true = 4.3 - 2.3 * 0.7 - A.half_width
    assert walks["gap"] > true + 0.3
    assert runs["gap"] == pytest.approx(true, abs=0.3)


def test_who_walks_past_does_not_head_for_the_road_at_a_run():
    def passes(t):
        return 18.0 + 1.2 * t, 3.0 - 0.25 * t, 0.0, *PERSON

    hiding = 12.0, 2.6, 0.0, 5.0, 2.0, 2.5
    found = hazards(lambda t: [passes(t), *([hiding] if t > -0.8 else [])], 36, lidar=FINE)
    assert max(one["along"] for one in found) == pytest.approx(2.2, abs=0.2)
    assert max(one["closing"] for one in found) == 0.0


def test_who_walks_before_a_vehicle_is_still_a_person():
    passing = 18.0, 4.5, 0.0, *CAR  # its side is 0.4 m behind the walker's back
    found = hazards(lambda t: [walker(t), *([passing] if t > -0.2 else [])], 26, lidar=FINE)
    assert len(look(lambda t: [walker(t), passing], 1, FINE)._known) == 1 + 1  # one cluster
    assert any(one["closing"] == pytest.approx(1.5, abs=0.3) for one in found)


def test_who_is_no_longer_where_the_view_is_free_has_gone():
    assert hazards(lambda t: [walker(t)] if t < -0.3 else [], scans=26) == []


def test_a_crawl_counts_as_standing():
    assert hazards(lambda t: [(15.0 + 0.3 * t, 0.0, 0.0, *CAR)])[0]["along"] == 0.0


def test_who_comes_is_seen_12_m_from_the_corridor_and_what_stands_there_is_nothing_to_it():
    assert len(hazards(lambda t: [(18.0, 11.0 - 4.0 * t, math.pi / 2, *CAR)])) == 1
    assert hazards(lambda t: [(18.0, 11.0, math.pi / 2, *CAR)]) == []
    assert hazards(lambda t: [(18.0, 3.0, 0.0, *CAR)])  # parked beside the lane
    assert hazards(lambda t: [(45.0, 0.0, 0.0, *CAR)])  # where the front ends, 43.7 m on


def test_a_long_wall_does_not_move():
    # Both of its ends move with the range of sight.
    walls = hazards(lambda t: [(15.0 + 3.0 * t, 3.0, 0.0, 20.0, 0.5, 3.0)])
    assert {wall["along"] for wall in walls} == {0.0}


def test_after_forgetting_nothing_is_there():
    seen = look(lambda t: [(15.0, 0.0, 0.0, *CAR)])
    seen.forget()
    assert len(seen.hazards(AHEAD, 0.0).way) == 0
    assert seen.visible_way(AHEAD, math.inf) == math.inf


# What is too low to be seen from so near

LOW = 20.0, 0.0, 0.0, 0.8, 0.8, 0.6  # its top passes below the lowest beam where it is 3.6 m before the LiDAR


def driven(*legs, boxes=(LOW,)):
    """Surroundings of an ego that drives those legs (from, to) at 5 m/s; the boxes stand there during the first one."""
    seen, stamp = Surroundings(SPEC.base_from_lidar, A), 0.0
    for leg, (begin, end) in enumerate(legs):
        for x in np.linspace(begin, end, round(abs(end - begin) / 0.25) + 1):
            solids = np.array(boxes if leg == 0 else (), float).reshape(-1, 6)
            points = LIDAR.scan((x, 0.0, 0.0), solids, np.random.default_rng(0))
            seen.update(Scan(stamp, points), EgoState(stamp, (x, 0.0, 0.0), 0.0, 5.0))
            stamp += DT
    return seen


def drive(*legs, boxes=(LOW,)):
    """The hazards that are left at the end."""
    return driven(*legs, boxes=boxes).hazards(arc(Pose(legs[-1][1], 0.0, 0.0), 0.0, 10.0), 5.0)


def seen_from(seen, there):
    """The hazards after a scan that shows an empty road."""
    points = LIDAR.scan((0.0, 0.0, 0.0), np.zeros((0, 6)), np.random.default_rng(0))
    seen.update(Scan(9.0, points), EgoState(9.0, (there.x, there.y, 0.0), there.yaw, 0.0))
    return seen.hazards(arc(there, 0.0, 10.0), 0.0)


def test_what_is_too_low_stays_beside_an_ego_whose_place_was_wrong():
    seen, there = driven((8.0, 15.6)), Pose(-30.0, 7.0, 1.0)
    seen.relocate(Pose(15.6, 0.0, 0.0), there)
    assert len(seen.hazards(arc(there, 0.0, 10.0), 0.0).way) == 0  # until the next scan nothing else is known, either
    assert seen_from(seen, there).way.tolist() == pytest.approx([19.6 - 15.6 - A.front], abs=0.1)


def test_what_is_too_low_stays_in_its_place_when_all_else_is_forgotten():
    seen = driven((8.0, 15.6))
    seen.forget()
    assert seen_from(seen, Pose(15.6, 0.0, 0.0)).way.tolist() == pytest.approx([19.6 - 15.6 - A.front], abs=0.1)
    assert len(seen_from(seen, Pose(-30.0, 7.0, 1.0)).way) == 0


def test_what_stood_ahead_is_there_though_it_is_too_low_to_be_seen():
    assert len(drive((15.6, 15.6)).way) == 0  # so near it is not seen
    found = drive((8.0, 15.6))
    assert found.way.tolist() == pytest.approx([19.6 - 15.6 - A.front], abs=0.1)
    assert (found.along.tolist(), found.closing.tolist(), found.person.tolist()) == ([0.0], [0.0], [False])


def test_it_stays_until_the_place_is_seen_again():
    assert len(drive((8.0, 15.3), (15.3, 15.6)).way) == 1
    assert len(drive((8.0, 15.3), (15.3, 12.0)).way) == 0


def test_what_can_be_seen_is_not_remembered():
    tall = 20.0, 0.0, 0.0, 0.8, 0.8, 1.7
    assert len(drive((8.0, 15.3), boxes=(tall,)).way) == 1
    assert len(drive((8.0, 15.3), (15.3, 15.5), boxes=(tall,)).way) == 0


# The view


def test_the_view_of_a_corridor_ends_behind_what_stands_in_front_of_it():
    # Ahead and to the left; a wall from (10, 3) to (14, 3) hides what lies on the diagonal behind it.
    diagonal = arc(Pose(0.0, 0.0, math.atan2(3.0, 11.0)), 0.0, 40.0)
    seen = look(lambda t: [(12.0, 3.3, 0.0, 6.0, 0.6, 3.0)])
    hidden = seen.visible_way(diagonal, math.inf)
    assert 11.4 - A.front < hidden < 15.0 - A.front
    assert seen.visible_way(diagonal, 5.0) == math.inf  # an obstacle 5 m on counts by itself
    assert seen.visible_way(AHEAD, math.inf) == math.inf


# Wherever the ego is and heads


def steps_out(t):
    """Before a parked truck, and is gone since 0.1 s."""
    person = 13.73, -2.6 + 1.5 * (t + 0.3), 0.0, 0.5, 0.55, 1.75
    return [(18.0, -2.75, 0.0, 7.6, 2.45, 3.2), *([person] if t < -0.1 else [])]


SCENES = {
    "crosses from the left": lambda t: [(18.0, 9.0 - 4.0 * t, math.pi / 2, *CAR)],
    "crosses from the right": lambda t: [(18.0, -9.0 + 4.0 * t, math.pi / 2, *CAR)],
    "leads, and one is oncoming": lambda t: [(15.0 + 6.0 * t, 0.0, 0.0, *CAR), (30.0 - 5.0 * t, 3.2, 0.0, *CAR)],
    "walks behind a van": lambda t: [walker(t), *([(12.0, 2.6, 0.0, 5.0, 2.0, 2.5)] if t > -0.4 else [])],
    "turns out": lambda t: [(14.0, 2.3 - 0.4 * t, 0.0, 4.5, 1.0 + 0.8 * t, 1.5)],
    "stepped out": steps_out,
}


def rows(boxes, here):
    """By the gap: a row per hazard. Where something is alongside is left out, a parked car is so all along its side."""
    h = look(boxes, 30, FINE, here).hazards(arc(here, 0.0, 40.0), 0.0)
    found = zip(h.gap, h.way, h.along, h.closing, h.person, h.hesitant, strict=True)
    return np.array(sorted(map(tuple, found)), float)


@pytest.mark.parametrize("yaw", [0.5 * math.pi, math.pi, -0.5 * math.pi])
@pytest.mark.parametrize("name", SCENES)
def test_what_is_around_is_the_same_wherever_the_ego_is_and_heads(name, yaw):
    expected = rows(SCENES[name], ORIGIN)
    assert rows(SCENES[name], Pose(45.0, -31.5, yaw)) == pytest.approx(expected, abs=0.2)
    assert len(expected)


@pytest.mark.parametrize("yaw", [1.0, -2.5])
def test_the_view_ends_at_the_same_way_wherever_the_ego_is_and_heads(yaw):
    def hidden(here):
        seen = look(lambda t: [(12.0, 3.3, 0.0, 6.0, 0.6, 3.0)], here=here)
        return seen.visible_way(arc(Pose(here.x, here.y, here.yaw + math.atan2(3.0, 11.0)), 0.0, 40.0), math.inf)

    assert hidden(Pose(45.0, -31.5, yaw)) == hidden(ORIGIN) < math.inf
