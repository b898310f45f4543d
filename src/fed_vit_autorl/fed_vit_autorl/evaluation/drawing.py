"""What a vehicle saw and did, drawn into its camera image: for videos and reports."""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from fed_vit_autorl.data.classes import OBJECT_CLASSES
from fed_vit_autorl.data.sample import CameraModel

# RGB
CLASS_COLOURS = ((64, 156, 255), (255, 120, 80), (255, 205, 60))
FREE_COLOUR = (46, 200, 130)
LANE_COLOUR = (90, 120, 255)
PATH_COLOUR = (255, 255, 255)
PANEL_COLOUR = (14, 18, 26)
TEXT_COLOUR = (240, 244, 250)
THROTTLE_COLOUR = (70, 210, 120)
BRAKE_COLOUR = (255, 84, 84)
ALERT_COLOUR = (255, 176, 46)
PATH_WIDTH_M = 0.9
MIN_WIDTH = 640
PANEL_HEIGHT = 56


@dataclass(frozen=True)
class Overlay:
    """What to draw; everything may be left out.

    Attributes:
        boxes, classes, scores: detections, boxes (K, 4) xyxy in pixels of the image.
        free_space, lane: probabilities in [0, 1], (h, w) of any size.
        path: planned path (N, 2) in ``base_link`` [m]; drawn when ``camera`` is known.
        camera: the image's camera.
        speed: [m/s].
        steering_angle: [rad], positive left.
        throttle, brake: [0, 1].
        reason: why the shield stepped in, empty if it did not.
        title: e.g. the vehicle's name, time and model.
    """

    boxes: NDArray | None = None
    classes: NDArray | None = None
    scores: NDArray | None = None
    free_space: NDArray | None = None
    lane: NDArray | None = None
    path: NDArray | None = None
    camera: CameraModel | None = None
    speed: float | None = None
    steering_angle: float | None = None
    throttle: float = 0.0
    brake: float = 0.0
    reason: str = ""
    title: str = ""


def draw(image: NDArray[np.uint8], overlay: Overlay) -> NDArray[np.uint8]:
    """A new RGB image with the overlay and a panel of instruments below; small images are enlarged to be readable.

    Args:
        image: uint8 RGB (H, W, 3).
    """
    scale = max(1.0, MIN_WIDTH / image.shape[1])
    size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
    canvas = cv2.resize(image, size, interpolation=cv2.INTER_CUBIC) if scale > 1.0 else image.copy()
    _tint(canvas, overlay.free_space, FREE_COLOUR, 0.38)
    _tint(canvas, overlay.lane, LANE_COLOUR, 0.30)
    if overlay.path is not None and overlay.camera is not None:
        _draw_path(canvas, overlay.path, overlay.camera, scale)
    if overlay.boxes is not None:
        _draw_boxes(canvas, overlay, scale)
    if overlay.title:
        _pill(canvas, overlay.title, (10, 10), PANEL_COLOUR, TEXT_COLOUR)
    if overlay.reason:
        _pill(canvas, overlay.reason.replace("_", " "), (10, 40), ALERT_COLOUR, PANEL_COLOUR)
    return np.vstack([canvas, _panel(canvas.shape[1], overlay)])


def _tint(canvas: NDArray, mask: NDArray | None, colour: tuple[int, int, int], strength: float) -> None:
    """Colours where the mask is likely, and outlines it."""
    if mask is None:
        return
    height, width = canvas.shape[:2]
    smooth = cv2.resize(np.asarray(mask, np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    alpha = np.clip((smooth - 0.4) * 5.0, 0.0, 1.0) * np.float32(strength)
    cv2.blendLinear(np.full_like(canvas, colour), canvas, alpha, 1.0 - alpha, dst=canvas)
    contours, _ = cv2.findContours((smooth > 0.5).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    cv2.drawContours(canvas, contours, -1, colour, 1, cv2.LINE_AA)


def _draw_path(canvas: NDArray, path: NDArray, camera: CameraModel, scale: float) -> None:
    """The path as a ribbon on the road, fading with distance."""
    path = np.vstack([[0.0, 0.0], np.asarray(path, np.float64)[:, :2]])
    steps = np.diff(path, axis=0)
    length = np.maximum(np.linalg.norm(steps, axis=1, keepdims=True), 1e-6)
    normal = np.column_stack([-steps[:, 1], steps[:, 0]]) / length * PATH_WIDTH_M / 2
    normal = np.vstack([normal, normal[-1:]])
    edges = [np.column_stack([path + side * normal, np.zeros(len(path))]) for side in (1.0, -1.0)]
    (left, depth), (right, _) = (camera.project(edge) for edge in edges)
    ribbon = canvas.copy()
    for index in range(len(path) - 1):
        if min(depth[index], depth[index + 1]) < 0.5:
            continue
        corners = np.array([left[index], left[index + 1], right[index + 1], right[index]]) * scale
        if np.isfinite(corners).all() and np.abs(corners).max() < 1e5:
            cv2.fillPoly(ribbon, [np.round(corners * 8).astype(np.int32)], PATH_COLOUR, cv2.LINE_AA, shift=3)
    cv2.addWeighted(ribbon, 0.45, canvas, 0.55, 0.0, dst=canvas)


def _draw_boxes(canvas: NDArray, overlay: Overlay, scale: float) -> None:
    for box, label, score in zip(overlay.boxes, overlay.classes, overlay.scores, strict=True):
        if not np.isfinite(box).all():
            continue
        colour = CLASS_COLOURS[int(label) % len(CLASS_COLOURS)]
        x_min, y_min, x_max, y_max = (int(np.clip(round(value * scale), -9999, 9999)) for value in box)
        cv2.rectangle(canvas, (x_min, y_min), (x_max, y_max), colour, 2, cv2.LINE_AA)
        name = OBJECT_CLASSES[int(label)] if int(label) < len(OBJECT_CLASSES) else "object"
        _pill(canvas, f"{name} {100 * score:.0f}%", (x_min, y_min - 22), colour, PANEL_COLOUR, size=13)


def _panel(width: int, overlay: Overlay) -> NDArray[np.uint8]:
    """Speed, steering wheel and pedals."""
    panel = np.full((PANEL_HEIGHT, width, 3), PANEL_COLOUR, np.uint8)
    speed = "-" if overlay.speed is None else f"{overlay.speed * 3.6:.0f}"
    number = _text(panel, speed, (18, 8), TEXT_COLOUR, 32)
    _text(panel, "km/h", (24 + number, 26), (150, 160, 176), 14)
    _draw_steering(panel, (width // 2, PANEL_HEIGHT // 2), overlay.steering_angle)
    for row, (name, value, colour) in enumerate(
        (("throttle", overlay.throttle, THROTTLE_COLOUR), ("brake", overlay.brake, BRAKE_COLOUR))
    ):
        _bar(panel, (width - 190, 12 + 20 * row), name, value, colour)
    return panel


def _draw_steering(panel: NDArray, centre: tuple[int, int], angle: float | None) -> None:
    """A steering wheel turned four times as far as the road wheels, and the angle in degrees."""
    wheel = (centre[0] - 30, centre[1])
    turn = 0.0 if angle is None else -4.0 * angle
    cv2.circle(panel, wheel, 20, TEXT_COLOUR, 3, cv2.LINE_AA)
    for spoke in (0.0, np.pi, np.pi / 2):
        tip = (round(wheel[0] + 19 * np.cos(spoke + turn)), round(wheel[1] + 19 * np.sin(spoke + turn)))
        cv2.line(panel, wheel, tip, TEXT_COLOUR, 3, cv2.LINE_AA)
    text = "-" if angle is None else f"{np.degrees(angle):+.1f}°"
    _text(panel, text, (centre[0], centre[1] - 10), TEXT_COLOUR, 18)


def _bar(panel: NDArray, corner: tuple[int, int], name: str, value: float, colour: tuple[int, int, int]) -> None:
    x, y = corner
    _text(panel, name, (x, y - 3), (150, 160, 176), 13)
    start, length = x + 62, 110
    cv2.rectangle(panel, (start, y), (start + length, y + 10), (48, 54, 66), -1)
    cv2.rectangle(panel, (start, y), (start + round(length * float(np.clip(value, 0.0, 1.0))), y + 10), colour, -1)


def _pill(canvas: NDArray, text: str, corner: tuple[int, int], fill: tuple, colour: tuple, size: int = 15) -> None:
    """Text on a rounded plate; the corner is moved so that the plate stays inside the image."""
    mask = _glyphs(text, size)
    width, height = mask.shape[1] + 14, 22
    x = int(np.clip(corner[0], 0, max(canvas.shape[1] - width, 0)))
    y = int(np.clip(corner[1], 0, max(canvas.shape[0] - height, 0)))
    area = canvas[y : y + height, x : x + width]
    plate = area.copy()
    radius = height // 2
    cv2.rectangle(plate, (radius, 0), (area.shape[1] - radius - 1, height), fill, -1)
    for middle in (radius, area.shape[1] - radius - 1):
        cv2.circle(plate, (middle, radius), radius, fill, -1, cv2.LINE_AA)
    cv2.addWeighted(plate, 0.85, area, 0.15, 0.0, dst=area)
    _text(canvas, text, (x + 7, y + (height - mask.shape[0]) // 2), colour, size)


def _text(canvas: NDArray, text: str, corner: tuple[int, int], colour: tuple[int, int, int], size: int) -> int:
    """Writes text with its upper left corner there; returns its width [px]."""
    mask = _glyphs(text, size)
    x, y = corner
    area = canvas[max(y, 0) : y + mask.shape[0], x : x + mask.shape[1]]
    alpha = mask[: area.shape[0], : area.shape[1], None]
    area[:] = (area * (1.0 - alpha) + np.array(colour, np.float32) * alpha).astype(np.uint8)
    return mask.shape[1]


@lru_cache(maxsize=1024)
def _glyphs(text: str, size: int) -> NDArray[np.float32]:
    """Coverage in [0, 1] of the text's pixels."""
    font = ImageFont.load_default(size)
    _, _, right, bottom = font.getbbox(text)
    picture = Image.new("L", (int(right) + 1, int(bottom) + 3))
    ImageDraw.Draw(picture).text((0, 0), text, fill=255, font=font)
    return np.asarray(picture, np.float32) / 255.0
