import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env

from fed_vit_autorl.data.classes import PEDESTRIAN, VEHICLE
from fed_vit_autorl.reinforcement.degrade import DegradedPerception, PerceptionErrors
from fed_vit_autorl.reinforcement.demonstrations import INPUTS
from fed_vit_autorl.reinforcement.driving_env import BoxDrivingEnv
from fed_vit_autorl.reinforcement.expert import RoadUser
from fed_vit_autorl.reinforcement.fine_tuning import FlatPolicy, unflatten
from fed_vit_autorl.reinforcement.policy import VisionPolicy, example_inputs
from fed_vit_autorl.reinforcement.route import Pose

WIDTH = 8
PERFECT = PerceptionErrors(rate_near=1.0, rate_far=1.0, noise_m=0.0, noise_per_m=0.0, ghosts=0.0, confusion=0.0)


@pytest.mark.filterwarnings("ignore:.*For Box action spaces", "ignore:.*A Box observation space")
def test_it_is_a_gymnasium_environment():
    check_env(BoxDrivingEnv(WIDTH), skip_render_check=True)


def test_the_same_seed_and_actions_are_the_same_episode():
    episodes = []
    for _ in range(2):
        env = BoxDrivingEnv(WIDTH)
        observation, _ = env.reset(seed=3)
        seen = [observation]
        for _ in range(10):
            observation, *_ = env.step(np.array([0.0, 1.0], np.float32))
            seen.append(observation)
        episodes.append(np.stack(seen))
    np.testing.assert_array_equal(*episodes)
    assert env.observation_space.contains(observation)


def test_progress_is_rewarded_in_percent_of_the_route():
    env = BoxDrivingEnv(WIDTH)
    env.reset(seed=3)
    total, done = 0.0, 0.0
    for _ in range(20):
        _, reward, _, _, info = env.step(np.array([0.0, 1.0], np.float32))
        total, done = total + reward, info["completion"]
    assert 0.0 < total <= 100.0 * done + 1e-6


def test_leaving_the_route_ends_the_episode_with_a_penalty():
    env = BoxDrivingEnv(WIDTH)
    env.reset(seed=3)
    for _ in range(200):
        _, reward, terminated, truncated, _ = env.step(np.array([0.6, 2.0], np.float32))
        if terminated or truncated:
            break
    assert terminated
    assert reward == -1.0


def test_flat_observations_come_apart_into_the_policys_inputs():
    inputs = {name: torch.rand_like(value) for name, value in example_inputs(WIDTH, 3).items()}
    flat = torch.cat([inputs[name].flatten(1) for name in INPUTS], dim=1)
    for name, part in zip(INPUTS, unflatten(flat, WIDTH), strict=True):
        torch.testing.assert_close(part, inputs[name])
    policy = VisionPolicy(WIDTH).eval()
    torch.testing.assert_close(FlatPolicy(policy)(flat).mean, policy(*inputs.values())[0])


def user(x: float, y: float, class_id: int = VEHICLE) -> RoadUser:
    length, width = (4.5, 1.8) if class_id == VEHICLE else (0.5, 0.5)
    return RoadUser(x, y, 0.0, 0.0, length, width, class_id)


def test_degraded_perception_gives_the_nearest_point_of_who_is_in_view():
    view = DegradedPerception(WIDTH, np.random.default_rng(0), PERFECT)(Pose(0, 0, 0), [user(20, 0), user(-20, 0)])
    assert view.positions.shape == (1, 2)
    assert view.positions[0, 0] == pytest.approx(20 - 2.25)
    assert abs(view.positions[0, 1]) < 0.9
    assert not view.features.any()


def test_who_stands_behind_a_car_is_not_seen():
    behind = [user(20, 0), user(30, 0, PEDESTRIAN), user(30, 8, PEDESTRIAN)]
    view = DegradedPerception(WIDTH, np.random.default_rng(0), PERFECT)(Pose(0, 0, 0), behind)
    assert sorted(view.classes) == [VEHICLE, PEDESTRIAN]


def test_detection_rate_falls_with_distance():
    rng = np.random.default_rng(0)
    perceive = DegradedPerception(WIDTH, rng, PerceptionErrors(ghosts=0.0))
    rates = [np.mean([len(perceive(Pose(0, 0, 0), [user(x, 0)]).positions) for _ in range(300)]) for x in (10, 55)]
    assert rates[0] > 0.85
    assert rates[1] < 0.6
