"""Lagrangian multipliers under PID control, by hand and on a cost that answers to them."""

import pytest

from fed_vit_autorl.reinforcement.constraints import ConstrainedReward, PIDLagrangian
from fed_vit_autorl.reinforcement.rewards import Moment


def test_the_multiplier_by_hand():
    controller = PIDLagrangian(limit=1.0, kp=0.5, ki=0.1, kd=0.2)
    assert controller.update(3.0) == pytest.approx(0.5 * 2 + 0.1 * 2)
    assert controller.update(4.0) == pytest.approx(0.5 * 3 + 0.1 * 5 + 0.2 * 1)
    assert controller.update(0.0) == pytest.approx(max(0.5 * -1 + 0.1 * 4, 0.0))
    assert controller.update(0.0) == 0.0


def peak_and_rest(controller: PIDLagrangian) -> tuple[float, float]:
    """Least and last cost of a learner whose cost falls by what the multiplier presses, with a lag."""
    cost, speed, costs = 5.0, 0.0, []
    for _ in range(300):
        pressure = controller.update(cost)
        speed = 0.8 * speed + 0.2 * (0.3 - pressure)  # it would drift upwards by itself
        cost = max(cost + speed, 0.0)
        costs.append(cost)
    return min(costs), costs[-1]


def test_it_holds_a_lagging_cost_at_its_limit_with_less_overshoot_than_dual_ascent():
    damped, rest = peak_and_rest(PIDLagrangian(limit=2.0, kp=0.3, ki=0.02, kd=0.5))
    plain, _ = peak_and_rest(PIDLagrangian(limit=2.0, kp=0.0, ki=0.02, kd=0.0))
    assert rest == pytest.approx(2.0, abs=0.1)
    assert damped > plain


def test_a_constraint_that_is_broken_weighs_more_in_the_next_episode():
    reward = ConstrainedReward({"collision": 0.0, "lane": 0.5})
    clean = Moment(progress=1.0, route_length=100.0, speed=5.0, speed_limit=10.0)
    crash = Moment(progress=1.0, route_length=100.0, speed=5.0, speed_limit=10.0, collided=True)
    assert reward(clean) == reward(crash) == 1.0
    assert reward.end_episode() == {"collision": 1.0, "lane": 0.0}
    weight = reward.multipliers["collision"]
    assert weight == pytest.approx(0.1 + 0.02)
    assert reward.multipliers["lane"] == 0.0
    assert reward(crash) == pytest.approx((1.0 - weight) / (1.0 + weight))
