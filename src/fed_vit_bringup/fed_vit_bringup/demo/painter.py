"""A vehicle's video, painted in a process of its own: it has the processor while nobody else wants it."""

import signal
from collections import deque
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fed_vit_autorl.deployment.processes import end_with_parent, stand_back
from fed_vit_autorl.evaluation.drawing import Overlay, draw
from fed_vit_autorl.evaluation.video import VideoWriter

BACKLOG = 64  # pictures that wait to be painted; what comes then is not in the video

_video: VideoWriter


class VideoPainter:
    """Writes pictures with their overlays to a video.

    Args:
        path: file to write, complete after ``close``.
        frames_per_second: of the video.
    """

    def __init__(self, path: Path, frames_per_second: int) -> None:
        self._process = ProcessPoolExecutor(1, get_context("spawn"), _begin, (path, frames_per_second))
        self._painted: deque[Future] = deque()

    def add(self, image: NDArray[np.uint8], overlay: Overlay) -> None:
        """Paints an RGB image (H, W, 3) when there is time for it. Raises what painting an earlier one raised."""
        while self._painted and self._painted[0].done():
            self._painted.popleft().result()
        if len(self._painted) < BACKLOG:
            self._painted.append(self._process.submit(_paint, image, overlay))

    def close(self) -> None:
        """Completes the video. Raises what painting raised."""
        for painted in self._painted:
            painted.result()
        self._process.submit(_end).result()
        self._process.shutdown()


def _begin(path: Path, frames_per_second: int) -> None:
    global _video
    end_with_parent()
    stand_back()
    for number in (signal.SIGINT, signal.SIGTERM):  # sent to the whole group; who observes completes the video
        signal.signal(number, signal.SIG_IGN)
    _video = VideoWriter(path, frames_per_second)


def _paint(image: NDArray[np.uint8], overlay: Overlay) -> None:
    _video.add(draw(image, overlay))


def _end() -> None:
    _video.close()
