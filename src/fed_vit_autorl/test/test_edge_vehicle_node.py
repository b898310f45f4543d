"""EdgeVehicleNode: sees, acts within its limits, learns from what came of it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fed_vit_autorl.data.sample import EgoState
from fed_vit_autorl.edge.perceiver import Seen
from fed_vit_autorl.edge.refusal import RuntimeRefused
from fed_vit_autorl.edge.vehicle_node import SECTORS, Detected, EdgeVehicleNode, SafetyConstraints
from fed_vit_autorl.models.detection import Detections
from fed_vit_autorl.models.perception import ViTPerception

torch.set_num_threads(1)
MOVING = EgoState(0.0, (0, 0, 0), 0.0, 10.0)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return ViTPerception((64, 96), 16, 0, 48, 1, 3, stem="conv")


@pytest.fixture
def node(model):
    torch.manual_seed(1)
    return EdgeVehicleNode(model)


def road(distance):
    nothing = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))
    return Detected(Seen(nothing, {}, np.zeros(0), np.zeros(0), 1.0), np.zeros((0, 3)), np.full(SECTORS, distance))


@pytest.mark.parametrize("level", [0, 1, 2])
def test_it_sees_and_acts_at_every_level(model, level):
    node = EdgeVehicleNode(model, "cpu", level)
    image = np.random.default_rng(0).integers(0, 255, (120, 200, 3), np.uint8)
    control = node.on_new_frame(image, MOVING)
    assert -0.6 <= control.steering_angle <= 0.6
    assert 0 <= control.throttle <= 1
    assert 0 <= control.brake <= 1
    assert node.perceive(image).free_distance.shape == (SECTORS,)


def test_levels_and_devices_that_are_not_there_are_refused(model):
    with pytest.raises(ValueError, match="0 to 2"):
        EdgeVehicleNode(model, optimization_level=3)
    with pytest.raises(RuntimeRefused, match="CUDA"):
        EdgeVehicleNode(model, "cuda", 0)


def test_a_blocked_road_brakes_whatever_the_policy_wants(node):
    # 10 m/s, 8 m of road, 3 m to keep: 100 / (2 · 5) = 10 m/s² would be needed, more than there is
    for _ in range(20):
        control = node.get_driving_action(road(8.0), MOVING)
        assert control.throttle == 0
        assert control.brake > 0.9


def test_too_fast_does_not_accelerate(node):
    fast = replace(MOVING, speed=20.0)
    for _ in range(20):
        assert node.get_driving_action(road(80.0), fast, SafetyConstraints(max_speed=15.0)).throttle == 0


def test_it_learns_what_is_rewarded(node):
    """Reward for accelerating: after some updates it does so more than before."""

    def throttle(steps=200):
        return np.mean([node.get_driving_action(road(80.0), replace(MOVING, speed=5.0)).throttle for _ in range(steps)])

    before = throttle()
    for _ in range(6):
        for _ in range(256):
            control = node.get_driving_action(road(80.0), replace(MOVING, speed=5.0))
            node.store_experience(control.throttle - control.brake, done=True)
        assert node.should_train()
        assert set(node.local_rl_update()) == {"policy", "value", "entropy"}
    assert throttle() > before + 0.1


def test_there_must_be_enough_experience(node):
    node.store_experience(1.0)  # nothing was done yet
    assert not node.should_train(1)
    with pytest.raises(ValueError, match="0 steps"):
        node.local_rl_update()
    assert all(array.dtype == np.float32 for array in node.policy_weights().values())
