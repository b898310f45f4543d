"""How fast an edge comes, from where points were in the last half second."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fed_vit_autorl.reinforcement.route import Pose, to_map
from fed_vit_autorl.safety.assumptions import Assumptions
from fed_vit_autorl.safety.frontier import Edge, closing
from fed_vit_autorl.safety.recent import Past, Recent
from fed_vit_autorl.safety.view import BINS, bearings, view

A = Assumptions()
HERE, FREE = Pose(0.0, 0.0, 0.0), np.full(BINS, math.inf)


def edge(x=10.0, y=1.5, along=0.0, gap=0.6):
    return Edge(np.array([[x, y]]), *(np.array([number]) for number in (0.0, 1.0, gap, along)))


def speed(recent, found=None):
    """Of the edge (or `edge()`), as `closing` has it."""
    return closing(recent, found or edge(), A.lidar_column)


def recent(*ys, x=10.0, along=0.0, nearest=FREE):
    """A point at y(t) m, in scans 0.1 s apart, the last one now, at t = 0."""
    made = Recent()
    for k, y in enumerate(ys):
        stamp = 0.1 * (k - len(ys) + 1)
        points = np.array([[x + along * stamp, y]] if y is not None else np.zeros((0, 2)))
        made.update(Past(points, HERE, stamp, nearest))
    return made


def test_the_speed_is_the_least_that_explains_the_past():
    # 0.5, 0.4, 0.3 and 0.2 s ago
    assert speed(recent(2.0, 1.9, 1.8, 1.7, 1.6, 1.5)) == pytest.approx(1.0)
    assert speed(recent(2.0, 1.6, 1.8, 1.7, 1.6, 1.5)) == 0.0  # 0.1 m in 0.4 s is within a column's spacing
    assert speed(recent(2.0, 1.7, 1.8, 1.7, 1.6, 1.5)) == pytest.approx(0.5)


def test_what_drives_along_is_looked_for_where_it_was():
    past = recent(2.0, 1.9, 1.8, 1.7, 1.6, 1.5, along=8.0)
    assert speed(past, edge(along=8.0)) == pytest.approx(1.0)
    assert speed(past) == 0.0  # nothing was beside it


def test_without_a_past_nobody_comes():
    assert speed(Recent()) == 0.0
    assert speed(recent(1.7, 1.5)) == 0.0
    assert speed(recent(None, None, None, 1.5)) == 0.0
    past = recent(2.0, 1.9, 1.8, 1.7, 1.6, 1.5)
    past.reset()
    assert speed(past) == 0.0


def test_the_past_ends_after_half_a_second():
    assert speed(recent(1.5, 2.0, 1.9, 1.8, 1.7, 1.6, 1.5)) == pytest.approx(1.0)


def test_what_stood_in_the_corridor_or_was_hidden_tells_nothing():
    ys = (0.5, 0.5, 0.5, 0.5, 1.6, 1.5)  # 1 m inwards, where the corridor begins 0.6 m from the point
    assert speed(recent(*ys)) == 0.0
    wall = view(*bearings(np.array([[8.0, 1.2]], np.float32)))
    assert speed(recent(2.0, 1.9, 1.8, 1.7, 1.6, 1.5, nearest=wall)) == 0.0


def test_what_is_far_away_is_forgotten():
    assert speed(recent(2.0, 1.9, 1.8, 1.7, 1.6, 1.5, x=41.0), edge(x=41.0)) == 0.0


# Wherever the ego is and heads

YAWS, PLACES = st.floats(-3.0, 3.0), st.floats(-200.0, 200.0)


def driven(here, scene, ends=80.0):
    """The past of an ego that has come to `here` at 5 m/s; `scene(age)` are (ahead, left) places seen from there. Its
    view always ended at `ends` m.
    """
    made = Recent()
    for age in (0.5, 0.4, 0.3, 0.2, 0.1, 0.0):
        then = Pose(*to_map(np.array([[-5.0 * age, 0.0]]), here)[0].tolist(), here.yaw)
        points = to_map(np.array(scene(age)), here)
        made.update(Past(points, then, 100.0 - age, np.full(BINS, ends)))
    return made


def edges(here, *places):
    """Edges at (ahead, left, speed along); on each side of a corridor straight ahead."""
    at = np.array(places, float)
    side = np.sign(at[:, 1])
    return Edge(to_map(at[:, :2], here), np.full(len(at), here.yaw), side, np.full(len(at), 0.6), at[:, 2])


@settings(max_examples=30)
@given(YAWS, PLACES, PLACES)
def test_edges_come_at_the_same_speed_wherever_the_ego_is_and_heads(yaw, x, y):
    here = Pose(x, y, yaw)

    def scene(age):
        # Far away; who drives along at 8 m/s and comes at 1; who comes at 0.75 and at 0.6 m/s.
        return [(39.0, 8.0), (10.0 - 8.0 * age, 1.5 + age), (20.0, -1.5 - 0.75 * age), (20.0, 6.5 + 0.6 * age)]

    found = edges(here, (10.0, 1.5, 8.0), (20.0, -1.5, 0.0), (20.0, 6.5, 0.0))
    # 20.06 m away columns are 0.35 m apart, 0.675 m/s in 0.52 s.
    assert speed(driven(here, scene), found) == pytest.approx([1.0, 0.75, 0.0], abs=1e-6)


@settings(max_examples=30)
@given(YAWS, PLACES, PLACES, st.sampled_from([1.0, -1.0]))
def test_what_drives_along_was_hidden_where_it_was(yaw, x, y, side):
    here = Pose(x, y, yaw)
    # 0.2 s ago it was 8.4 m before where the ego is now, 9.5 m before where it was then.
    found = edges(here, (10.0, side * 1.5, 8.0))
    for ends, expected in ((8.6, 1.0), (8.3, 0.0)):
        past = driven(here, lambda age: [(10.0 - 8.0 * age, side * (1.5 + age))], ends)
        assert speed(past, found) == pytest.approx([expected], abs=1e-6)


@pytest.mark.parametrize(("along", "expected"), [(0.9, 0.4 / 0.5), (1.1, 1.0)])
def test_what_was_farther_along_than_a_metre_is_not_who_has_come(along, expected):
    past = driven(HERE, lambda age: [(10.0, 1.5 + age), *([(10.0 + along, 1.9)] if age == 0.5 else [])])
    assert speed(past, edges(HERE, (10.0, 1.5, 0.0))) == pytest.approx([expected])


def test_who_runs_has_come_from_as_far_as_anyone_runs():
    past = driven(HERE, lambda age: [(10.0, 1.5 + 5.5 * age)])
    # 2.75 m in 0.5 s; what is farther away than 1 m and 4 m/s has come some other way.
    assert speed(past, edges(HERE, (10.0, 1.5, 0.0))) == pytest.approx([5.5])
    assert speed(driven(HERE, lambda age: [(10.0, 1.5 + 16.0 * age)]), edges(HERE, (10.0, 1.5, 0.0))) == [0.0]
