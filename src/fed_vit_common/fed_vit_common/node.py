"""The lifecycle node that every vehicle node is: handles from the topic table, checked parameters, counted refusals."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock, ClockType
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.signals import SignalHandlerOptions

from fed_vit_autorl.edge.topics import TOPICS, Qos
from fed_vit_autorl.refusal import Refused
from fed_vit_common.parameters import ParameterRefused, declare, read
from fed_vit_common.qos import PROFILES, message_class

DIAGNOSTICS_PERIOD_S = 1.0


class InputRefused(Refused):
    """An input that a node does not use.

    Attributes:
        reason: reason code, counted and published on ``/diagnostics``.
    """


@dataclass(frozen=True)
class NoParameters:
    """For nodes that need none."""


class VehicleNode(LifecycleNode):
    """A lifecycle node whose topics, QoS and rates come from the topic table.

    A subclass names its ``PARAMETERS`` (a dataclass of ``parameters.parameter`` fields) and overrides ``setup`` (make
    handles with ``publish_on``, ``listen``, ``every``), and ``teardown`` where it holds something to let go of.
    Callbacks run only while the node is active. A callback that raises ``InputRefused`` has refused its input: the
    reason is counted and shown on ``/diagnostics``.
    """

    PARAMETERS: ClassVar[type] = NoParameters

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__(name, **options)
        self.refusals: Counter[str] = Counter()
        self.active = False
        self._handles: list[tuple[Callable, Any]] = []
        self._periodic: list[tuple[float, Callable[[], None]]] = []
        self._timers_running: list[Any] = []
        self._latched: dict[str, tuple] = {}
        # rclpy lets an invalid transition kill the node (rclpy#1209).
        answer = self._service_change_state.callback
        self._service_change_state.callback = lambda request, response: self._guard(answer, request, response)
        declare(self, self.PARAMETERS)

    # What a subclass overrides

    def setup(self, parameters: Any) -> None:
        """Makes the node's handles; called on configure."""

    def teardown(self) -> None:
        """Lets go of what ``setup`` took; called on cleanup and shutdown."""

    def diagnose(self) -> tuple[int, str, dict[str, Any]]:
        """The node's health: level (``DiagnosticStatus`` byte as int), one line, and values."""
        return 0, "ok", {}

    # What a subclass calls in setup

    def publish_on(self, topic: str) -> Any:
        """A lifecycle publisher on a topic of the table."""
        edge = TOPICS[topic]
        publisher = self.create_lifecycle_publisher(message_class(edge.type), edge.name, PROFILES[edge.qos])
        self._handles.append((self.destroy_lifecycle_publisher, publisher))
        return publisher

    def listen(self, topic: str, callback: Callable[[Any, dict], None]) -> None:
        """Calls ``callback(message, info)`` for each message on a topic of the table while the node is active.

        The last latched message that came before is delivered on activation: it would not be sent again.
        """
        edge = TOPICS[topic]

        def deliver(message: Any, info: dict) -> None:
            if self.active:
                self.attempt(callback, message, info)
            elif edge.qos is Qos.LATCHED:
                self._latched[topic] = (callback, message, info)

        subscription = self.create_subscription(message_class(edge.type), edge.name, deliver, PROFILES[edge.qos])
        self._handles.append((self.destroy_subscription, subscription))

    def serve(self, service_type: type, name: str, callback: Callable[[Any, Any], Any]) -> None:
        """Offers a service while the node is configured."""
        self._handles.append((self.destroy_service, self.create_service(service_type, name, callback)))

    def every(self, period_s: float, callback: Callable[[], None]) -> None:
        """Calls ``callback`` every ``period_s`` of the steady clock while the node is active."""
        self._periodic.append((period_s, callback))

    def attempt(self, action: Callable, *arguments: Any) -> Any:
        """Runs an action; a refusal is counted, logged at most once a second, and answered with None."""
        try:
            return action(*arguments)
        except InputRefused as refusal:
            self.refusals[str(refusal.reason)] += 1
            self.get_logger().warning(str(refusal), throttle_duration_sec=1.0)
            return None

    # Lifecycle

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Reads the parameters and makes the handles; a wrong configuration leaves the node unconfigured."""
        try:
            self.setup(read(self, self.PARAMETERS))
        except (ParameterRefused, InputRefused, OSError, ValueError) as error:
            self.get_logger().error(f"cannot be configured: {error}")
            self._release()
            return TransitionCallbackReturn.FAILURE
        self._diagnostics = self.create_lifecycle_publisher(
            DiagnosticArray, "/diagnostics", PROFILES[TOPICS["/diagnostics"].qos]
        )
        self._handles.append((self.destroy_lifecycle_publisher, self._diagnostics))
        self.every(DIAGNOSTICS_PERIOD_S, self._publish_diagnostics)
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Publishers speak and timers run from here on."""
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        for period_s, callback in self._periodic:
            run = lambda callback=callback: self.attempt(callback)  # noqa: E731
            self._timers_running.append(self.create_timer(period_s, run, clock=steady))
        result = super().on_activate(state)
        self.active = True
        while self._latched:
            _, waiting = self._latched.popitem()
            self.attempt(*waiting)
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Publishers fall silent and timers stop."""
        self._stop()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Destroys every handle."""
        self._release()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Destroys every handle."""
        self._release()
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Goes back to unconfigured, so that a supervisor can configure the node again."""
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def _stop(self) -> None:
        self.active = False
        while self._timers_running:
            self.destroy_timer(self._timers_running.pop())

    def _release(self) -> None:
        self._stop()
        self._periodic.clear()
        self._latched.clear()
        self.teardown()
        while self._handles:
            destroy, handle = self._handles.pop()
            destroy(handle)

    def _guard(self, answer: Callable, request: Any, response: Any) -> Any:
        try:
            return answer(request, response)
        except rclpy._rclpy_pybind11.RCLError as error:
            self.get_logger().warning(f"transition refused: {error}")
            response.success = False
            return response

    def _publish_diagnostics(self) -> None:
        level, message, values = self.diagnose()
        values = {**values, **{f"refused.{reason}": count for reason, count in self.refusals.items()}}
        status = DiagnosticStatus(
            level=bytes([level]),
            name=self.get_fully_qualified_name(),
            message=message,
            hardware_id=self.get_namespace(),
            values=[KeyValue(key=key, value=str(value)) for key, value in values.items()],
        )
        array = DiagnosticArray(status=[status])
        array.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(array)


def run(make_node: Callable[[], rclpy.node.Node]) -> None:
    """Runs one node in this process until Ctrl-C or SIGTERM, and leaves nothing behind."""
    rclpy.init(signal_handler_options=SignalHandlerOptions.ALL)
    node = make_node()
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        if isinstance(node, VehicleNode):
            node._release()
        executor.shutdown()
        node.destroy_node()
        rclpy.try_shutdown()
