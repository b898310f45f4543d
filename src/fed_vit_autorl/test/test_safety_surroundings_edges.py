"""The edge of what is seen beside the corridor: what turns or steps out shows it there first."""

import numpy as np
import pytest

from fed_vit_autorl.data.sample import EgoState
from fed_vit_autorl.reinforcement.route import Pose
from fed_vit_autorl.safety.assumptions import Assumptions
from fed_vit_autorl.safety.corridor import arc
from fed_vit_autorl.safety.surroundings import Surroundings
from fed_vit_autorl.safety.types import Scan
from fed_vit_autorl.simulation.lidar import LidarSpec
from fed_vit_autorl.simulation.raybox import BoxLidar

A = Assumptions()
SPEC = LidarSpec()
LIDAR = BoxLidar(SPEC)
DT = 0.05
HERE = Pose(0.0, 0.0, 0.0)


def hazards(boxes, speed=0.0, scans=14):
    """What `boxes(t)` show an ego on a straight corridor that passes x = 0 at t = 0."""
    seen, rng = Surroundings(SPEC.base_from_lidar, A), np.random.default_rng(0)
    for k in range(1 - scans, 1):
        x = speed * k * DT
        points = LIDAR.scan((x, 0.0, 0.0), np.array(boxes(k * DT), float).reshape(-1, 6), rng)
        seen.update(Scan(k * DT, points), EgoState(k * DT, (x, 0.0, 0.0), 0.0, speed))
    return seen.hazards(arc(HERE, 0.0, 30.0), speed)


def fastest(boxes, speed=0.0, scans=14):
    """Their greatest speed towards the corridor."""
    return hazards(boxes, speed, scans).closing.max(initial=0.0)


@pytest.mark.parametrize("side", [-1.0, 1.0])
@pytest.mark.parametrize("speed", [0.0, 8.0])
def test_of_a_car_that_turns_out_the_near_edge_alone_moves(side, speed):
    def car(t):
        return [(14.0, side * (2.3 - 0.4 * t), 0.0, 4.5, 1.0 + 0.8 * t, 1.5)]  # its far edge stays at 2.8 m

    assert fastest(car, speed) == pytest.approx(0.8, abs=0.4)


def test_who_steps_out_beside_a_parked_car_is_seen_though_one_cluster_with_it():
    def person(t):
        return [(12.0, 2.8, 0.0, 4.5, 1.8, 1.5), (14.5, 1.6 - 1.2 * t, 0.0, 0.5, 0.5, 1.75)]

    assert fastest(person, 6.0) == pytest.approx(1.2, abs=0.5)


def test_a_part_that_moves_of_what_stands_is_expected_to_go_on_as_a_person_is():
    parked = 12.0, 2.8, 0.0, 4.5, 1.8, 1.5
    found = hazards(lambda t: [parked, (14.5, 1.6 - 1.2 * t, 0.0, 0.5, 0.5, 1.75)])
    assert found.person.any()
    assert found.closing[found.person] == pytest.approx(1.2, abs=0.5)
    assert not hazards(lambda t: [parked]).person.any()
    # Of a car that drives along and drifts it isn't.
    drifts = hazards(lambda t: [(10.0 + 6.0 * t, 2.6 - 0.8 * t, 0.0, 4.5, 1.8, 1.5)])
    assert drifts.along.min() > 1.0
    assert drifts.closing == pytest.approx(0.8, abs=0.4)
    assert not drifts.person.any()


def test_a_stranger_who_comes_at_an_angle_is_seen_by_its_edge():
    # Its own motion is believed in the sixth scan only.
    assert fastest(lambda t: [(14.0 - t, 2.6 - 1.5 * t, 0.0, 0.5, 0.5, 1.75)], scans=5) == pytest.approx(1.5, abs=0.5)


@pytest.mark.parametrize("speed", [0.0, 8.0])
@pytest.mark.parametrize("pace", [1.2, 2.0])
def test_who_steps_out_before_the_end_of_a_parked_truck_is_seen_before_passing_its_side(pace, speed):
    # Its rear stands 0.2 m behind the person's back, its side 0.6 m from the corridor, the person 1.4 m.
    def person(t):
        return [(18.0, -2.75, 0.0, 7.6, 2.45, 3.2), (13.73, -2.6 + pace * t, 0.0, 0.5, 0.55, 1.75)]

    assert fastest(person, speed, 24) == pytest.approx(pace, abs=0.5)
    assert fastest(lambda t: person(0.0), speed, 24) == 0.0


def test_who_was_seen_to_step_out_goes_on_for_a_moment_where_the_edge_is_not_found():
    seen, rng = Surroundings(SPEC.base_from_lidar, A), np.random.default_rng(0)
    truck, found = (18.0, -2.75, 0.0, 7.6, 2.45, 3.2), []
    for k in range(40):
        # It walks at 1.5 m/s for 1.2 s and is gone; the place where it was is not in view, the truck's rear is.
        boxes = [truck, (13.73, -4.4 + 1.5 * k * DT, 0.0, 0.5, 0.55, 1.75)][: 1 + (k < 24)]
        points = LIDAR.scan((0.0, 0.0, 0.0), np.array(boxes, float), rng)
        seen.update(Scan(k * DT, points), EgoState(k * DT, (0.0, 0.0, 0.0), 0.0, 0.0))
        found.append(seen.hazards(arc(HERE, 0.0, 30.0), 0.0).closing.max(initial=0.0))
    assert found[23] == pytest.approx(1.5, abs=0.4)
    assert min(found[24:27]) == pytest.approx(1.5, abs=0.4)
    assert max(found[30:]) == 0.0


@pytest.mark.parametrize("speed", [0.0, 6.0])
def test_who_steps_out_before_what_stands_in_the_corridor_is_seen_though_one_cluster_with_it(speed):
    def person(t):
        standing = [(12.0, 2.8, 0.0, 4.5, 1.8, 1.5), (16.3, 1.1, 0.0, 1.0, 1.0, 1.5)]
        return [*standing, (14.5, 1.6 - 1.2 * t, 0.0, 0.5, 0.5, 1.75)]

    assert fastest(person, speed) == pytest.approx(1.2, abs=0.5)
    assert fastest(lambda t: person(0.0), speed) == 0.0


@pytest.mark.parametrize("speed", [0.0, 3.0, 7.0, 11.0])
@pytest.mark.parametrize("x", [9.0, 13.0, 19.0])
def test_what_stands_does_not_come_closer_when_the_ego_does(speed, x):
    standing = [(x, 2.3, 0.0, 4.5, 1.8, 1.5), (x + 8.0, -2.4, 0.3, 4.5, 1.8, 1.5), (x + 3.0, -2.0, 0.0, 0.5, 0.5, 1.7)]
    assert fastest(lambda t: standing, speed) == 0.0


@pytest.mark.parametrize("along", [3.0, 6.0, 9.0])
def test_who_drives_along_beside_does_not_come_closer(along):
    assert fastest(lambda t: [(14.0 + along * t, 2.4, 0.0, 4.5, 1.8, 1.5)], 8.0) == 0.0


def test_what_comes_into_view_behind_a_van_has_not_moved():
    def scene(t):
        van = (9.0 - 9.0 * t, 2.6, 0.0, 5.0, 2.0, 2.5)
        return [(17.0, 2.0, 0.0, 4.0, 1.8, 1.5)] if t > -0.1 else [van, (17.0, 2.0, 0.0, 4.0, 1.8, 1.5)]

    assert fastest(scene) == 0.0
