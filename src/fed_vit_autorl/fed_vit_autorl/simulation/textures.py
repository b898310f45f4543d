"""Pictures made in numpy for walls and ground: uint8 (H, W, 3), each tileable."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]

WALLS = {
    "plaster": (214, 196, 164),
    "brick": (156, 88, 70),
    "concrete": (160, 162, 165),
    "pastel": (186, 200, 190),
    "ochre": (205, 160, 96),
    "office": (96, 118, 138),
}


def mottled(colour: tuple[int, int, int], size: int, amount: float, rng: np.random.Generator) -> Image:
    """A colour with tileable noise of several grain sizes; `amount` in grey levels."""
    noise = np.zeros((size, size), np.float32)
    for grain in (1, 4, 16):
        cells = rng.normal(0, 1, (size // grain, size // grain)).astype(np.float32)
        wrapped = np.pad(cells, 1, mode="wrap")
        large = cv2.resize(wrapped, None, fx=grain, fy=grain, interpolation=cv2.INTER_LINEAR)
        noise += large[grain : grain + size, grain : grain + size] * amount * (0.5 if grain == 1 else 0.6)
    return np.clip(np.array(colour, np.float32) + noise[..., None], 0, 255).astype(np.uint8)


def pavement(rng: np.random.Generator) -> Image:
    """Slabs of concrete, 4 x 4 to a tile."""
    image = mottled((158, 152, 144), 256, 5, rng)
    for k in range(0, 256, 64):
        image[k : k + 2] = image[k : k + 2] * 0.78
        image[:, k : k + 2] = image[:, k : k + 2] * 0.78
    return image


def facade(style: str, rng: np.random.Generator) -> Image:
    """One window bay by one storey, repeated 4 x 4 with some variation of the panes."""
    colour = WALLS[style]
    image = mottled(colour, 256, 4, rng)
    for row in range(4):
        for column in range(4):
            x, y = 64 * column, 64 * row
            if style == "brick":
                image[y : y + 64 : 8, x : x + 64] = image[y : y + 64 : 8, x : x + 64] * 0.86
            left, right, top, bottom = (4, 60, 10, 54) if style == "office" else (18, 46, 16, 50)
            frame = tuple(int(c * 1.12) if c < 220 else 235 for c in colour)
            cv2.rectangle(image, (x + left - 3, y + top - 3), (x + right + 3, y + bottom + 3), frame, -1)
            pane = np.array((58, 74, 92)) * rng.uniform(0.7, 1.35)
            cv2.rectangle(image, (x + left, y + top), (x + right, y + bottom), pane.astype(int).tolist(), -1)
            glint = (pane * 1.35).astype(int).tolist()
            cv2.line(image, (x + left + 4, y + bottom - 6), (x + left + 14, y + top + 4), glint, 3)
            cv2.line(image, (x + (left + right) // 2, y + top), (x + (left + right) // 2, y + bottom), frame, 2)
    return np.ascontiguousarray(image[::-1])


def sky(zenith: tuple[int, int, int], horizon: tuple[int, int, int], clouds: float, rng: np.random.Generator) -> Image:
    """Six faces (6·128, 128, 3) of a cube map in MuJoCo's order (right, left, up, down, front, back)."""
    size = 128
    u, v = np.meshgrid(np.linspace(-1, 1, size), np.linspace(-1, 1, size))
    one = np.ones_like(u)
    faces = [(one, -v, -u), (-one, -v, u), (u, one, v), (u, -one, -v), (u, -v, one), (-u, -v, -one)]
    phases = rng.uniform(0, 2 * np.pi, (12, 3))
    waves = rng.normal(0, 1, (12, 3)) * np.linspace(1.5, 7, 12)[:, None]
    out = []
    for x, y, z in faces:
        length = np.sqrt(x * x + y * y + z * z)
        up = np.clip(y / length, 0, 1)
        blend = np.clip(up / 0.75, 0, 1)[..., None] ** 0.55
        colour = np.array(horizon) * (1 - blend) + np.array(zenith) * blend
        if clouds:
            scale = 1.0 / np.maximum(up, 0.08)
            flat = np.stack([x / length * scale, z / length * scale], axis=-1)
            field = sum(np.sin(flat @ waves[i, :2] + phases[i, 0]) / (1 + 0.25 * i) for i in range(len(waves)))
            cover = np.clip((field / 3.2 + clouds - 0.35) * 1.2, 0, 1) * np.clip(up / 0.15, 0, 1) * 0.8
            bright = min(255.0, 1.12 * max(horizon))
            colour = colour * (1 - cover[..., None]) + bright * cover[..., None]
        out.append(np.clip(colour, 0, 255).astype(np.uint8))
    return np.concatenate(out)
