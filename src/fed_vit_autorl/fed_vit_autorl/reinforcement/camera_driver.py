"""Steering and throttle from a single camera picture, learned from a human who drove."""

import json
from pathlib import Path

import cv2
import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

HEIGHT, WIDTH = 120, 160
FORMAT = "fedvit-camera-driver-1"


class CameraDriver(nn.Module):
    """A small convolutional network: RGB picture → steering in [-1, 1] (positive left, of the full lock), throttle.

    Five convolutions and two linear layers, as PilotNet (Bojarski et al. 2016), with batch normalisation and dropout.
    """

    def __init__(self) -> None:
        super().__init__()
        plan = ((3, 24, 5, 2), (24, 32, 3, 2), (32, 48, 3, 2), (48, 64, 3, 2), (64, 64, 3, 1))
        layers: list[nn.Module] = []
        for inside, outside, kernel, stride in plan:
            layers += [nn.Conv2d(inside, outside, kernel, stride, kernel // 2), nn.BatchNorm2d(outside), nn.ReLU()]
        self.eye = nn.Sequential(*layers, nn.Flatten())
        self.hands = nn.Sequential(
            nn.Dropout(0.4), nn.Linear(64 * 8 * 10, 96), nn.ReLU(), nn.Dropout(0.3), nn.Linear(96, 2)
        )

    def forward(self, image: Tensor) -> Tensor:
        """(B, 2) steering and throttle of pictures (B, 3, 120, 160) in [0, 1]."""
        return self.hands(self.eye(image - 0.45))

    @torch.no_grad()
    def act(self, image: np.ndarray) -> tuple[float, float]:
        """(steering in [-1, 1] positive left, throttle in [0, 1]) for an image uint8 (H, W, 3) RGB of any size."""
        self.eval()
        steering, throttle = self(prepare(image)[None].float() / 255.0)[0].tolist()
        return min(max(steering, -1.0), 1.0), min(max(throttle, 0.0), 1.0)

    def save(self, path: Path) -> None:
        """Write the weights as one safetensors file."""
        safetensors.torch.save_file(
            self.state_dict(), path, {"format": FORMAT, "outputs": json.dumps(["steering", "throttle"])}
        )

    @classmethod
    def load(cls, path: Path) -> "CameraDriver":
        """The driver in a file that `save` made. Raises ValueError for another file, OSError where there is none."""
        try:
            with safetensors.safe_open(path, "pt") as file:
                if (file.metadata() or {}).get("format") != FORMAT:
                    raise ValueError(f"{path} holds no camera driver")
            driver = cls()
            driver.load_state_dict(safetensors.torch.load_file(path))
        except (safetensors.SafetensorError, RuntimeError) as error:
            raise ValueError(f"{path} holds no camera driver: {error}") from error
        return driver.eval()


def prepare(image: np.ndarray) -> Tensor:
    """An image uint8 (H, W, 3) RGB as the network's picture, uint8 (3, 120, 160)."""
    if image.shape[:2] != (HEIGHT, WIDTH):
        image = cv2.resize(image, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
