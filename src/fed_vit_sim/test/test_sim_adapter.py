"""The adapter node between a vehicle's namespace and a vehicle, over the real middleware and a virtual CAN bus."""

import math
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import can
import pytest
import rclpy
from carla_msgs.msg import (
    CarlaBoundingBox,
    CarlaCollisionEvent,
    CarlaEgoVehicleControl,
    CarlaEgoVehicleInfo,
    CarlaEgoVehicleInfoWheel,
    CarlaTrafficLightInfo,
    CarlaTrafficLightInfoList,
    CarlaTrafficLightStatus,
    CarlaTrafficLightStatusList,
)
from fed_vit_msgs.msg import ControlCommand, RouteCommand, TrafficLight, TrafficLights, VehicleEvent
from geometry_msgs.msg import PoseStamped, Vector3
from nav_msgs.msg import Odometry, Path
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.node import Node
from rclpy.parameter import Parameter

from fed_vit_autorl.edge.topics import Qos
from fed_vit_common.conversions import quaternion_of
from fed_vit_common.qos import PROFILES
from fed_vit_sim.adapter_node import AdapterNode
from fed_vit_sim.can_codec import COMMAND_ID, FEEDBACK_ID, CanFeedback, decode_command, encode_feedback
from fed_vit_sim.integration import AdapterParameters, VehicleIntegration
from fed_vit_sim.road_adapters import ackermann_drive

DOMAIN = random.randint(1, 100)


@dataclass
class Bench:
    """An adapter and a node on the other side of all its topics, spun by hand."""

    adapter: AdapterNode
    outside: Node
    executor: SingleThreadedExecutor

    def collect(self, message_type: type, topic: str, qos: Qos) -> list:
        received: list = []
        self.outside.create_subscription(message_type, topic, received.append, PROFILES[qos])
        return received

    def spin_until(self, condition: Callable[[], Any], repeat: Callable[[], Any] = lambda: None) -> bool:
        end = time.monotonic() + 20
        while not condition() and time.monotonic() < end:
            repeat()
            self.executor.spin_once(timeout_sec=0.02)
        return bool(condition())


@pytest.fixture
def bench() -> Iterator[Callable[..., Bench]]:
    context = rclpy.Context()
    context.init(domain_id=DOMAIN)
    made: list[Bench] = []

    def make(**parameters: Any) -> Bench:
        adapter = AdapterNode(
            context=context,
            namespace="/car",
            cli_args=["--ros-args", "-r", "odometry:=/carla/hero/odometry"],
            parameter_overrides=[
                Parameter(name, value=value) for name, value in {"role": "hero", **parameters}.items()
            ],
        )
        executor = SingleThreadedExecutor(context=context)
        outside = Node("outside", context=context)
        executor.add_node(adapter)
        executor.add_node(outside)
        made.append(Bench(adapter, outside, executor))
        return made[-1]

    yield make
    for item in made:
        item.adapter.teardown()
        item.executor.shutdown()
        item.adapter.destroy_node()
        item.outside.destroy_node()
    context.shutdown()


def command(**fields: Any) -> ControlCommand:
    message = ControlCommand(**fields)
    message.header.stamp.sec = 42
    return message


def odometry(x: float) -> Odometry:
    message = Odometry()
    message.pose.pose.position.x = x
    message.pose.pose.orientation = quaternion_of(0.0)
    return message


def test_commands_reach_carla_with_its_own_full_lock_and_the_frames_stamp(bench):
    it = bench()
    assert it.adapter.trigger_configure() == TransitionCallbackReturn.SUCCESS
    controls = it.collect(CarlaEgoVehicleControl, "/carla/hero/vehicle_control_cmd", Qos.EVENT)
    info = it.outside.create_publisher(CarlaEgoVehicleInfo, "/carla/hero/vehicle_info", PROFILES[Qos.LATCHED])
    info.publish(CarlaEgoVehicleInfo(wheels=[CarlaEgoVehicleInfoWheel(max_steer_angle=1.0)]))
    it.adapter.trigger_activate()
    commands = it.outside.create_publisher(ControlCommand, "/car/control/commands", PROFILES[Qos.STATE])

    def answered() -> bool:
        return any(item.header.stamp.sec == 42 and item.steer == pytest.approx(-0.5) for item in controls)

    assert it.spin_until(answered, lambda: commands.publish(command(steering_angle=0.5, throttle=0.3)))


def test_silence_of_the_commands_is_answered_with_the_brake(bench):
    it = bench(command_timeout=0.05)
    it.adapter.trigger_configure()
    controls = it.collect(CarlaEgoVehicleControl, "/carla/hero/vehicle_control_cmd", Qos.EVENT)
    it.adapter.trigger_activate()
    assert it.spin_until(lambda: len(controls) >= 2)
    assert all(item.brake == 1.0 and item.throttle == 0.0 for item in controls)
    level, text, _ = it.adapter.diagnose()
    assert (level, "braking" in text) == (2, True)


def test_a_nan_command_is_refused_and_then_the_silence_brakes(bench):
    it = bench(command_timeout=0.05)
    it.adapter.trigger_configure()
    controls = it.collect(CarlaEgoVehicleControl, "/carla/hero/vehicle_control_cmd", Qos.EVENT)
    it.adapter.trigger_activate()
    commands = it.outside.create_publisher(ControlCommand, "/car/control/commands", PROFILES[Qos.STATE])
    poisoned = command(steering_angle=math.nan, throttle=1.0)
    assert it.spin_until(lambda: it.adapter.refusals["command_not_finite"], lambda: commands.publish(poisoned))
    assert it.spin_until(lambda: controls)
    assert all(item.brake == 1.0 for item in controls)


def test_waypoints_lights_and_events_arrive_in_the_vehicles_namespace(bench):
    it = bench(front=4.0)
    it.adapter.trigger_configure()
    routes = it.collect(RouteCommand, "/car/route/command", Qos.LATCHED)
    lights = it.collect(TrafficLights, "/car/traffic_lights", Qos.STATE)
    events = it.collect(VehicleEvent, "/car/vehicle/events", Qos.EVENT)

    def say(message: Any, topic: str, qos: Qos) -> Any:
        publisher = it.outside.create_publisher(type(message), topic, PROFILES[qos])
        publisher.publish(message)
        return publisher

    waypoints = Path()
    for x in range(0, 101, 10):
        pose = PoseStamped()
        pose.pose.position.x = float(x)
        waypoints.poses.append(pose)
    info = CarlaTrafficLightInfo(id=5, trigger_volume=CarlaBoundingBox(size=Vector3(x=2.0, y=4.0, z=2.0)))
    info.transform.position.x = 61.0
    info.transform.orientation = quaternion_of(0.0)
    # Latched before the adapter is active, as after a respawn in mid-drive.
    say(waypoints, "/carla/hero/waypoints", Qos.LATCHED)
    say(CarlaTrafficLightInfoList(traffic_lights=[info]), "/carla/traffic_lights/info", Qos.LATCHED)
    red = CarlaTrafficLightStatus(id=5, state=CarlaTrafficLightStatus.RED)
    say(CarlaTrafficLightStatusList(traffic_lights=[red]), "/carla/traffic_lights/status", Qos.LATCHED)
    it.adapter.trigger_activate()
    position = it.outside.create_publisher(Odometry, "/carla/hero/odometry", PROFILES[Qos.STATE])
    assert it.spin_until(lambda: routes and lights and lights[-1].lights, lambda: position.publish(odometry(26.0)))
    assert len(routes[0].path) == 11
    (seen,) = lights[-1].lights
    assert seen.state == TrafficLight.RED
    assert seen.distance == pytest.approx(30.0, abs=0.3)  # 60 - 26 - 4
    hits = it.outside.create_publisher(CarlaCollisionEvent, "/carla/hero/collision", PROFILES[Qos.EVENT])
    assert it.spin_until(lambda: events, lambda: hits.publish(CarlaCollisionEvent(other_actor_id=3)))
    assert events[0].other_actor_id == 3


def test_a_vehicle_on_a_can_bus_is_told_and_heard(bench):
    channel = f"test_{random.random()}"
    it = bench(integration="can", can_interface="virtual", can_channel=channel, command_timeout=0.5)
    with can.Bus(interface="virtual", channel=channel) as vehicle:
        it.adapter.trigger_configure()
        it.adapter.trigger_activate()
        commands = it.outside.create_publisher(ControlCommand, "/car/control/commands", PROFILES[Qos.STATE])
        frames: list = []

        def exchange() -> None:
            commands.publish(command(steering_angle=0.2, throttle=0.5))
            feedback = encode_feedback(CanFeedback(0.1, 3.0), len(frames))
            vehicle.send(can.Message(arbitration_id=FEEDBACK_ID, is_extended_id=False, data=feedback))
            frame = vehicle.recv(timeout=0.0)
            if frame is not None:
                assert frame.arbitration_id == COMMAND_ID
                frames.append(decode_command(bytes(frame.data)))

        assert it.spin_until(lambda: any(told.throttle == pytest.approx(0.5) for told, _ in frames), exchange)
        assert it.spin_until(lambda: it.adapter.diagnose()[0] == 0, exchange)
        assert it.adapter.diagnose()[2]["speed"] == pytest.approx(3.0)
        broken = can.Message(arbitration_id=FEEDBACK_ID, is_extended_id=False, data=bytes(8))
        assert it.spin_until(lambda: it.adapter.refusals["can_checksum"], lambda: vehicle.send(broken))


def test_an_unknown_integration_is_refused_at_configuration(bench):
    assert bench(integration="hovercraft").adapter.trigger_configure() == TransitionCallbackReturn.FAILURE


def test_the_documented_integrations_are_registered():
    assert {"carla_bridge", "carla_native", "ackermann", "can"} <= set(VehicleIntegration.registered)


@pytest.mark.parametrize(
    ("throttle", "brake", "speed", "acceleration"),
    [(0.5, 0.0, 11.5, 1.5), (0.0, 0.25, 0.0, -2.0), (0.0, 0.0, 10.0, 0.0)],
)
def test_pedals_become_ackermann_speed_and_acceleration(throttle, brake, speed, acceleration):
    # 0.5 of 3 m/s² for a second on top of 10 m/s; a quarter of 8 m/s² towards standstill
    told = ackermann_drive(command(steering_angle=0.1, throttle=throttle, brake=brake), 10.0, AdapterParameters())
    assert told.drive.speed == pytest.approx(speed)
    assert told.drive.acceleration == pytest.approx(acceleration)
    assert told.drive.steering_angle == pytest.approx(0.1)
    assert told.header.stamp.sec == 42
