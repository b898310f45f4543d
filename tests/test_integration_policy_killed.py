"""The policy dies in mid-drive: the vehicle stops by itself, says why, and hits nothing."""

import json
import time
from pathlib import Path

from fed_vit_msgs.msg import ControlCommand
from nav_msgs.msg import Odometry
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from fed_vit_autorl.edge.topics import Qos
from fed_vit_bringup.domain import free_domain
from fed_vit_bringup.graph import FleetArguments, fleet_graph
from fed_vit_bringup.supervisor import Supervisor
from fed_vit_common.qos import PROFILES

PATIENCE_S = 120.0


def test_the_vehicle_stops_when_its_policy_is_killed(tmp_path: Path):
    world = {"cars": 6, "pedestrians": 6, "speed": 0.0, "command_timeout": 0.1, "truth": str(tmp_path / "world")}
    arguments = FleetArguments(vehicles=1, use_respawn=False)
    graph = fleet_graph(arguments, parameters={"world": {"world": world}})
    domain_id = free_domain()
    context = Context()
    context.init(domain_id=domain_id)
    node = Node("witness", context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    speeds: list[float] = [0.0]
    commands: list[ControlCommand] = []
    node.create_subscription(
        Odometry, "/carla/vehicle_1/odometry", lambda m: speeds.append(m.twist.twist.linear.x), PROFILES[Qos.STATE]
    )
    node.create_subscription(ControlCommand, "/vehicle_1/control/commands", commands.append, PROFILES[Qos.STATE])

    def wait_for(condition) -> bool:
        end = time.monotonic() + PATIENCE_S
        while not condition() and time.monotonic() < end:
            supervisor.poll()
            executor.spin_once(timeout_sec=0.01)
        return condition()

    with Supervisor(graph, tmp_path / "logs", domain_id) as supervisor:
        supervisor.start()
        assert wait_for(lambda: speeds[-1] > 3.0), f"never drove: {commands[-1:]}"
        supervisor.kill("/vehicle_1/policy")
        commands.clear()
        assert wait_for(lambda: speeds[-1] < 0.05), f"still at {speeds[-1]} m/s: {commands[-1:]}"
        assert commands[-1].brake > 0.0
        assert commands[-1].throttle == 0.0
        assert "proposal_stale" in commands[-1].reason
        assert supervisor.status()["/vehicle_1/policy"].pid is None
    executor.shutdown()
    node.destroy_node()
    context.shutdown()
    summary = json.loads((tmp_path / "world/summary.json").read_text())
    assert summary["vehicles"]["vehicle_1"]["collisions"] == 0
