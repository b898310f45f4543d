"""The environments: Gymnasium's own checker, and what a learner relies on."""

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from fed_vit_autorl.simulation import CARLAFederatedEnv, DrivingEnv
from fed_vit_autorl.simulation.backends import BackendReason, BackendRefused

SMALL = {"town": "Town02", "traffic_density": 0.1}


def test_one_vehicle_is_a_gymnasium_environment():
    environment = DrivingEnv(**SMALL, sensors=("lidar",))
    try:
        check_env(environment, skip_render_check=True)
        flat = gymnasium.wrappers.FlattenObservation(environment)
        observation, _ = flat.reset(seed=1)
        assert observation.shape == (6 + 40 + 4 + 72,)
    finally:
        environment.close()


def test_a_fleet_is_observed_and_rewarded_by_name():
    environment = CARLAFederatedEnv(3, **SMALL, max_seconds=1.0)
    try:
        observations, _ = environment.reset(seed=4)
        again, _ = environment.reset(seed=4)
        names = ["vehicle_0", "vehicle_1", "vehicle_2"]
        assert list(observations) == names
        for name in names:
            assert environment.observation_space.contains(observations[name])
            assert all((observations[name][key] == again[name][key]).all() for key in observations[name])
        forward = {name: np.array([0.0, 1.0]) for name in names}
        total = dict.fromkeys(names, 0.0)
        for _ in range(20):
            observations, rewards, terminated, truncated, _ = environment.step(forward)
            for name, reward in rewards.items():
                total[name] += reward
        # 3 m/s² for a second, built up at 40 m/s³: nearly 3 m/s.
        assert observations["vehicle_0"]["state"][0] == pytest.approx(2.9, abs=0.15)
        assert all(truncated.values()), "the time is up"
        assert not any(terminated.values())
        # +1 for a metre gained: 1.4 m in a second.
        assert min(total.values()) > 1.0
        assert environment.step(forward)[0] == {}, "who is done is in no later result"
    finally:
        environment.close()


def test_steering_right_is_negative_and_ends_off_the_lane_with_a_penalty():
    environment = DrivingEnv(**SMALL, sensors=())
    try:
        environment.reset(seed=2)
        rewards = []
        for _ in range(100):
            observation, reward, terminated, _, info = environment.step(np.array([-0.4, 0.7]))
            rewards.append(reward)
            if info["events"] or terminated:
                break
        assert observation["state"][4] < 0, "right of the route"
        assert rewards[-1] < -5
    finally:
        environment.close()


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"backend": "abacus"}, BackendReason.UNKNOWN_BACKEND),
        ({"town": "Gotham"}, BackendReason.UNKNOWN_TOWN),
        ({"weather": "Sharknado"}, BackendReason.UNKNOWN_WEATHER),
        ({"traffic_density": 1.5}, BackendReason.DENSITY),
    ],
)
def test_a_world_that_does_not_exist_is_refused(wrong, reason):
    with pytest.raises(BackendRefused) as refusal:
        CARLAFederatedEnv(1, **(SMALL | wrong))
    assert refusal.value.reason == reason
