"""Who steps out of what stands: a place that was seen free and is taken, and where that can have come from."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fed_vit_autorl.reinforcement.route import Pose, to_map
from fed_vit_autorl.safety.assumptions import Assumptions
from fed_vit_autorl.safety.recent import Past, Recent
from fed_vit_autorl.safety.stepping import stepped
from fed_vit_autorl.safety.view import BINS, bearings, view

COLUMN = Assumptions().lidar_column
HERE, OPEN = Pose(0.0, 0.0, 0.0), np.full(BINS, np.inf)
WALK = 2.0, 1.9, 1.8, 1.7, 1.6, 1.5  # 1 m/s to the right: 0.5, 0.4, 0.3 and 0.2 s ago and now; 0.1 s ago is too young


def view_of(*points):
    return view(*bearings(np.array(points, np.float32)))


def recent(scans, views=None, here=HERE):
    """Scans 0.1 s apart, the last one now, each a list of points as they are seen from `here`; all is in view, and free
    behind, without `views`.
    """
    made = Recent()
    for k, points in enumerate(scans):
        stamp = 0.1 * (k - len(scans) + 1)
        seen = OPEN if views is None else views[k]
        made.update(Past(to_map(np.array(points, float).reshape(-1, 2), here), here, stamp, seen))
    return made


def speed(past, *points, heading=0.0, side=1.0):
    """Of the points, beside a corridor to the right of them that leads ahead."""
    count = len(points)
    return stepped(past, np.array(points), np.full(count, heading), np.full(count, side), COLUMN)


@pytest.mark.parametrize("side", [-1.0, 1.0])
@pytest.mark.parametrize("pace", [0.5, 0.8, 1.0, 2.0, 3.5])
def test_the_speed_is_the_least_that_explains_who_has_come(side, pace):
    ys = [side * (1.5 + pace * age) for age in (0.5, 0.4, 0.3, 0.2, 0.1, 0.0)]
    found = speed(recent([[(10.0, y)] for y in ys]), (10.0, ys[-1]), side=side)
    # Less than 0.15 m in 0.2 s may be the same point.
    assert found == (pytest.approx(pace) if pace * 0.2 > 0.15 else 0.0)


def test_it_turns_with_the_corridor():
    past = recent([[(y, 10.0)] for y in WALK])
    assert speed(past, (1.5, 10.0), heading=0.5 * np.pi, side=-1.0) == pytest.approx(1.0)


def test_faster_than_a_person_runs_is_a_vehicle():
    assert speed(recent([[(10.0, 1.5 + 4.1 * age)] for age in (0.5, 0.4, 0.3, 0.2, 0.1, 0.0)]), (10.0, 1.5)) == 0.0


def test_without_a_past_nobody_steps_out():
    assert speed(Recent(), (10.0, 1.5)) == 0.0
    assert speed(recent([[], [], [], [(10.0, 1.5)]]), (10.0, 1.5)) == 0.0
    assert len(speed(recent([[(10.0, y)] for y in WALK]))) == 0


def test_what_stood_there_has_not_come():
    scans = [[(10.0, y)] for y in WALK]
    assert speed(recent([[(10.1, 1.5)], *scans[1:]]), (10.0, 1.5)) == 0.0
    assert speed(recent([[(10.2, 1.5)], *scans[1:]]), (10.0, 1.5)) == pytest.approx(1.0)
    # At 30 m columns are 0.53 m apart: one of several scans hits nearer than 0.6 of that.
    far = [[(30.0, y)] for y in (3.0, 2.7, 2.4, 2.1, 1.8, 1.5)]
    assert speed(recent(far), (30.0, 1.5)) == pytest.approx(3.0)
    assert speed(recent([[(30.3, 1.5)], *far[1:]]), (30.0, 1.5)) == 0.0


def test_a_place_counts_if_it_was_seen_free():
    scans = [[(10.0, y)] for y in WALK]
    before, there, behind = view_of((9.0, 1.35)), view_of((10.0, 1.5)), view_of((11.0, 1.65))
    for hidden in (before, there):
        assert speed(recent(scans, [hidden] * 5 + [OPEN]), (10.0, 1.5)) == 0.0
    # Once is enough.
    assert speed(recent(scans, [before, there, behind, before, there, OPEN]), (10.0, 1.5)) == pytest.approx(1.0)
    # What is seen over something nearer now is a part of that, as a roof behind a bonnet.
    assert speed(recent(scans, [OPEN] * 5 + [before]), (10.0, 1.5)) == 0.0


def test_what_stays_does_not_explain_who_has_come():
    walker = [[(10.0, y)] for y in WALK]
    parked = (10.4, 1.55)
    assert speed(recent([[*scan, parked] for scan in walker]), (10.0, 1.5)) == pytest.approx(1.0)
    # It may be hidden now,
    gone = [[*scan, parked] for scan in walker[:-1]] + walker[-1:]
    assert speed(recent(gone, [OPEN] * 5 + [view_of((10.0, 1.5))]), (10.0, 1.5)) == pytest.approx(1.0)
    # but whose place is in view and empty has gone from there: 0.05 m in 0.5 s.
    assert speed(recent(gone), (10.0, 1.5)) == 0.0


def test_who_leaves_the_corridor_or_was_far_along_it_is_not_who_has_come():
    walker = [[(10.0, y)] for y in WALK]
    for other in ((10.2, 1.2), (10.7, 1.55), (9.3, 1.55)):
        passing = [[*scan, other] if k < 3 else scan for k, scan in enumerate(walker)]
        assert speed(recent(passing), (10.0, 1.5)) == pytest.approx(1.0)
    near = [[*scan, (10.5, 1.55)] if k < 3 else scan for k, scan in enumerate(walker)]
    assert speed(recent(near), (10.0, 1.5)) == 0.0


def car(age, length=4.5):
    """The side of an oncoming car at 10 m/s, its front corner at 10 m now."""
    return [(10.0 + 10.0 * age + x, 1.5 + (0.3 if x == 0.0 else 0.0)) for x in np.arange(0.0, length, 0.3)]


def test_the_side_of_a_car_that_drives_past_does_not_step_out():
    past = recent([car(age) for age in (0.5, 0.4, 0.3, 0.2, 0.1, 0.0)])
    assert speed(past, *car(0.0)) == pytest.approx(0.0)


def test_two_people_side_by_side_are_no_car():
    pair = [[(10.0, y), (11.5, y)] for y in WALK]
    assert speed(recent(pair), *pair[-1]) == pytest.approx(1.0)


WALKER, FAR = [[(10.0, y)] for y in WALK], [[(30.0, y)] for y in (3.0, 2.7, 2.4, 2.1, 1.8, 1.5)]
PARKED, GONE = [[(10.4, 1.55), *scan] for scan in WALKER], [[(10.4, 1.55), *scan] for scan in WALKER[:-1]] + WALKER[-1:]
SCENES = {
    "walks": (WALKER, None, 10.0, 1.0),
    "somebody farther along": ([[(11.0, 1.55), *scan] for scan in WALKER[:-1]] + WALKER[-1:], None, 10.0, 1.0),
    "beside what is parked": (PARKED, None, 10.0, 1.0),
    "beside what has gone": (GONE, None, 10.0, 0.0),
    "beside what is hidden": (GONE, [OPEN] * 5 + [view_of((10.0, 1.5))], 10.0, 1.0),
    "was there": ([[(10.1, 1.5)], *WALKER[1:]], None, 10.0, 0.0),
    "far away": (FAR, None, 30.0, 3.0),
    "was there, far away": ([[(30.3, 1.5)], *FAR[1:]], None, 30.0, 0.0),
    "was hidden": (WALKER, [view_of((9.0, 1.35))] * 5 + [OPEN], 10.0, 0.0),
    "is seen over something": (WALKER, [OPEN] * 5 + [view_of((9.0, 1.35))], 10.0, 0.0),
}


# A place is a square along the map's axes: at a slant points 0.2 m apart may share one.
YAWS = st.builds(lambda quarter, rest: 0.5 * np.pi * quarter + rest, st.integers(-1, 2), st.floats(-0.5, 0.5))


@settings(max_examples=20)
@given(st.sampled_from(sorted(SCENES)), YAWS, st.floats(-200.0, 200.0), st.floats(-200.0, 200.0))
def test_it_is_the_same_wherever_the_ego_is_and_heads(name, yaw, x, y):
    here, (scans, views, ahead, expected) = Pose(x, y, yaw), SCENES[name]
    place = to_map(np.array([[ahead, 1.5]]), here)[0]
    assert speed(recent(scans, views, here), place, heading=yaw) == pytest.approx(expected, abs=1e-6)


def test_who_steps_out_beside_somebody_who_stays_is_alone():
    # 1.5 m farther from the corridor somebody else came: no vehicle is that wide, and nobody was 1 m along.
    scans = [
        [(10.0, y), (10.0, 3.2 + age), (11.0, 1.55)]
        for y, age in zip(WALK, (0.5, 0.4, 0.3, 0.2, 0.1, 0.0), strict=True)
    ]
    scans[-1] = scans[-1][:2]
    assert speed(recent(scans), (10.0, 1.5)) == pytest.approx(1.0)
