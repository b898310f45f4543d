from dataclasses import replace

import numpy as np
import pytest
import torch

from fed_vit_autorl.data.classes import PEDESTRIAN, VEHICLE
from fed_vit_autorl.data.sample import EgoState
from fed_vit_autorl.edge import runtime
from fed_vit_autorl.models.export import export_graph, weights_of
from fed_vit_autorl.reinforcement.policy import VisionPolicy, example_inputs
from fed_vit_autorl.reinforcement.policy_io import (
    OUTPUTS,
    PolicyIO,
    PolicyReason,
    PolicyRefused,
    SceneView,
)
from fed_vit_autorl.reinforcement.route import Route
from fed_vit_autorl.reinforcement.tracking import Tracker
from fed_vit_autorl.safety.types import Light, LightState

WIDTH = 32
EGO = EgoState(0.0, (10.0, 0.0, 0.0), 0.0, 8.0)
STRAIGHT = Route(np.array([[0, 0], [200, 0]], float))
RED, YELLOW, GREEN = 7, 8, 9
LEAD_PRESENT, LEAD_GAP, LEAD_SPEED = 12, 14, 15


def scene(*objects: tuple[float, float, int]) -> SceneView:
    return SceneView(
        np.zeros(WIDTH, np.float32),
        np.array([entry[:2] for entry in objects], float).reshape(-1, 2),
        np.array([entry[2] for entry in objects], np.int64),
        np.ones(len(objects)),
    )


def watch(io: PolicyIO, *objects: tuple[float, float, int], speed: float = 0.0, frames: int = 40) -> dict:
    """The inputs after `frames` of a standing ego watching objects that move ahead at `speed`."""
    for frame in range(frames):
        moved = [(x + speed * 0.05 * frame, y, kind) for x, y, kind in objects]
        inputs = io.encode(scene(*moved), replace(EGO, stamp=0.05 * frame, speed=0.0), None)
    return inputs


def test_the_lead_is_the_nearest_object_on_the_route():
    io = PolicyIO(STRAIGHT, WIDTH)
    ego = watch(io, (30.0, 0.3, VEHICLE), (20.0, 4.0, VEHICLE), (40.0, 0.0, VEHICLE))["ego"][0]
    assert ego[LEAD_PRESENT] == 1.0
    assert ego[LEAD_GAP] * 50.0 == pytest.approx(30.0 - io.footprint.front, abs=0.1)


def test_the_leads_speed_is_found_by_tracking():
    ego = watch(PolicyIO(STRAIGHT, WIDTH), (20.0, 0.0, VEHICLE), speed=5.0)["ego"][0]
    assert ego[LEAD_SPEED] * 10.0 == pytest.approx(5.0, abs=0.3)


def test_an_object_beside_the_road_is_no_lead():
    ego = watch(PolicyIO(STRAIGHT, WIDTH), (20.0, -3.0, PEDESTRIAN))["ego"][0]
    assert ego[LEAD_PRESENT] == 0.0


@pytest.mark.parametrize("ahead", [0.2, 2.0, 3.6])
def test_who_is_abreast_of_the_ego_is_no_lead(ahead):
    ego = watch(PolicyIO(STRAIGHT, WIDTH), (ahead, 1.2, VEHICLE))["ego"][0]
    assert ego[LEAD_PRESENT] == 0.0


def test_a_proposal_changes_at_the_jerk_that_passengers_bear_and_brakes_hard_in_need():
    io, standing = PolicyIO(STRAIGHT, WIDTH), replace(EGO, speed=0.0)

    def propose(wanted, stamp, speed):
        io.encode(scene(), replace(standing, stamp=stamp, speed=speed), None)
        control = np.array([[0.0, wanted]], np.float32)
        outputs = {"control": control, "path": np.zeros((1, 20, 2)), "target_speed": np.zeros((1, 1))}
        return io.decode(outputs, speed).acceleration

    assert propose(1.8, 1.0, 0.0) == 0.0
    assert propose(1.8, 1.1, 0.0) == pytest.approx(0.1 * io.style.jerk)
    propose(-5.0, 1.2, 8.0)
    assert propose(-5.0, 1.3, 8.0) == pytest.approx(-5.0)


def test_a_single_ghost_detection_is_no_lead():
    io = PolicyIO(STRAIGHT, WIDTH)
    assert io.encode(scene((15.0, 0.0, VEHICLE)), EGO, None)["ego"][0, LEAD_PRESENT] == 0.0


def test_lights_are_told_apart_and_end_when_passed():
    io = PolicyIO(STRAIGHT, WIDTH)
    for state, index in ((LightState.RED, RED), (LightState.YELLOW, YELLOW), (LightState.GREEN, GREEN)):
        ego = io.encode(scene(), EGO, Light(state, 20.0))["ego"][0]
        assert ego[RED : GREEN + 1].sum() == ego[index] == 1.0
    assert not io.encode(scene(), EGO, Light(LightState.RED, -2.0))["ego"][0, RED:LEAD_PRESENT].any()


@pytest.mark.parametrize(
    ("view", "ego", "reason"),
    [
        (scene(), replace(EGO, position=(10.0, 9.0, 0.0)), PolicyReason.OFF_ROUTE),
        (SceneView(np.zeros(7, np.float32)), EGO, PolicyReason.FEATURES_SHAPE),
        (SceneView(np.full(WIDTH, np.nan, np.float32)), EGO, PolicyReason.SCENE_NOT_FINITE),
        (scene((np.inf, 0.0, VEHICLE)), EGO, PolicyReason.SCENE_NOT_FINITE),
    ],
)
def test_inputs_that_cannot_be_driven_on_are_refused(view, ego, reason):
    with pytest.raises(PolicyRefused) as refusal:
        PolicyIO(STRAIGHT, WIDTH).encode(view, ego, None)
    assert refusal.value.reason is reason


def test_a_model_that_gives_nan_is_refused():
    outputs = {"control": np.array([[np.nan, 0.0]]), "path": np.zeros((1, 20, 2)), "target_speed": np.zeros((1, 1))}
    with pytest.raises(PolicyRefused) as refusal:
        PolicyIO(STRAIGHT, WIDTH).decode(outputs, 5.0)
    assert refusal.value.reason is PolicyReason.OUTPUT_NOT_FINITE


def test_the_untrained_policy_already_steers_back_to_its_route():
    io, policy = PolicyIO(STRAIGHT, WIDTH), VisionPolicy(WIDTH).eval()
    for lateral in (1.5, -1.5):
        inputs = io.encode(scene(), replace(EGO, position=(10.0, lateral, 0.0)), None)
        control, path, _ = policy(*map(torch.from_numpy, inputs.values()))
        assert np.sign(control[0, 0].item()) == -np.sign(lateral)
        np.testing.assert_allclose(path[0, :, 1].detach(), -lateral, atol=1e-4)


def test_exported_graph_without_its_weights_gives_the_networks_numbers():
    torch.manual_seed(1)
    policy = VisionPolicy(WIDTH).eval()
    graph = export_graph(policy, example_inputs(WIDTH), OUTPUTS, "policy.safetensors")
    weights = weights_of(policy)
    assert len(graph) + sum(array.nbytes for array in weights.values()) < 1_000_000
    inputs = watch(PolicyIO(STRAIGHT, WIDTH), (20.0, 0.0, VEHICLE))
    engine = runtime.create(graph, weights)
    for name, expected in zip(OUTPUTS, policy(*map(torch.from_numpy, inputs.values())), strict=True):
        np.testing.assert_allclose(engine.run(inputs)[name], expected.detach(), atol=1e-5)
    engine.close()


def test_tracker_keeps_two_walkers_apart_and_forgets_who_is_gone():
    tracker = Tracker()
    for frame in range(20):
        positions = np.array([[10.0, -2.0 + 0.07 * frame], [10.0, 4.0]])
        tracks = tracker.update(replace(EGO, stamp=0.05 * frame), positions, np.ones(2, np.int64), np.ones(2))
    np.testing.assert_allclose(tracks.velocities, [[0.0, 1.4], [0.0, 0.0]], atol=0.15)
    gone = tracker.update(replace(EGO, stamp=2.0), np.zeros((0, 2)), np.zeros(0, np.int64), np.zeros(0))
    assert len(gone.positions) == 0
