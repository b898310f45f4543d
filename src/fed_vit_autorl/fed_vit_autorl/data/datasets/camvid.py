"""CamVid: real drives with per-pixel labels; the drive's name is the natural partition."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from ..classes import SEMANTIC_CLASSES, UNLABELLED
from ..sample import CameraModel, Labels, Sample
from .base import Dataset, DatasetFault, DatasetRefused, Purpose, read_image, register

ROAD = SEMANTIC_CLASSES.index("road")
HORIZONTAL_FOV = 0.95
"""rad; about what CamVid's camera saw."""
SPLITS = {Purpose.TRAIN: ("train",), Purpose.EVALUATE: ("test", "val")}
LAYOUT = "images/*.jpg|png and labels/*.png of the same names, or folders train, val, test of these"


class CamVid(Dataset):
    """Frames of one or more folders of `LAYOUT`; labels 0 to 10 are `SEMANTIC_CLASSES`, 11 and above unlabelled."""

    def __init__(self, folders: list[Path]):
        found = [image for folder in folders for image in sorted((folder / "images").iterdir())]
        self._images = [image for image in found if image.suffix in (".jpg", ".png")]
        self.sources = [f"camvid/{image.stem.partition('_')[0]}" for image in self._images]

    def load(self, index: int) -> Sample:
        path = self._images[index]
        image = read_image(path)
        label_path = path.parent.parent / "labels" / f"{path.stem}.png"
        label = read_image(label_path, cv2.IMREAD_UNCHANGED)
        height, width = image.shape[:2]
        if label.shape != (height, width) or label.dtype != np.uint8:
            detail = f"{label_path}: {label.dtype} {label.shape}, expected uint8 {(height, width)}"
            raise DatasetRefused(DatasetFault.BAD_FILE, detail)
        semantic = np.where(label < len(SEMANTIC_CLASSES), label, UNLABELLED).astype(np.uint8)
        drivable = np.where(semantic == UNLABELLED, UNLABELLED, semantic == ROAD).astype(np.uint8)
        return Sample(
            image=image,
            camera=CameraModel.nominal(width, height, HORIZONTAL_FOV),
            labels=Labels.unknown(height, width, semantic=semantic, drivable=drivable),
            source=self.sources[index],
            domain="real",
        )


@register("camvid", LAYOUT)
def open_camvid(folder: Path, purpose: Purpose) -> CamVid:
    """`folder` itself if it holds pictures, else its own split for the purpose, else all splits that it has."""

    def holds(candidate: Path) -> bool:
        return (candidate / "images").is_dir() and (candidate / "labels").is_dir()

    splits = [entry for entry in sorted(folder.iterdir()) if holds(entry)]
    wanted = [split for split in splits if split.name in SPLITS[purpose]]
    folders = [folder] if holds(folder) else wanted or splits
    if not folders:
        raise DatasetRefused(DatasetFault.LAYOUT, f"{folder}: expected {LAYOUT}")
    return CamVid(folders)
