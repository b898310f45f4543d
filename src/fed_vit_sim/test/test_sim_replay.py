"""A recording through stand-ins of the nodes: lockstep, report, video, page."""

import json
import random
import re
from collections.abc import Iterator

import av
import pytest
from carla_msgs.msg import CarlaEgoVehicleControl
from fed_vit_msgs.msg import ControlCommand, ControlProposal, Scene, StageStamp
from nav_msgs.msg import Odometry
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image

from fed_vit_autorl.edge.topics import TOPICS, Qos
from fed_vit_common.qos import PROFILES, message_class
from fed_vit_sim.bag import Bag
from fed_vit_sim.lockstep import UNDER_TEST, Lockstep
from fed_vit_sim.replay_node import Parameters, replay

DOMAIN = random.randint(1, 100)
ENCODINGS = ("rgb8", "bgr8", "bgra8", "mono8", "jpeg")


class StandIn(Node):
    """Answers each image with scene, proposal and command; loses the first sight of every third image."""

    def __init__(self, context: Context) -> None:
        super().__init__("stand_in", namespace="/replay", context=context)
        self.seen: list[int] = []
        for topic in TOPICS.values():
            for _ in [name for name in topic.subscribers if name in UNDER_TEST and topic.name != "camera/image"]:
                self.create_subscription(
                    message_class(topic.type), topic.name, lambda message: None, PROFILES[topic.qos]
                )
        for _ in UNDER_TEST:
            self.create_subscription(Clock, "/clock", lambda message: None, PROFILES[Qos.SENSOR])
        self.create_subscription(Image, "camera/image", self._on_image, PROFILES[Qos.SENSOR])
        self._scenes = self.create_publisher(Scene, "perception/fed_vit", PROFILES[Qos.STATE])
        self._proposals = self.create_publisher(ControlProposal, "policy/proposal", PROFILES[Qos.STATE])
        self._commands = self.create_publisher(ControlCommand, "control/commands", PROFILES[Qos.STATE])

    def _on_image(self, image: Image) -> None:
        index = image.data[0] - 40
        self.seen.append(index)
        if index % 3 == 2 and self.seen.count(index) == 1:
            return
        right = min(1.0, index / 10)
        self._scenes.publish(Scene(header=image.header, free_distance=[10.0, 10.0 + 10.0 * right]))
        self._proposals.publish(ControlProposal(header=image.header, reason="odometry_missing", brake=0.4))
        command = ControlCommand(header=image.header, brake=1.0, reason="odometry_missing")
        self._commands.publish(command)  # the shield's own tick: no answer
        command.trace = [StageStamp(stage="safety")]
        self._commands.publish(command)


@pytest.fixture
def nodes(monkeypatch) -> Iterator[tuple[Node, SingleThreadedExecutor, StandIn]]:
    monkeypatch.setattr("fed_vit_sim.lockstep.RESEND_S", 0.2)
    context = Context()
    context.init(domain_id=DOMAIN)
    player, stand_in = Node("replay", namespace="/replay", context=context), StandIn(context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(player)
    executor.add_node(stand_in)
    yield player, executor, stand_in
    executor.shutdown()
    player.destroy_node()
    stand_in.destroy_node()
    context.shutdown()


def drive(recording, encoding: str, frames: int = 7) -> list:
    """A driver who steers ever more to the right, drives, and stops on the last two frames."""
    messages = []
    for index in range(frames):
        stops = index >= frames - 2
        control = CarlaEgoVehicleControl(steer=index / 10, throttle=0.0 if stops else 0.4)
        messages += [
            ("/driver", recording.stamped(control, index), index),
            ("/cam", recording.picture(index, encoding), index),
        ]
    return messages


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_frame_is_answered_also_one_that_gets_lost(nodes, recording, tmp_path, encoding):
    player, executor, stand_in = nodes
    report = replay(
        player, executor, Parameters(bag=str(recording.write(drive(recording, encoding))), output=str(tmp_path / "out"))
    )
    assert (report["frames"], report["commands"]) == (7, 7)
    assert stand_in.seen.count(2) == 2
    assert stand_in.seen.count(3) == 1


def test_the_report_says_what_was_missing_and_what_was_compared(nodes, recording, tmp_path):
    player, executor, _ = nodes
    out = tmp_path / "out"
    report = replay(player, executor, Parameters(bag=str(recording.write(drive(recording, "rgb8"))), output=str(out)))
    assert {"odometry", "lidar/points", "route/command"} <= set(report["missing_inputs"])
    # The policy never drove, so the free road stands in: it leans right as the driver steers right.
    assert report["steering_signal"] == "free_road_direction"
    assert report["steering_correlation"] == pytest.approx(1.0, abs=0.05)
    assert report["reasons"] == {"odometry_missing": 7}
    assert json.loads((out / "report.json").read_text())["commands_sha256"] == report["commands_sha256"]
    with av.open(report["video"]) as video:
        pictures = list(video.decode(video=0))
    assert len(pictures) == 7
    assert pictures[0].width == 640
    page = (out / "report.html").read_text()
    assert not re.findall(r'(?:src|href)="(?!data:)', page)


def test_two_runs_give_the_same_commands(nodes, recording, tmp_path):
    player, executor, _ = nodes
    parameters = Parameters(bag=str(recording.write(drive(recording, "jpeg"))), output=str(tmp_path / "out"))
    first, second = (replay(player, executor, parameters)["commands_sha256"] for _ in range(2))
    assert first == second


def test_a_picture_that_cannot_be_used_is_counted_and_passed_over(nodes, recording, tmp_path):
    player, executor, _ = nodes
    truncated = recording.picture(1, "rgb8")
    truncated.data = truncated.data[:100]
    bag = recording.write(
        [("/cam", recording.picture(0, "rgb8"), 0), ("/cam", truncated, 1), ("/cam", recording.picture(4, "rgb8"), 4)]
    )
    report = replay(player, executor, Parameters(bag=str(bag), output=str(tmp_path / "out")))
    assert (report["frames"], report["commands"]) == (3, 2)
    assert report["refused_images"] == {"image_truncated": 1}


def test_the_recorded_speed_goes_with_the_frame(nodes, recording):
    player, executor, _ = nodes
    odometry = recording.stamped(Odometry(), 0)
    odometry.twist.twist.linear.x = 3.0
    with Bag(recording.write([("/odom", odometry, 0), ("/cam", recording.picture(0, "rgb8"), 0)])) as bag:
        (frame,) = Lockstep(player, executor).play(bag)
    assert frame.speed == 3.0
    assert frame.command.header.stamp == frame.image.header.stamp
