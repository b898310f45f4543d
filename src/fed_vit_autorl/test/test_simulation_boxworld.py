"""The world of boxes: who moves how, who stands where, and whose fault a collision is."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from fed_vit_autorl.simulation.boxtraffic import Behaviour, Traffic
from fed_vit_autorl.simulation.boxworld import BoxWorld


@pytest.mark.parametrize("side", [-5.0, 6.5])
def test_who_steps_onto_the_road_goes_on_to_the_other_side(side):
    # 13 m at 1.5 m/s, from 10 m before the ego.
    numbers = {"s": 60.0, "d": side, "wish": 1.5, "trigger": 20.0, "length": 0.5, "width": 0.5, "height": 1.75}
    zero = dict.fromkeys(("heading", "speed", "stops_at", "stands_for"), 0.0)
    flags = {"obeys": True, "acting": False, "present": True}
    fields = {"behaviour": int(Behaviour.JAYWALKS)} | numbers | zero | flags
    person, way = Traffic(**{name: np.array([value]) for name, value in fields.items()}), []
    while person.behaviour[0] == Behaviour.JAYWALKS and len(way) < 180:
        way.append(float(person.d[0]))
        person.step(0.05, 0.05 * len(way), (50.0, 0.0, 5.0), cross_green=True)
    assert np.diff(way) == pytest.approx(-np.sign(side) * 0.075)
    assert person.behaviour[0] == Behaviour.WALKS
    assert np.sign(side) * person.d[0] < -6.5


def test_nobody_walks_or_pulls_out_through_what_is_parked():
    world, met = BoxWorld(), 0
    for seed in range(200):
        world.reset(seed)
        t = world._traffic
        parked = (t.behaviour == Behaviour.STANDS) & (t.height < 5.0) & (t.d < -1.75)
        for i in np.flatnonzero((t.behaviour == Behaviour.JAYWALKS) | ((t.behaviour == Behaviour.CUTS_IN) & (t.d < 0))):
            across = t.width[i] if t.behaviour[i] == Behaviour.JAYWALKS else t.length[i]
            apart = np.abs(t.s[parked] - t.s[i]) - 0.5 * (t.length[parked] + across)
            assert (apart > 0.0).all()
            met += bool((apart < 1.0).any())
    assert met > 20  # right beside is where who steps out is hard to see


@pytest.mark.parametrize(("gap", "room"), [(12.0, False), (12.3, True)])
def test_who_comes_into_the_lane_too_near_is_judged_by_the_way_to_its_rear(gap, room):
    # At 10 m/s on a dry road: 0.5 s and 10² / (2 · 7) m, 12.1 m; a car of 4.6 m that turns in from beside.
    world = BoxWorld()
    world.reset(0)
    world._state = replace(world._state, speed=10.0)
    world._grip, world._s = 1.0, 50.0
    comes(world, s=50.0 + 3.7 + gap + 2.3, d=-2.5, length=4.6, width=1.82)
    world._watch_threats()
    assert world._threats[0].avoidable is room


def comes(world, s, d, length, width, wall=None):
    """Puts one who comes into the lane on the road, and a wall (s, d) of 4 m x 2 m in the ego's way to see it."""
    others = [(s, d, length, width)] if wall is None else [(s, d, length, width), (*wall, 4.0, 2.0)]
    numbers = dict(zip(("s", "d", "length", "width"), np.array(others, float).T, strict=True))
    flags = {name: np.ones(len(others), bool) for name in ("acting", "present")}
    numbers |= {"heading": np.zeros(len(others)), "height": np.full(len(others), 1.75)}
    world._traffic = SimpleNamespace(**numbers, **flags)
    world._place()


def test_who_steps_out_from_behind_a_wall_is_judged_by_where_it_is_exposed():
    # 8 m/s: 0.5 s and 8² / 14 m are 8.6 m. Hidden 14 m ahead, seen first when 5 m are left.
    world = BoxWorld()
    world.reset(0)
    world._state, world._grip = replace(world._state, speed=8.0), 1.0
    x = world._s + 3.7
    comes(world, x + 14.0, -3.5, 0.5, 0.5, wall=(x + 10.0, -3.0))
    world._watch_threats()
    assert not world._threats[0].avoidable
    comes(world, x + 5.0, -1.2, 0.5, 0.5, wall=(x + 1.0, -3.0))
    world._watch_threats()
    assert not world._threats[0].avoidable


@pytest.mark.parametrize(("seconds", "avoidable"), [(0.4, False), (0.6, True)])
def test_who_is_hidden_again_before_anybody_could_react_was_not_exposed(seconds, avoidable):
    world = BoxWorld()
    world.reset(0)
    world._state, world._grip = replace(world._state, speed=8.0), 1.0
    x = world._s + 3.7
    comes(world, x + 14.0, -3.5, 0.5, 0.5)
    world._watch_threats()
    assert world._threats[0].avoidable
    world._frame += round(seconds / world.dt)
    comes(world, x + 14.0, -3.5, 0.5, 0.5, wall=(x + 10.0, -3.0))
    world._watch_threats()
    assert world._threats[0].avoidable is avoidable


def test_who_is_run_over_by_another_one_is_exposed_when_it_comes_out():
    # Seen for a second 14 m ahead, then in the body of a truck that drives past, then 5 m ahead beside it.
    world = BoxWorld()
    world.reset(0)
    world._state, world._grip = replace(world._state, speed=8.0), 1.0
    x = world._s + 3.7
    for way, d, wall, avoidable in (
        (14.0, 3.5, None, True),
        (12.0, 3.4, (x + 13.0, 3.5), False),
        (5.0, 1.9, (x + 5.0, 3.5), False),
    ):
        comes(world, x + way, d, 0.5, 0.5, wall)
        world._watch_threats()
        assert world._threats[0].avoidable is avoidable
        world._frame += round(1.0 / world.dt)
