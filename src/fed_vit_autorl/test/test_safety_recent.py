"""The last half second: which scans and which of their points are kept."""

import math

import numpy as np
import pytest

from fed_vit_autorl.reinforcement.route import Pose
from fed_vit_autorl.safety.recent import KEPT_M, Past, Recent

FREE = np.full(180, math.inf)
POSE = Pose(3.0, -2.0, math.radians(30.0))


def at(*places, pose=POSE):
    """Points in `map` of (ahead, left) places."""
    ahead, left = np.array(places, float).reshape(-1, 2).T
    cos, sin = math.cos(pose.yaw), math.sin(pose.yaw)
    return np.column_stack((pose.x + ahead * cos - left * sin, pose.y + ahead * sin + left * cos))


def test_what_lies_ahead_and_not_too_far_is_kept():
    kept, left_out = (
        [(0.1, 5.0), (0.1, -5.0), (20.0, 0.0), (24.0, 31.0)],
        [(-0.1, 5.0), (-9.0, 0.0), (24.0, 33.0), (41.0, 0.0)],
    )
    recent = Recent()
    recent.update(Past(at(*kept, *left_out), POSE, 1.0, FREE))
    assert math.hypot(24.0, 31.0) < KEPT_M < math.hypot(24.0, 33.0)
    assert recent.latest.points == pytest.approx(at(*kept))
    assert (recent.latest.pose, recent.latest.stamp, recent.latest.nearest) == (POSE, 1.0, FREE)


def test_those_of_a_fifth_to_half_a_second_ago_tell_of_the_past():
    recent = Recent()
    stamps = [0.0, 0.05, 0.1, 0.3, 0.35, 0.37, 0.55]
    for count, stamp in enumerate(stamps):
        recent.update(Past(at(*[(10.0, float(i)) for i in range(count)]), POSE, stamp, FREE))
    # 0.55 s ago is too old, 0.18 s too young
    assert [past.stamp for past in recent.old] == [0.05, 0.1, 0.3, 0.35]
    assert recent.age == pytest.approx([0.5] + [0.45] * 2 + [0.25] * 3 + [0.2] * 4)
    assert recent.points == pytest.approx(at(*[(10.0, float(i)) for count in (1, 2, 3, 4) for i in range(count)]))
    assert recent.latest.stamp == 0.55
    recent.update(Past(at((10.0, 0.0)), POSE, 5.0, FREE))
    assert (recent.old, len(recent.points), len(recent.age)) == ([], 0, 0)


def test_nothing_is_left_after_a_reset():
    recent = Recent()
    for stamp in (0.0, 0.3):
        recent.update(Past(at((10.0, 0.0)), POSE, stamp, FREE))
    assert len(recent.points) == 1
    recent.reset()
    assert (recent.old, recent.points.shape, recent.age.shape) == ([], (0, 2), (0,))
    recent.update(Past(at((10.0, 0.0)), POSE, 0.3, FREE))
    assert recent.old == []
