"""The interface of datasets and the table of their kinds."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from fed_vit_autorl.refusal import Refused

from ..sample import Sample


class DatasetFault(StrEnum):
    """Why a dataset, or a file of it, is refused."""

    UNKNOWN_KIND = "unknown_dataset_kind"
    NO_FOLDER = "dataset_folder_missing"
    LAYOUT = "dataset_layout"
    BAD_FILE = "dataset_bad_file"


class DatasetRefused(Refused):
    """A dataset that can't be used; `reason` is the code, the message says what is expected."""


class Dataset(Sequence[Sample]):
    """Labelled samples that are loaded when they are asked for.

    `sources` (one entry per sample) names the drive or vehicle of each without loading it: the natural partition.
    """

    sources: list[str]

    def __len__(self) -> int:
        return len(self.sources)

    @abstractmethod
    def load(self, index: int) -> Sample:
        """The sample at 0 ≤ index < len. Raises `DatasetRefused` for a broken file."""

    def __getitem__(self, index):
        if isinstance(index, slice):
            return Subset(self, range(len(self))[index])
        return self.load(range(len(self))[index])


class Subset(Dataset):
    """Some samples of another dataset."""

    def __init__(self, whole: Dataset, indices: Sequence[int]):
        self._whole, self._indices = whole, [int(index) for index in indices]
        self.sources = [whole.sources[index] for index in self._indices]

    def load(self, index: int) -> Sample:
        return self._whole.load(self._indices[index])


class Purpose(StrEnum):
    """What samples are wanted for, where a dataset comes with a split of its own."""

    TRAIN = "train"
    EVALUATE = "evaluate"


Opener = Callable[[Path, Purpose], Dataset]


class Kind(NamedTuple):
    """A kind of dataset: how it is opened, and the layout it expects in words."""

    open: Opener
    layout: str


KINDS: dict[str, Kind] = {}


def register(name: str, layout: str) -> Callable[[Opener], Opener]:
    """Decorator: makes a kind of dataset available to `open_dataset`."""

    def add(opener: Opener) -> Opener:
        KINDS[name] = Kind(opener, layout)
        return opener

    return add


def open_dataset(spec: str, purpose: Purpose = Purpose.EVALUATE) -> Dataset:
    """The dataset that `spec`, "kind:folder", names. Raises `DatasetRefused`."""
    kind, separator, folder = spec.partition(":")
    if not separator or kind not in KINDS:
        known = "; ".join(f"{name}:DIR with {entry.layout}" for name, entry in sorted(KINDS.items()))
        raise DatasetRefused(DatasetFault.UNKNOWN_KIND, f"{spec!r}; known: {known}")
    if not Path(folder).is_dir():
        raise DatasetRefused(DatasetFault.NO_FOLDER, f"{folder!r} is not a folder")
    dataset = KINDS[kind].open(Path(folder), purpose)
    if not len(dataset):
        raise DatasetRefused(DatasetFault.LAYOUT, f"{folder} holds no samples; {kind} expects {KINDS[kind].layout}")
    return dataset


def read_image(path: Path, flags: int = cv2.IMREAD_COLOR) -> NDArray[np.uint8]:
    """The picture in `path`, RGB (H, W, 3) or, with IMREAD_UNCHANGED, as it is. Raises `DatasetRefused`."""
    image = cv2.imread(str(path), flags)
    if image is None:
        raise DatasetRefused(DatasetFault.BAD_FILE, f"{path} is missing or not a picture")
    return np.ascontiguousarray(image[..., ::-1]) if flags == cv2.IMREAD_COLOR else image
