"""The embedded world as a ROS 2 node that speaks as the CARLA ROS bridge does in synchronous mode.

Lockstep: it publishes a frame, waits a bounded time for the control of that very frame from every vehicle, then steps.
"""

import sys
import time
from pathlib import Path

import rclpy
from carla_msgs.msg import (
    CarlaControl,
    CarlaStatus,
    CarlaTrafficLightInfoList,
    CarlaTrafficLightStatusList,
    CarlaWorldInfo,
)
from rclpy.exceptions import ParameterException
from rclpy.executors import Executor, ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rosgraph_msgs.msg import Clock

from fed_vit_autorl.deployment.processes import stand_back
from fed_vit_autorl.edge.topics import Qos
from fed_vit_autorl.simulation.observation import Observation
from fed_vit_autorl.simulation.world import World
from fed_vit_common.conversions import stamp_of
from fed_vit_common.parameters import declare, read
from fed_vit_common.qos import PROFILES
from fed_vit_sim import world_messages as messages
from fed_vit_sim.ego_bridge import EgoBridge
from fed_vit_sim.truth_sink import Summary, TruthSink, VehicleSummary
from fed_vit_sim.world_parameters import WorldParameters

REPEAT_S = 0.2
PAUSE_SPIN_S = 0.05
CANNOT_START = 2
SUMMARY_EVERY = 20  # frames


class WorldNode(Node):
    """Steps one ``World``; ``drive`` returns when it has run as long as it should."""

    def __init__(self) -> None:
        super().__init__("world")
        declare(self, WorldParameters)
        self._parameters = parameters = read(self, WorldParameters)
        self._world = World(parameters.config())
        latched, event = PROFILES[Qos.LATCHED], PROFILES[Qos.EVENT]
        self._clock_publisher = self.create_publisher(Clock, "/clock", event)
        self._status = self.create_publisher(CarlaStatus, "/carla/status", event)
        self._info = self.create_publisher(CarlaWorldInfo, "/carla/world_info", latched)
        self._lights = self.create_publisher(CarlaTrafficLightStatusList, "/carla/traffic_lights/status", latched)
        self._light_infos = self.create_publisher(CarlaTrafficLightInfoList, "/carla/traffic_lights/info", latched)
        self.create_subscription(CarlaControl, "/carla/control", self._on_control, event)
        self._bridges = {role: EgoBridge(self, role, self._world) for role in self._world.egos}
        self._summary = Summary(
            vehicles={role: VehicleSummary(weather=ego.weather.name) for role, ego in self._world.egos.items()}
        )
        truth = parameters.truth
        self._truth = TruthSink(Path(truth), self._world, parameters.truth_period) if truth else None
        self._command = CarlaControl.PLAY
        self._frame = 0
        self._states: list[str] = []
        self._under_way = set(self._bridges)

    def drive(self, executor: Executor) -> None:
        """Runs in lockstep until the time is up, every goal is reached, or ROS shuts down."""
        self._info.publish(CarlaWorldInfo(map_name=self._world.town.name))
        self._light_infos.publish(messages.light_infos(self._world.town.signals))
        seen = self._world.reset(self._parameters.seed)
        for role, bridge in self._bridges.items():
            bridge.publish_route(seen[role].route, self._world.stamp)
        self._await_first(executor, seen)
        started = begun = time.monotonic()
        frame_s = self._world.dt / self._parameters.speed if self._parameters.speed else 0.0
        while rclpy.ok() and not self._is_over(seen):
            self._publish_frame(executor, seen, begun + frame_s)
            self._await(executor, seen)
            self._await_play(executor)
            self._spin_until(executor, begun + frame_s)
            begun = time.monotonic()
            seen = self._world.step({role: bridge.control for role, bridge in self._bridges.items()})
            self._frame += 1
            self._account(seen)
            self._summary.simulated_s, self._summary.wall_s = self._world.stamp, time.monotonic() - started
            if self._truth and self._frame % SUMMARY_EVERY == 0:
                self._truth.write(self._summary)

    def destroy_node(self) -> None:
        """Writes the summary and ends the world."""
        if self._truth:
            self._truth.close(self._summary)
        self._world.close()
        super().destroy_node()

    def _publish_frame(self, executor: Executor, seen: dict[str, Observation], end: float) -> None:
        """Out of phase the vehicles' turns are spread over the time until ``end``."""
        self._publish_time()
        now = time.monotonic()
        turn_s = max(end - now, 0.0) / len(self._bridges) if self._parameters.out_of_phase else 0.0
        for number, (role, bridge) in enumerate(self._bridges.items()):
            self._spin_until(executor, now + number * turn_s)
            bridge.publish(seen[role])

    def _spin_until(self, executor: Executor, due: float) -> None:
        while rclpy.ok() and (left := due - time.monotonic()) > 0.0:
            executor.spin_once(timeout_sec=left)

    def _publish_time(self) -> None:
        stamp = self._world.stamp
        self._clock_publisher.publish(Clock(clock=stamp_of(stamp)))
        self._status.publish(
            CarlaStatus(
                frame=self._frame,
                fixed_delta_seconds=self._world.dt,
                synchronous_mode=True,
                synchronous_mode_running=self._command == CarlaControl.PLAY,
            )
        )
        if self._world.signals != self._states:
            self._states = self._world.signals
            self._lights.publish(messages.light_states(self._states))

    def _await_first(self, executor: Executor, seen: dict[str, Observation]) -> None:
        """Repeats the first frame until every vehicle has answered it: its nodes may still be loading."""
        until = time.monotonic() + self._parameters.start_timeout
        while rclpy.ok() and self._missing() and time.monotonic() < until:
            self._publish_frame(executor, seen, time.monotonic())
            repeat = time.monotonic() + REPEAT_S
            while self._missing() and (left := repeat - time.monotonic()) > 0.0:
                executor.spin_once(timeout_sec=left)
        for role in self._missing():
            self.get_logger().error(f"{role}: no control of the first frame; it stands with its brakes on")

    def _await(self, executor: Executor, seen: dict[str, Observation]) -> None:
        until = time.monotonic() + self._parameters.command_timeout
        while rclpy.ok() and self._missing() and (left := until - time.monotonic()) > 0.0:
            executor.spin_once(timeout_sec=left)
        for role in self._missing():
            self._summary.vehicles[role].timeouts += 1
            self.get_logger().warning(f"{role}: no control of frame {self._frame}", throttle_duration_sec=5.0)

    def _await_play(self, executor: Executor) -> None:
        while rclpy.ok() and self._command == CarlaControl.PAUSE:
            executor.spin_once(timeout_sec=PAUSE_SPIN_S)
        if self._command == CarlaControl.STEP_ONCE:
            self._command = CarlaControl.PAUSE

    def _missing(self) -> list[str]:
        return [role for role, bridge in self._bridges.items() if not bridge.is_answered(self._world.stamp)]

    def _account(self, seen: dict[str, Observation]) -> None:
        for role, observation in seen.items():
            summary = self._summary.vehicles[role]
            summary.frames += 1
            summary.distance += observation.ego.speed * self._world.dt
            if self._truth:
                self._truth.frame(self._frame, role, observation, summary)
            if not summary.routes_completed:
                summary.route_completion = max(summary.route_completion, observation.completion)
            if observation.completion >= 1.0 and role in self._under_way:
                self._arrive(role, summary)

    def _arrive(self, role: str, summary: VehicleSummary) -> None:
        summary.routes_completed += 1
        self._under_way.discard(role)
        if self._parameters.next_route:
            self._bridges[role].publish_route(self._world.continue_from(role), self._world.stamp)
            self._under_way.add(role)

    def _is_over(self, seen: dict[str, Observation]) -> bool:
        parameters = self._parameters
        if parameters.stop_at_goal and all(v.routes_completed for v in self._summary.vehicles.values()):
            return True
        return 0.0 < parameters.duration <= self._world.stamp

    def _on_control(self, message: CarlaControl) -> None:
        self._command = message.command


def main() -> None:
    """Runs the node until it is done, Ctrl-C or SIGTERM; exits with 2 and the reason if there is no such world.

    It takes what the vehicles leave it of a computer that they share: where that is little, it is its time that slows
    down, not what they do.
    """
    stand_back()
    rclpy.init(signal_handler_options=SignalHandlerOptions.ALL)
    try:
        node = WorldNode()
    except (ValueError, ParameterException) as error:
        rclpy.logging.get_logger("world").fatal(f"cannot start: {error}")
        rclpy.try_shutdown()
        sys.exit(CANNOT_START)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        node.drive(executor)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        executor.shutdown()
        node.destroy_node()
        rclpy.try_shutdown()
