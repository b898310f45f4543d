"""``replay_node``: plays a recording through the nodes of its namespace and writes report, video and page."""

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

from fed_vit_autorl.data.sample import CameraModel, base_from_optical
from fed_vit_autorl.evaluation.drawing import draw
from fed_vit_autorl.evaluation.video import VideoWriter
from fed_vit_common.conversions import camera_model, rgb_image
from fed_vit_common.node import InputRefused
from fed_vit_common.overlay import overlay_of
from fed_vit_common.parameters import declare, parameter, read
from fed_vit_sim.bag import Bag, BagRefused
from fed_vit_sim.lockstep import Frame, Lockstep, NodesSilent
from fed_vit_sim.replay_metrics import Metrics
from fed_vit_sim.replay_page import write_page

BASE_FROM_CAMERA = base_from_optical(1.2, 0.0, 1.5)  # perception's default mounting


@dataclass(frozen=True)
class Parameters:
    """Parameters of the replay node."""

    bag: str = parameter("", "rosbag2 folder or file")
    map: str = parameter("", "recorded topics by part, TOPIC:=RECORDED, separated by commas")
    output: str = parameter("out/replay", "folder for the report and the video")


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
        VideoWriter(video_path, bag.frames_per_second) as video,
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
    camera = CameraModel.nominal(frame.image.width, frame.image.height)
    if frame.camera is not None:
        with suppress(InputRefused):
            camera = camera_model(frame.camera, BASE_FROM_CAMERA)
    overlay = overlay_of(frame.scene, frame.proposal, frame.command, camera, frame.speed, title)
    video.add(draw(rgb_image(frame.image), overlay))


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
