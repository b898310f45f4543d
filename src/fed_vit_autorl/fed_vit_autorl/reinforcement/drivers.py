"""Who can drive an ego of the embedded world: the expert, the policy on its perception, and either under the shield."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from fed_vit_autorl.edge.perceiver import Perceiver
from fed_vit_autorl.edge.runtime import ModelRuntime
from fed_vit_autorl.edge.scene import Ground, object_positions
from fed_vit_autorl.reinforcement.degrade import DegradedPerception
from fed_vit_autorl.reinforcement.expert import Decision, Expert
from fed_vit_autorl.reinforcement.policy_io import (
    SECTORS,
    PolicyIO,
    PolicyRefused,
    SceneView,
)
from fed_vit_autorl.reinforcement.route import Pose
from fed_vit_autorl.reinforcement.vehicle import pedals
from fed_vit_autorl.safety.in_world import control_of, inputs_of, light_of, route_of
from fed_vit_autorl.safety.shield import SafetyShield
from fed_vit_autorl.safety.types import Proposal, SceneHint
from fed_vit_autorl.simulation.observation import Observation
from fed_vit_autorl.simulation.vehicle import Control, VehicleParameters

Perception = Callable[[Observation], SceneView | None]
STOPPING_BRAKE = 0.4
OPERATOR_S = 10.0


@dataclass(frozen=True)
class Action:
    """What a driver does: the control, the path (20, 2) [m] in `base_link` behind it, the scene it was decided on,
    and the reason where something other than the driver's own will decided. `stamp` [s] is the frame's that it answers,
    None for the one at hand.
    """

    control: Control
    path: np.ndarray
    scene: SceneView | None = None
    intervention: str = ""
    stamp: float | None = None


class Driver(Protocol):
    """Drives one ego along one route; made anew for every route."""

    def act(self, observation: Observation) -> Action:
        """The action for one frame."""
        ...


class ExpertDriver:
    """The privileged expert; `decision` is its last one."""

    def __init__(self, observation: Observation, vehicle: VehicleParameters | None = None):
        self.vehicle = vehicle or VehicleParameters()
        self._expert = Expert(route_of(observation.route), self.vehicle)
        self.decision: Decision

    def act(self, observation: Observation) -> Action:
        """See `Driver`."""
        self.decision = self._expert.decide(observation.ego, observation.truth.users, observation.truth.stop_line)
        throttle, brake = pedals(self.decision.acceleration, observation.ego.speed, self.vehicle)
        return Action(Control(self.decision.steering, throttle, brake), self.decision.path)


class PolicyDriver:
    """The policy on a perception; where it has no answer it brakes, as the node does, and without a picture it has
    nothing new to say: its last action stands, with its age.
    """

    def __init__(self, observation: Observation, policy: ModelRuntime, perception: Perception):
        self._io = PolicyIO(route_of(observation.route), policy.input_shapes["features"][1])
        self._policy, self._perception = policy, perception
        self._steering = 0.0
        self._last = Action(Control(0.0, 0.0, STOPPING_BRAKE), np.zeros((0, 2)))

    def act(self, observation: Observation) -> Action:
        """See `Driver`."""
        scene = self._perception(observation)
        if scene is not None:
            self._last = replace(self._answer(observation, scene), stamp=observation.stamp)
        return self._last

    def _answer(self, observation: Observation, scene: SceneView) -> Action:
        try:
            inputs = self._io.encode(scene, observation.ego, light_of(observation))
            proposal = self._io.decode(self._policy.run(inputs), observation.ego.speed)
        except PolicyRefused as refusal:
            return Action(Control(self._steering, 0.0, STOPPING_BRAKE), np.zeros((0, 2)), scene, str(refusal.reason))
        self._steering = proposal.control.steering_angle
        return Action(proposal.control, proposal.path, scene)


class ShieldedDriver:
    """Another driver whose every action goes through the safety shield."""

    def __init__(self, observation: Observation, driver: Driver):
        self._driver, self._route = driver, route_of(observation.route)
        self._shield = SafetyShield(observation.base_from_lidar)
        self._cleared_at = math.inf

    def act(self, observation: Observation) -> Action:
        """See `Driver`; `intervention` is the shield's gravest reason.

        A stop that is latched after a contact is cleared by an operator `OPERATOR_S` after the last one.
        """
        action, now = self._driver.act(observation), observation.stamp
        wanted = action.control
        stamp = now if action.stamp is None else action.stamp
        proposal = Proposal(stamp, wanted.steering_angle, wanted.throttle, wanted.brake, action.path)
        inputs = inputs_of(observation, self._route, proposal)
        inputs.scene = None if action.scene is None else SceneHint(stamp, action.scene.positions)
        if inputs.collision:
            self._cleared_at = now + OPERATOR_S
        elif now >= self._cleared_at:
            self._shield.clear()
            self._cleared_at = math.inf
        output = self._shield.step(inputs, now)
        reason = str(output.reasons[0]) if output.reasons else ""
        return Action(control_of(output.control), action.path, action.scene, action.intervention or reason)


class ModelPerception:
    """The perception model on the observation's image and LiDAR points, as the perception node does it: without an
    image there is no scene.
    """

    def __init__(self, perceiver: Perceiver):
        self._perceiver = perceiver
        self._ground: Ground | None = None

    def __call__(self, observation: Observation) -> SceneView | None:
        if observation.image is None:
            return None
        seen = self._perceiver(observation.image)
        if self._ground is None:
            self._ground = Ground.seen_by(observation.camera, *seen.masks["free_space"].shape)
        points, transform = None, observation.base_from_lidar
        if observation.points is not None:
            points = observation.points[:, :3] @ transform[:3, :3].T + transform[:3, 3]
        positions = object_positions(seen.detections, observation.camera, points, transform[:3, 3])
        placed = np.isfinite(positions).all(axis=1)
        return SceneView(
            features=seen.features,
            positions=positions[placed, :2].astype(np.float64),
            classes=seen.detections.classes[placed],
            scores=seen.detections.scores[placed],
            free_distance=self._ground.free_distance(seen.masks["free_space"], SECTORS).astype(np.float64),
        )


class TruthPerception:
    """`DegradedPerception` of the observation's truth: what a model would make of it, at no cost."""

    def __init__(self, degraded: DegradedPerception):
        self._degraded = degraded

    def __call__(self, observation: Observation) -> SceneView:
        ego = observation.ego
        return self._degraded(Pose(*ego.position[:2], ego.yaw), observation.truth.users.values())
