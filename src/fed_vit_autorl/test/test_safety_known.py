"""What is known of the clusters of a scan: the table's rows by hand."""

import math

import numpy as np
import pytest

from fed_vit_autorl.safety.known import (
    COLUMNS,
    DROVE,
    FAST,
    FRESH,
    HURRY,
    MARGIN,
    REGION_M,
    SEEN,
    SMALL,
    STANDS,
    believed,
    kept_points,
    low_points,
    standing,
    walking,
)
from fed_vit_autorl.safety.view import BINS, bearings

TOUCHING = 4.875


def of(
    length=4.5, width=1.8, solidity=9.0, fast=(0.0, 0.0, 0.0, 0.0), fresh=(0.0, 0.0, 0.0, 0.0), scans=8, since=math.inf
):
    """(row, whether it is there) of one cluster, as `believed` has it; the first of two."""
    outlines = np.array([[7.0, 2.0, 7.0 + length, 2.0 + width], [0.0, 0.0, 1.0, 1.0]])
    velocities = np.array([[fast, (9.0,) * 4], [fresh, (9.0,) * 4]])
    known, there = believed(
        outlines, np.array([solidity, 0.0]), velocities, np.array([scans, 1]), np.array([since, math.inf]), TOUCHING
    )
    assert known.shape == (3, COLUMNS)
    return known[1], bool(there[1])


def test_a_row_holds_all_that_is_known_of_a_cluster():
    row, there = of(fast=(5.0, 1.0, 6.0, 2.0), fresh=(4.0, 0.5, 7.0, 3.0), scans=6, since=0.5)
    assert row.tolist() == [5.0, 1.0, 6.0, 2.0, 4.0, 0.5, 7.0, 3.0, 6.0, 0.0, 0.0, 1.0, 1.0, REGION_M]
    assert there
    assert (FAST, FRESH, SEEN, SMALL, STANDS, DROVE, HURRY, MARGIN) == (0, 4, 8, 9, 10, 11, 12, 13)


def test_what_belongs_to_no_cluster_is_there_and_nothing_is_known_of_it():
    known, there = believed(
        np.zeros((0, 4)), np.zeros(0), np.zeros((2, 0, 4)), np.zeros(0, np.int64), np.zeros(0), TOUCHING
    )
    assert known.tolist() == [[0.0] * HURRY + [1.0, TOUCHING]]
    assert there.tolist() == [True]


@pytest.mark.parametrize(
    ("fast", "scans", "stands", "margin"),
    [
        ((0.3, 0.2), 8, 1.0, TOUCHING),  # 0.36 m/s
        ((0.4, 0.0), 8, 1.0, TOUCHING),
        ((0.3, 0.2), 7, 0.0, TOUCHING),
        ((-0.3, 0.3), 8, 0.0, REGION_M),  # 0.42 m/s
        ((0.0, -0.5), 8, 0.0, REGION_M),
        ((0.5, 0.0), 8, 0.0, REGION_M),
    ],
)
def test_what_is_no_faster_than_the_noise_in_eight_scans_stands(fast, scans, stands, margin):
    row, _ = of(fast=(*fast, 0.0, 0.0), scans=scans)
    assert (row[STANDS], row[MARGIN]) == (stands, margin)


@pytest.mark.parametrize(("length", "width", "small"), [(0.9, 0.9, 1.0), (1.1, 0.2, 0.0), (0.2, 1.1, 0.0)])
def test_a_person_is_less_than_a_metre_wide(length, width, small):
    assert of(length, width)[0][SMALL] == small


@pytest.mark.parametrize(("since", "drove"), [(0.0, 1.0), (1.99, 1.0), (2.01, 0.0), (math.inf, 0.0)])
def test_what_drove_in_the_last_two_seconds_is_known_to_have(since, drove):
    assert of(since=since)[0][DROVE] == drove


@pytest.mark.parametrize(
    ("solidity", "scans", "there"),
    [(2.0, 1, True), (1.9, 1, False), (1.9, 2, True), (1.0, 2, True), (0.9, 2, False), (0.9, 8, False)],
)
def test_what_is_solid_is_there_at_once_the_meagre_a_scan_later_and_spray_never(solidity, scans, there):
    assert of(solidity=solidity, scans=scans)[1] is there


@pytest.mark.parametrize(
    ("length", "width", "scans", "trusted"),
    [(4.5, 1.8, 4, True), (4.5, 1.8, 3, False), (12.9, 1.0, 8, True), (1.0, 13.1, 8, False)],
)
def test_what_is_new_or_longer_than_a_vehicle_has_no_velocity(length, width, scans, trusted):
    row, _ = of(length, width, fast=(5.0, 1.0, 6.0, 2.0), fresh=(4.0, 0.5, 7.0, 3.0), scans=scans)
    assert row[:SEEN].tolist() == ([5.0, 1.0, 6.0, 2.0, 4.0, 0.5, 7.0, 3.0] if trusted else [0.0] * 8)
    assert row[MARGIN] == (REGION_M if trusted else TOUCHING)
    assert row[STANDS] == 0.0


def test_points_of_who_is_there_are_kept_one_per_cell_and_end_the_view():
    points = np.array([[10.06, 0.05], [10.1, 0.05], [10.4, 0.05], [6.0, 0.05], [0.0, 8.0]])
    labels, there = np.array([1, 1, 1, 2, 0]), np.array([True, True, False])
    kept, kept_labels, nearest = kept_points(points, labels, *bearings(points.astype(np.float32)), there)
    assert kept.tolist() == [[10.06, 0.05], [10.4, 0.05], [0.0, 8.0]]
    assert kept_labels.tolist() == [1, 1, 0]
    assert {int(b): nearest[b] for b in np.flatnonzero(np.isfinite(nearest))} == pytest.approx(
        {90: 10.06, 135: 8.0}, abs=1e-3
    )


def test_what_stands_and_is_low_as_a_whole_has_its_highest_return_as_height():
    known = np.zeros((4, COLUMNS))
    known[[1, 2], STANDS] = 1.0
    seen = np.array([[0, 0, 0.4], [0, 0, 0.9], [0, 0, 0.5], [0, 0, 1.8], [0, 0, 2.0], [0, 0, 0.3]], np.float32)
    points, labels = np.array([[5.0, 1.0], [6.0, 2.0], [7.0, 3.0], [8.0, 4.0]]), np.array([3, 1, 2, 1])
    low = low_points(points, labels, known, seen, np.array([1, 1, 1, 2, 2, 3]), 1.9)
    assert low == pytest.approx(np.array([[6.0, 2.0, 0.9], [8.0, 4.0, 0.9]]))  # 2 reaches to 2 m, 3 moves


def test_who_walks_is_known_by_the_walk_unless_the_place_is_seen_empty():
    nearest = np.full(BINS, np.inf)
    nearest[90], nearest[135] = 9.0, 8.9
    # Seen from (1, 2), turned by 90°: ahead in `map` is +y, left is -x.
    pose, ahead, left, right = (1.0, 2.0, 0.5 * math.pi), (0.9, 12.0), (-7.0, 1.9), (9.0, 1.9)
    walks, hurry = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), np.array([1.0, 1.5, 2.0])
    there, known = walking(np.array([right, ahead, left]), walks, hurry, pose, nearest)
    assert there.tolist() == [list(ahead), list(left)]  # to the right nothing ends the view
    assert known.tolist() == [
        [3.0, 4.0] * 4 + [6.0, 1.0, 0.0, 0.0, 1.5, REGION_M],
        [5.0, 6.0] * 4 + [6.0, 1.0, 0.0, 0.0, 2.0, REGION_M],
    ]


@pytest.mark.parametrize(("ends", "gone"), [(10.9, False), (11.1, True)])
def test_a_place_is_seen_empty_where_the_view_goes_a_metre_farther(ends, gone):
    nearest = np.full(BINS, ends)
    there, _ = walking(np.array([[10.0, 0.1]]), np.zeros((1, 2)), np.ones(1), (0.0, 0.0, 0.0), nearest)
    assert (len(there) == 0) is gone


def test_what_stands_and_is_not_seen_matters_where_it_is_touched():
    expected = np.zeros(COLUMNS)
    expected[[SEEN, HURRY, MARGIN]] = 8.0, 1.0, TOUCHING
    assert standing(TOUCHING).tolist() == [expected.tolist()]
