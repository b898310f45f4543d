"""The policy node: one control proposal for every scene, or a braking one that says why."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from fed_vit_msgs.msg import ControlProposal, ModelRelease, ModelStatus, RouteCommand, Scene

from fed_vit_autorl.data.sample import EgoState
from fed_vit_autorl.deployment.release import Manifest, ReleaseRefused
from fed_vit_autorl.edge.hot_swap import HotSwap, Outcome
from fed_vit_autorl.edge.refusal import RuntimeRefused
from fed_vit_autorl.edge.runtime import ModelRuntime
from fed_vit_autorl.edge.topics import TOPICS
from fed_vit_autorl.reinforcement.policy_io import PolicyIO, PolicyRefused, Proposal
from fed_vit_autorl.reinforcement.policy_runtime import load_policy
from fed_vit_autorl.reinforcement.route import PATH_POINTS, PATH_SPACING_M, Route, RouteRefused
from fed_vit_autorl.simulation.vehicle import Control
from fed_vit_common.conversions import ego_state, path_points, seconds
from fed_vit_common.driving import next_light, route_of, scene_view
from fed_vit_common.node import InputRefused, VehicleNode, run
from fed_vit_common.parameters import Bounds, parameter
from fed_vit_common.trace import close_stamp, open_stamp

STRAIGHT_AHEAD = np.stack((PATH_SPACING_M * np.arange(1, PATH_POINTS + 1), np.zeros(PATH_POINTS)), axis=-1)


class Missing(StrEnum):
    """Why the policy asks for a stop although nothing that arrived was wrong."""

    ODOMETRY_MISSING = "odometry_missing"
    ODOMETRY_STALE = "odometry_stale"
    LIGHTS_MISSING = "traffic_lights_missing"
    LIGHTS_STALE = "traffic_lights_stale"
    ROUTE_MISSING = "route_missing"


@dataclass(frozen=True)
class Parameters:
    """See `config/policy.yaml`."""

    release: str = parameter("releases/base", "folder of the release that the node starts with")
    trusted_keys: str = parameter("releases/keys", "public keys (*.pub) that may sign releases: a folder or a file")
    provider: str = parameter("cpu", "what runs the model: cpu, cuda or tensorrt")
    stopping_brake: float = parameter(0.4, "brake of a proposal that asks for a stop", Bounds(0.1, 1.0))


class PolicyNode(VehicleNode):
    """Scene, odometry, route and traffic lights in; control proposals out.

    A scene is always answered: where an input is missing, stale or wrong, by a proposal that brakes, keeps the steering
    angle and carries the reason. A release named on `model/active` loads beside the running model and takes over
    between two scenes.
    """

    PARAMETERS = Parameters

    def __init__(self, **options: Any) -> None:
        super().__init__("policy", **options)

    def setup(self, parameters: Parameters) -> None:
        """Loads the release and makes the handles."""
        self._parameters = parameters
        try:
            self._swap = HotSwap(Path(parameters.release), Path(parameters.trusted_keys), self._load)
        except (ReleaseRefused, RuntimeRefused) as refusal:
            raise ValueError(f"{parameters.release}: {refusal}") from refusal
        self._ego: EgoState | None = None
        self._lights: tuple[float, Any] | None = None
        self._route: Route | RouteRefused | None = None
        self._io: PolicyIO | None = None
        self._steering = 0.0
        self._frames = 0
        self._proposals = self.publish_on("policy/proposal")
        self._status = self.publish_on("model/status")
        self.listen("odometry", self._on_odometry)
        self.listen("traffic_lights", self._on_lights)
        self.listen("route/command", self._on_route)
        self.listen("model/active", self._on_release)
        self.listen("perception/fed_vit", self._on_scene)

    def diagnose(self) -> tuple[int, str, dict[str, Any]]:
        """The model and how many scenes it has answered."""
        model = self._swap.active.manifest.model_id
        return 0, f"driving with {model}", {"model": model, "frames": self._frames}

    def _on_odometry(self, message: Any, info: dict) -> None:
        self._ego = ego_state(message)

    def _on_lights(self, message: Any, info: dict) -> None:
        self._lights = seconds(message.header.stamp), message

    def _on_route(self, message: RouteCommand, info: dict) -> None:
        try:
            self._route = route_of(message)
            self._io = PolicyIO(self._route, self._feature_width)
        except RouteRefused as refusal:
            self._route, self._io = refusal, None
            raise InputRefused(refusal.reason, str(refusal)) from refusal

    def _on_scene(self, message: Scene, info: dict) -> None:
        stamp = open_stamp("policy", info)
        outcome = self._swap.swap()
        if outcome is not None:
            self._after_swap(outcome)
        self._frames += 1
        proposal = ControlProposal(header=message.header, model_id=self._swap.active.manifest.model_id)
        try:
            self._fill(proposal, self._propose(message))
        except (InputRefused, PolicyRefused) as refusal:
            self.refusals[str(refusal.reason)] += 1
            self.get_logger().warning(f"asks for a stop: {refusal}", throttle_duration_sec=1.0)
            stop = Control(self._steering, 0.0, self._parameters.stopping_brake)
            self._fill(proposal, Proposal(stop, -1.0, 0.0, STRAIGHT_AHEAD), str(refusal.reason))
        proposal.trace = close_stamp(message.trace, stamp)
        self._proposals.publish(proposal)

    def _propose(self, message: Scene) -> Proposal:
        now = seconds(message.header.stamp)
        ego = self._ego
        if ego is None:
            raise InputRefused(Missing.ODOMETRY_MISSING)
        if abs(now - ego.stamp) > TOPICS["odometry"].deadline_s:
            raise InputRefused(Missing.ODOMETRY_STALE, f"{now - ego.stamp:.2f} s older than the scene")
        if self._route is None:
            raise InputRefused(Missing.ROUTE_MISSING)
        if isinstance(self._route, RouteRefused):
            raise InputRefused(self._route.reason)
        if self._lights is None:
            raise InputRefused(Missing.LIGHTS_MISSING)
        if abs(now - self._lights[0]) > TOPICS["traffic_lights"].deadline_s:
            raise InputRefused(Missing.LIGHTS_STALE, f"{now - self._lights[0]:.2f} s older than the scene")
        inputs = self._io.encode(scene_view(message), ego, next_light(self._lights[1]))
        return self._io.decode(self._swap.active.model.run(inputs), ego.speed)

    def _fill(self, message: ControlProposal, proposal: Proposal, reason: str = "") -> None:
        control = proposal.control
        self._steering = control.steering_angle
        message.steering_angle, message.throttle, message.brake = (
            control.steering_angle,
            control.throttle,
            control.brake,
        )
        message.target_speed, message.path = proposal.target_speed, path_points(proposal.path)
        message.reason = reason

    # Hot swap

    def _load(self, folder: Path, manifest: Manifest) -> ModelRuntime:
        return load_policy(folder, manifest, self._parameters.provider)

    @property
    def _feature_width(self) -> int:
        return self._swap.active.model.input_shapes["features"][1]

    def _on_release(self, message: ModelRelease, info: dict) -> None:
        if message.digest != self._swap.active.manifest.digest:
            self._swap.request(Path(message.path), message.version, message.digest)

    def _after_swap(self, outcome: Outcome) -> None:
        if self._io is not None:
            self._io.feature_width = self._feature_width
        status = ModelStatus(node="policy", version=outcome.version, digest=outcome.digest, reason=outcome.reason)
        status.header.stamp = self.get_clock().now().to_msg()
        status.active, status.frames = not outcome.reason, self._frames
        self._status.publish(status)
        if outcome.reason:
            self.refusals[outcome.reason] += 1
            self.get_logger().error(f"release {outcome.version} refused: {outcome.reason}: {outcome.detail}")


def main() -> None:
    """Entry point of `policy_node`."""
    run(PolicyNode)
