"""A written video plays back with the frames that went in."""

import av
import numpy as np

from fed_vit_autorl.evaluation.video import VideoWriter


def test_frames_come_back_in_order(tmp_path):
    path = tmp_path / "drive.mp4"
    shades = [20, 90, 160, 230]
    with VideoWriter(path, frames_per_second=10) as writer:
        for shade in shades:
            writer.add(np.full((65, 97, 3), shade, np.uint8))
    with av.open(str(path)) as container:
        means = [frame.to_ndarray(format="rgb24").mean() for frame in container.decode(video=0)]
        assert (container.streams.video[0].width, container.streams.video[0].height) == (96, 64)
    np.testing.assert_allclose(means, shades, atol=3)
