"""``replay_node``: plays a recording through the nodes of its namespace and writes report, video and page."""

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

from fed_vit_autorl.data.sample import CameraModel
from fed_vit_autorl.evaluation.drawing import Overlay, draw
from fed_vit_autorl.evaluation.video import VideoWriter
from fed_vit_common.conversions import path_array, rgb_image
from fed_vit_common.parameters import declare, parameter, read
from fed_vit_sim.bag import Bag, BagRefused
from fed_vit_sim.lockstep import Frame, Lockstep, NodesSilent
from fed_vit_sim.replay_metrics import Metrics
from fed_vit_sim.replay_page import write_page

VIDEO_RATE = 20


@dataclass(frozen=True)
class Parameters:
    """Parameters of the replay node."""

    bag: str = parameter("", "rosbag2 folder or file")
    map: str = parameter("", "recorded topics by part, TOPIC:=RECORDED, separated by commas")
    output: str = parameter("out/replay", "folder for the report and the video")


def overlay_of(frame: Frame, title: str) -> Overlay:
    """What there is to draw into a frame."""
    scene, proposal, command = frame.scene, frame.proposal, frame.command
    objects = scene.objects if scene else []
    mask = None
    if scene and scene.mask_width * scene.mask_height:
        mask = np.frombuffer(scene.free_space, np.uint8).reshape(scene.mask_height, scene.mask_width) / 255.0
    return Overlay(
        boxes=np.array([(item.x_min, item.y_min, item.x_max, item.y_max) for item in objects]).reshape(-1, 4),
        classes=np.array([item.class_id for item in objects], int),
        scores=np.array([item.score for item in objects]),
        free_space=mask,
        path=path_array(proposal.path) if proposal and not proposal.reason else None,
        camera=CameraModel.nominal(frame.image.width, frame.image.height),
        speed=frame.speed,
        steering_angle=command.steering_angle if command else None,
        throttle=command.throttle if command else 0.0,
        brake=command.brake if command else 0.0,
        reason=command.reason.partition(",")[0] if command else "no_command",
        title=title,
    )


def replay(node: Node, executor: SingleThreadedExecutor, parameters: Parameters) -> dict:
    """Plays the recording and writes everything below the output folder; returns the report.

    Raises:
        BagRefused: the recording can't be played.
        NodesSilent: the nodes under test are not there.
    """
    output = Path(parameters.output)
    output.mkdir(parents=True, exist_ok=True)
    mapping = dict(pair.split(":=", 1) for pair in filter(None, parameters.map.split(",")))
    metrics = Metrics()
    started = time.monotonic()
    video_path = output / "replay.mp4"
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    with (
        Bag(Path(parameters.bag), mapping) as bag,
        VideoWriter(video_path, VIDEO_RATE) as video,
        ThreadPoolExecutor(1) as painter,
        Progress(*columns, console=Console(stderr=True)) as progress,
    ):
        task = progress.add_task("replay", total=bag.frames)
        first = None
        painted = painter.submit(lambda: None)
        for frame in Lockstep(node, executor).play(bag):
            metrics.add(frame)
            if frame.image is not None:
                first = frame.stamp_ns if first is None else first
                title = f"{Path(parameters.bag).stem}  {(frame.stamp_ns - first) * 1e-9:.1f} s"
                painted.result()  # one picture is painted while the nodes answer the next, never more
                painted = painter.submit(_paint, video, frame, title)
            progress.advance(task)
        painted.result()
        topics, missing = dict(bag.topics), list(bag.missing)
    report = {
        "bag": str(parameters.bag),
        **metrics.report(),
        "topics": topics,
        "missing_inputs": missing,
        "video": str(video_path) if video.frames else None,
        "wall_s": round(time.monotonic() - started, 1),
    }
    (output / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    write_page(output / "report.html", report, metrics.rows)
    return report


def _paint(video: VideoWriter, frame: Frame, title: str) -> None:
    video.add(draw(rgb_image(frame.image), overlay_of(frame, title)))


def main() -> None:
    """Runs the node to the end of the recording."""
    rclpy.init()
    node = Node("replay")
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        declare(node, Parameters)
        replay(node, executor, read(node, Parameters))
    except (BagRefused, NodesSilent, ValueError) as error:
        print(f"replay: {error}", file=sys.stderr)
        sys.exit(2)
    except (KeyboardInterrupt, rclpy.executors.ExternalShutdownException):
        sys.exit(130)
    finally:
        node.destroy_node()
        rclpy.try_shutdown()
