"""Recording what is published, and reading it back."""

import random
import time

from nav_msgs.msg import Odometry
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rosbags.highlevel import AnyReader

from fed_vit_autorl.edge.topics import Qos
from fed_vit_common.qos import PROFILES
from fed_vit_sim.record import Recorder


def test_what_is_published_is_in_the_bag(tmp_path):
    context = Context()
    context.init(domain_id=random.randint(1, 100))
    node = Node("recorder", context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    recorder = Recorder(node, tmp_path / "bag", [("/odom", Odometry, PROFILES[Qos.STATE])])
    publisher = node.create_publisher(Odometry, "/odom", PROFILES[Qos.STATE])
    message = Odometry(child_frame_id="base_link")
    end = time.monotonic() + 20
    while recorder.messages < 3 and time.monotonic() < end:
        message.pose.pose.position.x += 1.0
        publisher.publish(message)
        executor.spin_once(timeout_sec=0.05)
    recorder.close()
    executor.shutdown()
    node.destroy_node()
    context.shutdown()
    with AnyReader([tmp_path / "bag"]) as reader:
        found = [reader.deserialize(raw, connection.msgtype) for connection, _, raw in reader.messages()]
    assert len(found) == recorder.messages >= 3
    assert found[0].child_frame_id == "base_link"
    assert found[1].pose.pose.position.x > found[0].pose.pose.position.x
