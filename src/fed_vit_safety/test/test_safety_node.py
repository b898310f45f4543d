"""The safety node on real messages: it drives what is proposed, brakes when anything is missing, and says why."""

import random
import time

import numpy as np
import pytest
import rclpy
from fed_vit_msgs.msg import ControlCommand, ControlProposal, OperatorAlert, RouteCommand, SafetyState, VehicleEvent
from geometry_msgs.msg import Point
from nav_msgs.msg import Odometry
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import PointCloud2, PointField
from std_srvs.srv import Trigger

from fed_vit_autorl.edge.topics import TOPICS
from fed_vit_common.conversions import quaternion_of, stamp_of
from fed_vit_common.qos import PROFILES
from fed_vit_safety.node import SafetyNode

DOMAIN = random.randint(1, 100)
PATIENCE_S = 20.0
FIELDS = [
    PointField(name=name, offset=4 * i, datatype=PointField.FLOAT32, count=1)
    for i, name in enumerate(("x", "y", "z", "intensity"))
]


def ground_scan(wall_at: float | None = None) -> np.ndarray:
    """(N, 4) returns of level ground 1.9 m below the LiDAR, and of a wall across the road `wall_at` m from it."""
    azimuth, down = np.meshgrid(np.radians(np.arange(360.0)), np.radians(np.arange(2.0, 30.0, 2.0)))
    distance = 1.9 / np.tan(down)
    points = [np.stack((distance * np.cos(azimuth), distance * np.sin(azimuth), np.full_like(azimuth, -1.9)), axis=-1)]
    if wall_at is not None:
        y, z = np.meshgrid(np.arange(-4.0, 4.0, 0.1), np.arange(-1.5, 0.0, 0.3))
        points.append(np.stack((np.full_like(y, wall_at), y, z), axis=-1))
    cloud = np.concatenate([part.reshape(-1, 3) for part in points])
    return np.concatenate((cloud, np.ones((len(cloud), 1))), axis=1).astype(np.float32)


class Vehicle:
    """The topics around one active safety node."""

    def __init__(self) -> None:
        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=DOMAIN)
        self.node = SafetyNode(context=self.context)
        self.peer = rclpy.create_node("peer", context=self.context)
        self.commands, self.states, self.alerts = [], [], []
        self.publishers = {
            name: self.peer.create_publisher(kind, name, PROFILES[TOPICS[name].qos])
            for kind, name in (
                (PointCloud2, "lidar/points"),
                (Odometry, "odometry"),
                (RouteCommand, "route/command"),
                (ControlProposal, "policy/proposal"),
                (VehicleEvent, "vehicle/events"),
            )
        }
        for kind, name, into in (
            (ControlCommand, "control/commands", self.commands),
            (SafetyState, "safety/state", self.states),
            (OperatorAlert, "operator/alert", self.alerts),
        ):
            self.peer.create_subscription(kind, name, into.append, PROFILES[TOPICS[name].qos])
        self.clear = self.peer.create_client(Trigger, "safety/clear")
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.executor.add_node(self.peer)
        self.node.trigger_configure()
        self.node.trigger_activate()
        self.speed = 5.0
        self.until(lambda: all(publisher.get_subscription_count() for publisher in self.publishers.values()))
        self.until(lambda: all(self.peer.count_publishers(s.topic_name) for s in self.peer.subscriptions))
        self.until(lambda: self.commands and self.states and self.alerts)

    def sense(self, wall_at: float | None = None, lidar: bool = True) -> float:
        """Publishes one frame of the sensors; returns its stamp."""
        now = self.peer.get_clock().now().nanoseconds * 1e-9
        odometry = Odometry()
        odometry.header.stamp = stamp_of(now)
        odometry.pose.pose.position.x = random.random() * 1e-3
        odometry.pose.pose.orientation = quaternion_of(0.0)
        odometry.twist.twist.linear.x = self.speed
        self.publishers["odometry"].publish(odometry)
        if lidar:
            points = ground_scan(wall_at)
            points[:, 2] += np.float32(random.random() * 1e-3)
            cloud = PointCloud2(height=1, width=len(points), fields=FIELDS, point_step=16, row_step=16 * len(points))
            cloud.header.stamp, cloud.is_dense = stamp_of(now), True
            cloud.data.frombytes(points.tobytes())
            self.publishers["lidar/points"].publish(cloud)
        return now

    def propose(self, stamp: float, **values: float) -> None:
        """Publishes a proposal along a straight path."""
        path = [Point(x=2.0 * i, y=0.0, z=0.0) for i in range(1, 21)]
        message = ControlProposal(path=path, **values)
        message.header.stamp = stamp_of(stamp)
        self.publishers["policy/proposal"].publish(message)

    def until(self, condition, act=None) -> None:
        """Runs the executor, and `act` every 0.05 s, until the condition holds."""
        end, due = time.monotonic() + PATIENCE_S, 0.0
        while not condition():
            assert time.monotonic() < end, "it did not happen in time"
            if act is not None and time.monotonic() >= due:
                due = time.monotonic() + 0.05
                act()
            self.executor.spin_once(timeout_sec=0.01)

    def drive(self, wall_at: float | None = None, lidar: bool = True, **values: float) -> None:
        """One frame of everything."""
        self.propose(self.sense(wall_at, lidar), **{"throttle": 0.3, **values})

    def drives(self) -> bool:
        """Whether the last command is the proposal as it was."""
        return bool(self.commands) and self.commands[-1].reason == "" and self.commands[-1].throttle > 0.2

    def says(self, reason: str) -> bool:
        """Whether the last command brakes for this reason."""
        return bool(self.commands) and self.commands[-1].brake > 0.2 and reason in self.commands[-1].reason.split(",")

    def close(self) -> None:
        """Leaves nothing behind."""
        self.executor.shutdown()
        self.node.trigger_deactivate()
        self.node.trigger_cleanup()
        self.node.destroy_node()
        self.peer.destroy_node()
        rclpy.shutdown(context=self.context)


@pytest.fixture
def vehicle():
    vehicle = Vehicle()
    yield vehicle
    vehicle.close()


def test_brakes_before_any_input_and_says_what_is_missing(vehicle):
    vehicle.until(lambda: vehicle.says("odometry_missing"))
    assert vehicle.commands[-1].hazard_lights
    vehicle.until(lambda: vehicle.states and vehicle.states[-1].state == SafetyState.OPERATING)
    assert "odometry_missing" in vehicle.states[-1].reasons
    assert vehicle.states[-1].clears_when


def test_a_good_proposal_passes_with_its_stamp_and_trace(vehicle):
    vehicle.until(vehicle.drives, vehicle.drive)
    stamp = vehicle.commands[-1].trace[-1]
    assert stamp.stage == "safety"
    assert stamp.done_ns >= stamp.started_ns >= stamp.received_ns > 0
    assert vehicle.commands[-1].header.stamp.sec > 0


def test_a_wall_ahead_brakes_and_a_clear_road_releases(vehicle):
    vehicle.until(vehicle.drives, vehicle.drive)
    vehicle.until(lambda: vehicle.says("obstacle"), lambda: vehicle.drive(wall_at=6.0))
    vehicle.until(vehicle.drives, vehicle.drive)


def test_a_silent_policy_brakes(vehicle):
    vehicle.until(vehicle.drives, vehicle.drive)
    vehicle.until(lambda: vehicle.says("proposal_stale"), vehicle.sense)
    vehicle.until(vehicle.drives, vehicle.drive)


def test_a_silent_lidar_brakes(vehicle):
    vehicle.until(vehicle.drives, vehicle.drive)
    vehicle.until(lambda: vehicle.says("lidar_stale"), lambda: vehicle.drive(lidar=False))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_proposal_that_is_no_number_brakes(vehicle, value):
    vehicle.until(vehicle.drives, vehicle.drive)
    vehicle.until(lambda: vehicle.says("proposal_not_finite"), lambda: vehicle.drive(steering_angle=value))


def test_a_truncated_cloud_is_refused_and_counted(vehicle):
    vehicle.until(vehicle.drives, vehicle.drive)
    cloud = PointCloud2(height=1, width=1000, fields=FIELDS, point_step=16, row_step=16000)
    vehicle.until(
        lambda: vehicle.node.refusals["cloud_truncated"] > 0, lambda: vehicle.publishers["lidar/points"].publish(cloud)
    )


def test_a_collision_is_latched_until_an_operator_clears_it(vehicle):
    vehicle.until(vehicle.drives, vehicle.drive)
    vehicle.publishers["vehicle/events"].publish(VehicleEvent(kind=VehicleEvent.COLLISION))
    vehicle.until(lambda: vehicle.says("collision"), vehicle.drive)
    assert vehicle.commands[-1].brake == 1.0
    vehicle.until(lambda: vehicle.states and vehicle.states[-1].latched, vehicle.drive)
    vehicle.until(lambda: vehicle.alerts[-1].level == OperatorAlert.CRITICAL)
    assert vehicle.clear.wait_for_service(5.0)
    answer = vehicle.clear.call_async(Trigger.Request())
    vehicle.until(lambda: answer.done() and vehicle.drives(), vehicle.drive)
    assert answer.result().success


def test_an_error_in_the_shield_stops_the_vehicle_and_not_the_node(vehicle, monkeypatch):
    vehicle.until(vehicle.drives, vehicle.drive)
    with monkeypatch.context() as broken:
        broken.setattr("fed_vit_autorl.safety.surroundings.extract", lambda *_: 1 / 0)
        vehicle.until(lambda: vehicle.says("shield_fault"), vehicle.drive)
        assert vehicle.commands[-1].brake == 1.0
    vehicle.until(lambda: vehicle.states[-1].latched and "shield_fault" in vehicle.states[-1].reasons, vehicle.drive)


def test_a_route_that_can_not_be_driven_is_refused(vehicle):
    vehicle.until(
        lambda: vehicle.node.refusals["route_too_short"] > 0,
        lambda: vehicle.publishers["route/command"].publish(RouteCommand(path=[Point(x=1.0)])),
    )


def test_it_takes_part_in_the_lifecycle(vehicle):
    vehicle.node.trigger_deactivate()
    count = len(vehicle.commands)
    for _ in range(20):
        vehicle.executor.spin_once(timeout_sec=0.01)
    assert len(vehicle.commands) - count <= 1
    vehicle.node.trigger_activate()
    vehicle.until(vehicle.drives, vehicle.drive)
