"""The safety node: a command 50 times a second whatever the policy does, and at once when it proposes.

Ages are measured in ROS time alone. In lockstep the clock stands while the world waits for a slow machine, and a
vehicle in a world that stands does not move: a steady-clock watchdog would brake it for nothing. On a vehicle the ROS
clock is the system's, whose jumps the shield notices itself. The timer is on the steady clock: no clock silences it.
"""

import traceback
from dataclasses import dataclass
from typing import Any

import numpy as np
from fed_vit_msgs.msg import ControlCommand, ControlProposal, OperatorAlert, StageStamp, VehicleEvent
from rclpy.time import Time
from std_srvs.srv import Trigger

from fed_vit_autorl.safety.assumptions import Assumptions
from fed_vit_autorl.safety.mrm import NORMAL, Manoeuvre, MrmState
from fed_vit_autorl.safety.reasons import Reason
from fed_vit_autorl.safety.shield import SafetyShield
from fed_vit_autorl.safety.types import ShieldInputs, ShieldOutput
from fed_vit_common.node import VehicleNode, run
from fed_vit_common.parameters import Bounds, parameter
from fed_vit_common.trace import close_stamp, open_stamp
from fed_vit_safety import messages

PERIOD_S = 0.02
LEVELS = {MrmState.NORMAL: 0, MrmState.OPERATING: 1, MrmState.SUCCEEDED: 1, MrmState.FAILED: 2}


@dataclass(frozen=True)
class Parameters:
    """See `config/safety.yaml`. All other numbers stand in `fed_vit_autorl.safety.assumptions`."""

    lidar_position: list = parameter([1.0, 0.0, 1.9], "x, y, z of the LiDAR in base_link [m]")
    lidar_yaw: float = parameter(0.0, "rotation of the LiDAR about z [rad]", Bounds(-3.15, 3.15))
    wheelbase: float = parameter(2.7, "distance of the axles [m]", Bounds(0.2, 10.0))
    front: float = parameter(3.7, "rear axle to front bumper [m]", Bounds(0.2, 15.0))
    rear: float = parameter(0.95, "rear axle to rear bumper [m]", Bounds(0.01, 10.0))
    width: float = parameter(1.85, "width of the body [m]", Bounds(0.1, 4.0))
    max_steering_angle: float = parameter(0.61, "range of the road wheels [rad]", Bounds(0.1, 1.2))
    full_throttle: float = parameter(3.5, "acceleration at throttle 1 [m/s²]", Bounds(0.5, 20.0))
    full_brake: float = parameter(8.0, "deceleration at brake 1 [m/s²]", Bounds(2.0, 15.0))


class SafetyNode(VehicleNode):
    """Raw sensors, route and proposal in; a safe command with its reason out."""

    PARAMETERS = Parameters

    def __init__(self, **options: Any) -> None:
        super().__init__("safety", **options)

    def setup(self, parameters: Parameters) -> None:
        """Makes the shield and the handles."""
        vehicle = {
            name: getattr(parameters, name)
            for name in Parameters.__dataclass_fields__
            if name in Assumptions.__dataclass_fields__
        }
        self._shield = SafetyShield(_base_from_lidar(parameters), Assumptions(**vehicle))
        self._inputs = ShieldInputs()
        self._answering = ControlProposal()
        self._told: tuple = ()
        self._decided: Time | None = None
        self._manoeuvre: Manoeuvre = NORMAL
        self._commands = self.publish_on("control/commands")
        self._states = self.publish_on("safety/state")
        self._alerts = self.publish_on("operator/alert")
        self.listen("lidar/points", self._on_scan)
        self.listen("odometry", self._on_odometry)
        self.listen("traffic_lights", self._on_lights)
        self.listen("route/command", self._on_route)
        self.listen("perception/fed_vit", self._on_scene)
        self.listen("vehicle/events", self._on_event)
        self.listen("policy/proposal", self._on_proposal)
        self.serve(Trigger, "~/clear", self._on_clear)
        self.every(PERIOD_S, self._tick)

    def diagnose(self) -> tuple[int, str, dict[str, Any]]:
        """The manoeuvre, why, and what ends it."""
        m = self._manoeuvre
        text = f"{m.behaviour.label}: {', '.join(m.reasons)}; clears when {m.clears_when}" if m.active else "driving"
        values = {"state": m.state, "latched": m.latched, "interventions": self._shield.interventions}
        return LEVELS[m.state], text, values

    # Inputs

    def _on_scan(self, message: Any, info: dict) -> None:
        self._inputs.scan = messages.scan(message)
        try:
            self._shield.look(self._inputs.scan)
        except Exception:
            self._stop_for_fault()

    def _on_odometry(self, message: Any, info: dict) -> None:
        self._inputs.odometry = messages.odometry(message)

    def _on_lights(self, message: Any, info: dict) -> None:
        self._inputs.lights = messages.lights(message)

    def _on_route(self, message: Any, info: dict) -> None:
        self._inputs.route = None  # of a route that can't be driven nothing is left
        self._inputs.route = messages.route(message)

    def _on_scene(self, message: Any, info: dict) -> None:
        self._inputs.scene = messages.scene(message)

    def _on_event(self, message: VehicleEvent, info: dict) -> None:
        if message.kind == VehicleEvent.COLLISION:
            self._inputs.collision = True

    def _on_proposal(self, message: ControlProposal, info: dict) -> None:
        stamp = open_stamp("safety", info)
        self._inputs.proposal, self._answering = messages.proposal(message), message
        self._decide(stamp)

    def _on_clear(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success, response.message = self._manoeuvre.active, f"was {self._manoeuvre.state}"
        self._shield.clear()
        return response

    # Outputs

    def _tick(self) -> None:
        if self.get_clock().now() != self._decided:  # a simulated clock that stands has had its command
            self._decide(None)

    def _decide(self, stamp: StageStamp | None) -> None:
        """Publishes a command. Its trace is that of the proposal it goes back to, closed when first answered."""
        self._decided = self.get_clock().now()
        try:
            output = self._shield.step(self._inputs, self._decided.nanoseconds * 1e-9)
        except Exception:
            self._stop_for_fault()
            return
        self._inputs.collision = self._inputs.shield_fault = False
        command = messages.command(output)
        if stamp is not None:
            self._answering.trace = close_stamp(self._answering.trace, stamp)
        command.reason = command.reason or self._answering.reason  # a stop that the policy asks for has its reason too
        command.header, command.trace = self._answering.header, self._answering.trace
        self._commands.publish(command)
        self._tell(output)

    def _stop_for_fault(self) -> None:
        """Whatever goes wrong in the shield, the vehicle stops and an operator hears of it."""
        self.get_logger().error(traceback.format_exc(), throttle_duration_sec=1.0)
        self._inputs.shield_fault = True
        self._commands.publish(ControlCommand(header=self._answering.header, brake=1.0, reason=Reason.SHIELD_FAULT))

    def _tell(self, output: ShieldOutput) -> None:
        """Publishes the state when it has changed, and an alert when the manoeuvre has."""
        m = output.state
        signature = (m.state, m.behaviour, m.reasons, m.latched)
        if (*signature, self._shield.interventions) != self._told:
            self._told = (*signature, self._shield.interventions)
            state = messages.state(m, self._shield.interventions)
            state.header.stamp = self.get_clock().now().to_msg()
            self._states.publish(state)
        before, self._manoeuvre = self._manoeuvre, m
        if (before.state, before.latched) != (m.state, m.latched):
            self._alerts.publish(self._alert(m, before))

    def _alert(self, m: Manoeuvre, before: Manoeuvre) -> OperatorAlert:
        alert = OperatorAlert()
        alert.header.stamp = self.get_clock().now().to_msg()
        cause = m if m.active else before
        alert.reason = ",".join(cause.reasons)
        if m.active:
            alert.level = OperatorAlert.CRITICAL if m.latched else OperatorAlert.WARNING
            alert.text = f"{m.behaviour.label} {m.state}; it clears when {m.clears_when}"
        else:
            alert.level, alert.text = OperatorAlert.INFO, "normal operation again"
        return alert


def _base_from_lidar(parameters: Parameters) -> np.ndarray:
    transform = np.eye(4)
    cos, sin = np.cos(parameters.lidar_yaw), np.sin(parameters.lidar_yaw)
    transform[:2, :2] = (cos, -sin), (sin, cos)
    transform[:3, 3] = parameters.lidar_position
    return transform


def main() -> None:
    """Entry point of `safety_node`."""
    run(SafetyNode)
