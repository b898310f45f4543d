"""What hangs over the ground: a beam passes beneath it."""

import math

import numpy as np
import pytest

from fed_vit_autorl.safety.assumptions import Assumptions
from fed_vit_autorl.safety.lidar import extract
from fed_vit_autorl.safety.overhead import hanging
from fed_vit_autorl.simulation.lidar import LidarSpec

A = Assumptions()
SPEC = LidarSpec()
MOUNT = SPEC.base_from_lidar[:3, 3]
PLACE = 9.0  # from the LiDAR, to the left ahead
ANGLE = math.radians(30.0)
HIGH, LOW = (1.2, 2.4), (0.0, 1.0)
WALL = 20.0


def seen(spans, depth=PLACE, middle=30, base=SPEC.base_from_lidar):
    """Obstacles of a scan with a wall all around, and at `depth` something that each column at -3° to 3° from `middle`
    meets between the heights that `spans` gives it; None: nothing."""
    returns = []
    for degree in range(-180, 180):
        azimuth = math.radians(degree)
        span = spans.get(degree - middle)
        for slope in np.tan(SPEC.elevations):
            at = depth if span and span[0] <= SPEC.z + slope * depth <= span[1] else WALL
            if slope < 0.0:
                at = min(at, -SPEC.z / slope)
            returns.append((at * math.cos(azimuth), at * math.sin(azimuth), at * slope))
    return extract(np.array(returns, np.float32), base, A)


def hangs(spans, place=PLACE):
    """Whether what was found at that distance in the middle column hangs."""
    where = MOUNT[:2] + place * np.array([math.cos(ANGLE), math.sin(ANGLE)])
    (found,) = hanging(where[None], seen(spans), MOUNT, A.lidar_column)
    return bool(found)


def all_of(span):
    return dict.fromkeys(range(-3, 4), span)


def test_beams_pass_beneath_the_crown_of_a_tree():
    assert hangs(all_of(HIGH))


@pytest.mark.parametrize("span", [LOW, (0.0, 1.75), (0.0, 2.4)])
def test_what_stands_on_the_ground_is_in_the_way_of_all_that_are_lower(span):
    assert not hangs(all_of(span))


def test_only_the_beams_of_its_own_column_count():
    assert not hangs({-1: HIGH, 0: (0.0, 2.4), 1: HIGH})
    assert hangs({-1: (0.0, 2.4), 0: HIGH, 1: (0.0, 2.4)})


def test_who_stands_beneath_a_crown_does_not_hang():
    assert not hangs(all_of(HIGH) | {0: (0.0, 2.4)})


def test_what_is_found_nearer_or_farther_in_the_column_says_nothing_of_a_place():
    assert hangs(all_of(HIGH), PLACE - 0.25)
    assert not hangs(all_of((0.0, 2.4)), PLACE + 0.25)
    assert hangs(all_of((0.0, 2.4)), PLACE - 0.35)  # nothing is there, and beams go on


def test_several_places_are_told_apart():
    found = seen({-2: HIGH, 2: (0.0, 2.4)})
    places = [MOUNT[:2] + PLACE * np.array([math.cos(a), math.sin(a)]) for a in np.radians([28.0, 32.0])]
    assert hanging(np.array(places), found, MOUNT, A.lidar_column).tolist() == [True, False]


@pytest.mark.parametrize("middle", [-155, -60, 85, 120])
def test_it_is_told_in_every_direction_from_a_lidar_that_is_mounted_to_the_side(middle):
    base = SPEC.base_from_lidar.copy()
    base[:2, 3] = 0.4, -0.8
    place = base[:2, 3] + PLACE * np.array([math.cos(math.radians(middle)), math.sin(math.radians(middle))])
    for spans, expected in ((all_of(HIGH), True), (all_of((0.0, 2.4)), False)):
        found = seen(spans, middle=middle, base=base)
        assert hanging(place[None], found, base[:3, 3], A.lidar_column).tolist() == [expected]
