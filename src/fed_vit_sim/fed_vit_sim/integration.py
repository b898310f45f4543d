"""How commands reach one kind of vehicle, and what it tells in return."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from fed_vit_msgs.msg import ControlCommand
from rclpy.qos import QoSProfile

from fed_vit_common.node import VehicleNode
from fed_vit_common.parameters import Bounds, parameter


@dataclass(frozen=True)
class AdapterParameters:
    """Parameters of the adapter node."""

    integration: str = parameter("carla_bridge", "kind of vehicle: carla_bridge, carla_native, ackermann or can")
    role: str = parameter("ego_vehicle", "role name in CARLA's topics")
    max_steering_angle: float = parameter(
        0.6, "road-wheel angle at full lock where the vehicle does not tell [rad]", Bounds(0.05, 1.5)
    )
    front: float = parameter(3.7, "from the rear axle to the front bumper [m]", Bounds(0.0, 20.0))
    command_timeout: float = parameter(
        0.2, "silence of control/commands that makes the adapter brake [s]", Bounds(0.02, 5.0)
    )
    max_acceleration: float = parameter(
        3.0, "at full throttle, for vehicles commanded by speed [m/s²]", Bounds(0.1, 20.0)
    )
    max_deceleration: float = parameter(8.0, "at full brake, for vehicles commanded by speed [m/s²]", Bounds(0.1, 20.0))
    can_interface: str = parameter("socketcan", "python-can's interface")
    can_channel: str = parameter("can0", "the CAN bus")


class VehicleIntegration(ABC):
    """One way to a vehicle; a subclass with a ``name`` can be chosen by the adapter's parameter ``integration``.

    Args:
        node: the adapter that it works for.
        parameters: the adapter's.
    """

    name: ClassVar[str] = ""
    registered: ClassVar[dict[str, type["VehicleIntegration"]]] = {}

    def __init_subclass__(cls) -> None:
        VehicleIntegration.registered[cls.name] = cls

    def __init__(self, node: VehicleNode, parameters: AdapterParameters) -> None:
        self._node = node
        self._parameters = parameters
        self._subscriptions: list[Any] = []

    @abstractmethod
    def send(self, command: ControlCommand) -> None:
        """Tells the vehicle; raises InputRefused for a command that can't be sent."""

    def tick(self) -> None:  # noqa: B027  most vehicles have nothing to do here
        """Called 20 times a second while the adapter is active."""

    def health(self) -> tuple[int, str, dict[str, Any]]:
        """What the vehicle reports of itself, as ``VehicleNode.diagnose``."""
        return 0, "ok", {}

    def close(self) -> None:
        """Lets go of everything."""
        while self._subscriptions:
            self._node.destroy_subscription(self._subscriptions.pop())

    def _listen(self, message_type: type, topic: str, callback: Callable[[Any], None], qos: QoSProfile) -> None:
        """Reads a topic from configuration on: what is latched may come before the adapter is active."""

        def deliver(message: Any) -> None:
            self._node.attempt(callback, message)

        self._subscriptions.append(self._node.create_subscription(message_type, topic, deliver, qos))
