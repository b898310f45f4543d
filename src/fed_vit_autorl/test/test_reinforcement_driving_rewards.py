from dataclasses import replace

import numpy as np
import pytest

from fed_vit_autorl.reinforcement.rewards import CompletionReward, Moment, WeightedReward

CRUISING = Moment(progress=0.4, route_length=200.0, speed=8.0, speed_limit=10.0)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        # 1.0 · 0.4 + exp(0) + 0.5 · 8 / 10
        ({}, 0.4 + 1.0 + 0.4),
        ({"collided": True}, 1.8 - 100.0),
        ({"off_lane": True}, 1.8 - 10.0),
        # 2 m/s over: -5 · 2, efficiency at its most, 0.5
        ({"speed": 12.0}, 0.4 + 1.0 + 0.5 - 10.0),
        ({"jerk": -3.0}, 0.4 + np.exp(-3.0) + 0.4),
    ],
)
def test_weighted_reward_is_the_documented_sum(change, expected):
    assert WeightedReward()(replace(CRUISING, **change)) == pytest.approx(expected)


def test_completion_rewards_of_a_clean_drive_add_up_to_a_hundred():
    assert sum(CompletionReward()(CRUISING) for _ in range(500)) == pytest.approx(100.0)


def test_completion_penalties_multiply_and_terminal_events_end_the_episode():
    reward = CompletionReward()
    assert reward(replace(CRUISING, off_lane=True, speed=13.0)) == pytest.approx(0.2 * 0.2 * 0.5)
    assert reward(replace(CRUISING, collided=True)) == -1.0
    assert reward.ends(replace(CRUISING, ran_red=True))
    assert not reward.ends(CRUISING)
