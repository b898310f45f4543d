"""Calls the lifecycle services of a graph's nodes, never blocking: a request is sent, its answer collected later."""

import os
from collections.abc import Iterable

from lifecycle_msgs.msg import State as RosState
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.client import Client
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.task import Future

from fed_vit_bringup.order import State, Step

TRANSITIONS = {Step.CONFIGURE: Transition.TRANSITION_CONFIGURE, Step.ACTIVATE: Transition.TRANSITION_ACTIVATE}
# A transition under way reads as no primary state.
STATES = {
    RosState.PRIMARY_STATE_UNCONFIGURED: State.UNCONFIGURED,
    RosState.PRIMARY_STATE_INACTIVE: State.INACTIVE,
    RosState.PRIMARY_STATE_ACTIVE: State.ACTIVE,
}


class Request:
    """One service call under way."""

    def __init__(self, client: Client, message: object) -> None:
        self._client = client
        self._future: Future = client.call_async(message)

    @property
    def done(self) -> bool:
        """Whether an answer is there."""
        return self._future.done()

    @property
    def response(self) -> object:
        """The service's answer; raises what made the call fail."""
        return self._future.result()

    def forget(self) -> None:
        """Gives up waiting."""
        self._client.remove_pending_request(self._future)


class LifecycleClient:
    """A node of its own, in a context of its own, with two clients per lifecycle node."""

    def __init__(self, full_names: Iterable[str], domain_id: int) -> None:
        self._context = Context()
        self._context.init(domain_id=domain_id)
        self._node = Node(
            f"supervisor_{os.getpid()}", context=self._context, start_parameter_services=False, enable_rosout=False
        )
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._change = {name: self._node.create_client(ChangeState, f"{name}/change_state") for name in full_names}
        self._get = {name: self._node.create_client(GetState, f"{name}/get_state") for name in self._change}

    def spin(self, seconds: float) -> None:
        """Lets answers arrive for at most that long."""
        self._executor.spin_once(timeout_sec=seconds)

    def ready(self, name: str) -> bool:
        """Whether the node's services are there."""
        return self._change[name].service_is_ready() and self._get[name].service_is_ready()

    def change(self, name: str, step: Step) -> Request:
        """Asks for a transition; the response's ``success`` tells."""
        message = ChangeState.Request()
        message.transition.id = TRANSITIONS[step]
        return Request(self._change[name], message)

    def ask_state(self, name: str) -> Request:
        """Asks for the node's state."""
        return Request(self._get[name], GetState.Request())

    def close(self) -> None:
        """Leaves the ROS graph; safe to repeat."""
        if self._context.ok():
            self._executor.shutdown()
            self._node.destroy_node()
            self._context.shutdown()
