"""``fedvit bench shield``: what one tick costs, and how fast the node reacts as its own process among others."""

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import rclpy
from fed_vit_msgs.msg import ControlCommand, ControlProposal
from geometry_msgs.msg import Point
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from nav_msgs.msg import Odometry as OdometryMessage
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import PointCloud2, PointField

from fed_vit_autorl.edge.topics import TOPICS
from fed_vit_autorl.reinforcement.route import Route
from fed_vit_autorl.safety.shield import SafetyShield
from fed_vit_autorl.safety.types import Odometry, Proposal, Scan, ShieldInputs
from fed_vit_autorl.simulation.lidar import LidarSpec
from fed_vit_autorl.simulation.raybox import BoxLidar
from fed_vit_common.conversions import quaternion_of, stamp_of
from fed_vit_common.qos import PROFILES

NAMESPACE = "/bench_shield"
FRAME_S, TICK_S = 0.05, 0.02
TICKS, WARM_UP = 1500, 50
OBSTACLE_TRIALS, SILENCE_TRIALS = 30, 5
SPEED, FULL_BRAKE = 5.0, 8.0
PATIENCE_S = 30.0
SPEC = LidarSpec()
FIELDS = [
    PointField(name=name, offset=4 * i, datatype=PointField.FLOAT32, count=1)
    for i, name in enumerate(("x", "y", "z", "intensity"))
]
CAR = (4.5, 1.8, 1.5)


def shield() -> dict:
    """Milliseconds: `p99_ms` of a tick at 50 Hz with scans of 16 x 360 at 20 Hz; `scan_p99_ms` of a scan as it comes;
    `period_p99_ms` of both in one period; `floor_ms`, numpy turning such a scan into the vehicle's frame
    and no more; `reaction_ms` from the event's publication to the first braking command.
    """
    ticks, scans, floor = loop_cost()
    reactions = reaction()
    return {
        "p50_ms": float(np.percentile(ticks, 50)),
        "p99_ms": float(np.percentile(ticks, 99)),
        "scan_p99_ms": float(np.percentile(scans[scans > 0.0], 99)),
        "period_p99_ms": float(np.percentile(ticks + scans, 99)),
        "floor_ms": floor,
        "ratio": float(np.percentile(ticks, 50)) / floor,
        "reaction_ms": {
            "obstacle_p99": float(np.percentile(reactions["obstacle"], 99)),
            "obstacle_p50": float(np.percentile(reactions["obstacle"], 50)),
            "policy_killed": max(reactions["policy_killed"]),
            "lidar_silent": max(reactions["lidar_silent"]),
        },
    }


def loop_cost() -> tuple[np.ndarray, np.ndarray, float]:
    """Durations [ms] of the ticks along a street with parked, oncoming and leading cars and walls, of the scan that
    came before each (0: none), and the floor.
    """
    lidar, rng = BoxLidar(SPEC), np.random.default_rng(0)
    path = np.stack((2.0 * np.arange(1, 21), np.zeros(20)), axis=-1)
    route = Route(np.stack((np.arange(-10.0, 400.0), np.zeros(410)), axis=-1), np.full(410, 14.0))
    guard, inputs = SafetyShield(SPEC.base_from_lidar), ShieldInputs(route=route)
    ticks, scans = np.zeros(TICKS), np.zeros(TICKS)
    for tick in range(TICKS):
        now, x = 1.0 + tick * TICK_S, 8.0 * tick * TICK_S
        if now - (inputs.scan.stamp if inputs.scan else 0.0) >= FRAME_S:
            scan = Scan(now, lidar.scan((x, 0.0, 0.0), _street(x, now), rng))
            inputs.scan, inputs.proposal = scan, Proposal(now, 0.0, 0.1, 0.0, path)
            inputs.odometry = Odometry(now, (x, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0), 8.0, 0.0)
            begin = time.perf_counter()
            guard.look(scan)
            scans[tick] = 1e3 * (time.perf_counter() - begin)
        begin = time.perf_counter()
        guard.step(inputs, now)
        ticks[tick] = 1e3 * (time.perf_counter() - begin)
    turn, shift = SPEC.base_from_lidar[:3, :3].astype(np.float32), SPEC.base_from_lidar[:3, 3].astype(np.float32)
    floors = []
    for _ in range(200):
        begin = time.perf_counter()
        _ = inputs.scan.points[:, :3] @ turn.T + shift
        floors.append(1e3 * (time.perf_counter() - begin))
    return ticks[WARM_UP:], scans[WARM_UP:], float(np.median(floors))


def _street(x: float, now: float) -> np.ndarray:
    begin = 10.0 * np.floor(x / 10.0)
    parked = [(begin + 7.0 * i, -2.9, 0.0, *CAR) for i in range(-2, 10)]
    oncoming = [(begin + 18.0 * i + (60.0 - 10.0 * now) % 18.0, 3.4, np.pi, *CAR) for i in range(-1, 5)]
    walls = [(begin + 20.0 * i, side * 11.0, 0.0, 14.0, 4.0, 6.0) for i in range(-1, 5) for side in (-1.0, 1.0)]
    return np.array([*parked, *oncoming, *walls, (x + 25.0, 0.0, 0.0, *CAR)])


def reaction() -> dict[str, list[float]]:
    """Milliseconds by event, measured around the node and a policy that run as processes of their own."""
    os.environ["ROS_DOMAIN_ID"] = str(random.randint(1, 100))
    node = _start("node")
    policy = _start("bench")
    world = _World()
    found: dict[str, list[float]] = {"obstacle": [], "policy_killed": [], "lidar_silent": []}
    try:
        world.activate()
        for _ in range(OBSTACLE_TRIALS):
            world.settle()
            found["obstacle"].append(world.until_brake(world.show_obstacle))
        for _ in range(SILENCE_TRIALS):
            world.settle()
            found["lidar_silent"].append(world.until_brake(world.silence_lidar))
        for _ in range(SILENCE_TRIALS):
            world.settle()
            found["policy_killed"].append(world.until_brake(policy.kill))
            policy.wait()
            policy = _start("bench")
        return found
    finally:
        for process in (node, policy):
            process.kill()
            process.wait()
        world.close()


def _start(module: str) -> subprocess.Popen:
    code = f"from fed_vit_safety.{module} import main; main()"
    arguments = ["--ros-args", "-r", f"__ns:={NAMESPACE}", "--log-level", "error"]
    return subprocess.Popen([sys.executable, "-c", code, *arguments])


class _World:
    """The sensors of a vehicle that drives at 5 m/s where it may, and the clock of whoever waits for a brake."""

    def __init__(self) -> None:
        rclpy.init(args=[])
        self._node = rclpy.create_node("world", namespace=NAMESPACE)
        self._publishers = {
            name: self._node.create_publisher(kind, name, PROFILES[TOPICS[name].qos])
            for kind, name in ((PointCloud2, "lidar/points"), (OdometryMessage, "odometry"))
        }
        qos = PROFILES[TOPICS["control/commands"].qos]
        self._node.create_subscription(ControlCommand, "control/commands", self._on_command, qos)
        self._node.create_timer(FRAME_S, self._sense)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        lidar = BoxLidar(SPEC)
        clear, blocked = np.array([(60.0, 12.0, 0.0, *CAR)]), np.array([(11.0, 0.0, 0.0, *CAR)])
        self._scans = {
            name: [lidar.scan((0.0, 0.0, 0.0), boxes, np.random.default_rng(seed)) for seed in range(8)]
            for name, boxes in (("clear", clear), ("blocked", blocked))
        }
        self._shown, self._count, self._x = "clear", 0, 0.0
        self._speed, self._brake, self._sensed = SPEED, 0.0, 0.0
        self._driving = self._braking = 0.0

    def activate(self) -> None:
        """Brings the safety node up."""
        client = self._node.create_client(ChangeState, "safety/change_state")
        assert client.wait_for_service(PATIENCE_S), "the safety node did not start"
        for transition in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
            request = ChangeState.Request()
            request.transition.id = transition
            answer = client.call_async(request)
            self._spin(answer.done)

    def settle(self) -> None:
        """Runs until the vehicle has driven undisturbed for half a second, and then for a random part of a frame."""
        self._shown, self._driving = "clear", 0.0
        self._spin(lambda: self._driving and time.monotonic() - self._driving > 0.5)
        end = time.monotonic() + random.random() * FRAME_S
        self._spin(lambda: time.monotonic() >= end)

    def until_brake(self, event: Callable[[], None]) -> float:
        """Milliseconds from the event to the first braking command."""
        self._braking = 0.0
        event()
        begin = time.monotonic()
        self._spin(lambda: self._braking)
        return 1e3 * (self._braking - begin)

    def show_obstacle(self) -> None:
        """A car stands 5 m ahead, from this frame on."""
        self._shown = "blocked"
        self._sense()

    def silence_lidar(self) -> None:
        """A last scan; none after it."""
        self._sense()
        self._shown = ""

    def close(self) -> None:
        """Leaves nothing behind."""
        self._executor.shutdown()
        self._node.destroy_node()
        rclpy.shutdown()

    def _spin(self, condition: Callable[[], object]) -> None:
        end = time.monotonic() + PATIENCE_S
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError("the shield did not do what was waited for")
            self._executor.spin_once(timeout_sec=0.005)

    def _on_command(self, command: ControlCommand) -> None:
        now, brakes, self._brake = time.monotonic(), command.brake > 0.05, command.brake
        self._driving = 0.0 if brakes else self._driving or now
        self._braking = (self._braking or now) if brakes else self._braking

    def _sense(self) -> None:
        now = self._node.get_clock().now().nanoseconds * 1e-9
        # Obeys the brake, or the shield takes the brakes for broken; and is at its speed again as soon as it may.
        dt, self._sensed = (now - self._sensed if self._sensed else 0.0), now
        self._speed = max(self._speed - FULL_BRAKE * self._brake * dt, 0.0) if self._brake > 0.0 else SPEED
        self._count, self._x = self._count + 1, self._x + self._speed * dt
        odometry = OdometryMessage()
        odometry.header.stamp = stamp_of(now)
        odometry.pose.pose.position.x = self._x
        odometry.pose.pose.orientation = quaternion_of(0.0)
        odometry.twist.twist.linear.x = self._speed
        self._publishers["odometry"].publish(odometry)
        if self._shown:
            points = self._scans[self._shown][self._count % 8]
            cloud = PointCloud2(height=1, width=len(points), fields=FIELDS, point_step=16, row_step=16 * len(points))
            cloud.header.stamp, cloud.is_dense = stamp_of(now), True
            cloud.data.frombytes(points.tobytes())
            self._publishers["lidar/points"].publish(cloud)


def main() -> None:
    """A policy as a process of its own: answers every odometry by driving straight on."""
    rclpy.init()
    node = rclpy.create_node("policy")
    publisher = node.create_publisher(ControlProposal, "policy/proposal", PROFILES[TOPICS["policy/proposal"].qos])
    path = [Point(x=2.0 * i) for i in range(1, 21)]

    def propose(odometry: OdometryMessage) -> None:
        publisher.publish(ControlProposal(header=odometry.header, throttle=0.2, path=path))

    node.create_subscription(OdometryMessage, "odometry", propose, PROFILES[TOPICS["odometry"].qos])
    rclpy.spin(node)
