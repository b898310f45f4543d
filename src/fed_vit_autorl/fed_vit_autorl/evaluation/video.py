"""Videos of runs, written frame by frame."""

from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import numpy as np
from numpy.typing import NDArray

MAX_BIT_RATE = "400k"  # rain does not compress: a page has to hold minutes of it


class VideoWriter:
    """An H.264 MP4 file that browsers play; the first frame decides its size.

    Args:
        path: file to write.
        frames_per_second: of the video.

    The file is complete after ``close``, or at the end of a ``with`` block.
    """

    def __init__(self, path: Path, frames_per_second: int) -> None:
        self.path = path
        self.frames = 0
        self._rate = frames_per_second
        self._container: av.container.OutputContainer | None = None
        self._stream: av.VideoStream | None = None

    def add(self, image: NDArray[np.uint8]) -> None:
        """Appends an RGB image (H, W, 3); odd sizes lose their last row or column, which H.264 can't hold."""
        height, width = image.shape[0] // 2 * 2, image.shape[1] // 2 * 2
        if self._container is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # Fragments are readable even if the process is killed before the file is closed.
            self._container = av.open(
                str(self.path), "w", options={"movflags": "frag_keyframe+empty_moov+default_base_moof"}
            )
            self._stream = self._container.add_stream("libx264", rate=Fraction(self._rate))
            self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"
            self._stream.options = {
                "preset": "veryfast",
                "crf": "30",
                "maxrate": MAX_BIT_RATE,
                "bufsize": MAX_BIT_RATE,
                "threads": "1",
                "g": str(self._rate * 2),
            }
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image[:height, :width]), format="rgb24")
        self._container.mux(self._stream.encode(frame))
        self.frames += 1

    def close(self) -> None:
        """Writes what is still in the encoder and completes the file."""
        if self._container is not None:
            self._container.mux(self._stream.encode())
            self._container.close()
            self._container = None

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
