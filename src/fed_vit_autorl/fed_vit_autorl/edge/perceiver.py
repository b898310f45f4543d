"""From a camera image to what a perception model sees in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from fed_vit_autorl.data.classes import MASKS
from fed_vit_autorl.data.lidar import padded
from fed_vit_autorl.models.detection import Detections, decode

from .runtime import ModelRuntime

NO_POINTS = np.zeros((0, 4), np.float32)


@dataclass(frozen=True, eq=False)
class Seen:
    """What one image shows.

    detections: boxes in pixels of the image. masks: probabilities float32 (h, w) by name, at a quarter of the model's
    input. semantic: logits (C, h, w). features (D,). confidence: how decided the free-space mask is, mean |2 p - 1|.
    """

    detections: Detections
    masks: Mapping[str, np.ndarray]
    semantic: np.ndarray
    features: np.ndarray
    confidence: float


class Perceiver:
    """A perception model behind a runtime, for images of any size; they are stretched to the model's input.

    A model with LiDAR gets the points too, or is told that there are none. `score_threshold`: objects below it are not
    reported. Not for use by two threads at once.
    """

    def __init__(self, runtime: ModelRuntime, score_threshold: float = 0.3) -> None:
        self.runtime, self.score_threshold = runtime, score_threshold
        self._tensor = np.empty(runtime.input_shapes["image"], np.float32)

    def __call__(self, image: np.ndarray, points: np.ndarray | None = None) -> Seen:
        """See an image uint8 (H, W, 3) RGB and points float32 (N, 4) x, y, z [m] in `base_link`, intensity."""
        height, width = self._tensor.shape[2:]
        small = image
        if image.shape[:2] != (height, width):
            shrinks = image.shape[0] >= height and image.shape[1] >= width
            small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
        np.multiply(small.transpose(2, 0, 1), np.float32(1 / 255), out=self._tensor[0])
        inputs = {"image": self._tensor}
        if "points" in self.runtime.input_shapes:
            count = self.runtime.input_shapes["points"][1]
            inputs["points"] = padded(NO_POINTS if points is None else points, count)[None]
        outputs = self.runtime.run(inputs)
        detections = decode(outputs, self.score_threshold)
        masks = {name: outputs[name][0, 0] for name in MASKS}
        return Seen(
            detections.scaled(image.shape[1] / width, image.shape[0] / height),
            masks,
            outputs["semantic"][0],
            outputs["features"][0],
            float(np.abs(2 * masks["free_space"] - 1).mean()),
        )
