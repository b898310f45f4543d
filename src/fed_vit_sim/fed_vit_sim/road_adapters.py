"""Vehicles on a road: Ackermann drive topics and a CAN bus."""

import time
from typing import Any

import can
from ackermann_msgs.msg import AckermannDriveStamped
from fed_vit_msgs.msg import ControlCommand
from nav_msgs.msg import Odometry

from fed_vit_autorl.edge.topics import Qos
from fed_vit_common.conversions import ego_state
from fed_vit_common.node import InputRefused, VehicleNode
from fed_vit_common.qos import PROFILES
from fed_vit_sim.can_codec import (
    COMMAND_ID,
    FEEDBACK_ID,
    CanCommand,
    CanFeedback,
    CanReason,
    decode_feedback,
    encode_command,
)
from fed_vit_sim.integration import AdapterParameters, VehicleIntegration

FRAMES_PER_TICK = 256  # a babbling bus must not hold up the commands


def ackermann_drive(command: ControlCommand, speed: float, parameters: AdapterParameters) -> AckermannDriveStamped:
    """The pedals as an acceleration [m/s²], and the speed [m/s] that it leads to within a second, never backwards."""
    acceleration = command.throttle * parameters.max_acceleration - command.brake * parameters.max_deceleration
    message = AckermannDriveStamped(header=command.header)
    message.drive.steering_angle = command.steering_angle
    message.drive.acceleration = acceleration
    message.drive.speed = 0.0 if command.brake > 0.0 else max(0.0, speed + acceleration)
    return message


class Ackermann(VehicleIntegration):
    """A vehicle whose drive-by-wire takes ackermann_msgs on ``ackermann_cmd``."""

    name = "ackermann"

    def __init__(self, node: VehicleNode, parameters: AdapterParameters) -> None:
        super().__init__(node, parameters)
        self._speed = 0.0
        self._publisher = node.create_publisher(AckermannDriveStamped, "ackermann_cmd", PROFILES[Qos.EVENT])
        node.listen("odometry", self._on_odometry)

    def _on_odometry(self, odometry: Odometry, info: dict) -> None:
        self._speed = ego_state(odometry).speed

    def send(self, command: ControlCommand) -> None:
        """Publishes the drive command with the command's stamp."""
        self._publisher.publish(ackermann_drive(command, self._speed, self._parameters))

    def close(self) -> None:
        """Destroys the handles."""
        self._node.destroy_publisher(self._publisher)
        super().close()


class CanBus(VehicleIntegration):
    """A vehicle on a CAN bus that speaks ``can_codec``."""

    name = "can"

    def __init__(self, node: VehicleNode, parameters: AdapterParameters) -> None:
        super().__init__(node, parameters)
        self._bus = can.Bus(interface=parameters.can_interface, channel=parameters.can_channel)
        self._counter = 0
        self._feedback_counter: int | None = None
        self._feedback: CanFeedback | None = None
        self._heard = float("-inf")

    def send(self, command: ControlCommand) -> None:
        """Sends one command frame."""
        told = CanCommand(
            command.steering_angle, command.throttle, command.brake, command.hand_brake, command.hazard_lights
        )
        frame = can.Message(arbitration_id=COMMAND_ID, is_extended_id=False, data=encode_command(told, self._counter))
        try:
            self._bus.send(frame, timeout=0.0)
        except can.CanError as error:
            raise InputRefused(CanReason.CAN_NOT_SENT, str(error)) from error
        self._counter += 1

    def tick(self) -> None:
        """Reads what the vehicle has sent since the last tick."""
        for _ in range(FRAMES_PER_TICK):
            frame = self._bus.recv(timeout=0.0)
            if frame is None:
                return
            if frame.arbitration_id == FEEDBACK_ID:
                self._node.attempt(self._read, bytes(frame.data))

    def _read(self, data: bytes) -> None:
        self._feedback, self._feedback_counter = decode_feedback(data, self._feedback_counter)
        self._heard = time.monotonic()

    def health(self) -> tuple[int, str, dict[str, Any]]:
        """The vehicle's own report; silence and its faults are errors."""
        feedback = self._feedback
        if feedback is None or time.monotonic() - self._heard > self._parameters.command_timeout:
            return 2, "the vehicle is silent on the bus", {}
        values = {"speed": feedback.speed, "steering_angle": feedback.steering_angle}
        if feedback.fault:
            return 2, "the vehicle reports a fault", values
        return (1, "the driver has taken over", values) if feedback.driver_override else (0, "ok", values)

    def close(self) -> None:
        """Leaves the bus."""
        self._bus.shutdown()
        super().close()
