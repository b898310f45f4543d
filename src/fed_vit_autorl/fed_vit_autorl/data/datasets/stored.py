"""Samples that a vehicle or the simulator has stored."""

from __future__ import annotations

from pathlib import Path

from ..sample import Sample
from ..store import Key, SampleFolder
from .base import Dataset, DatasetFault, DatasetRefused, Purpose, register

LAYOUT = "*.sample files of an experience store"


class Stored(Dataset):
    """The given keys of a store that nobody writes to meanwhile."""

    def __init__(self, folder: SampleFolder, keys: list[Key]):
        headers = ((key, folder.header(key)) for key in keys)
        readable = [(key, header) for key, header in headers if header is not None]
        self._folder, self._keys = folder, [key for key, _ in readable]
        self.sources = [header.source for _, header in readable]

    def load(self, index: int) -> Sample:
        sample = self._folder.get(self._keys[index])
        if sample is None:
            raise DatasetRefused(DatasetFault.BAD_FILE, f"{self._folder.folder / self._keys[index].file_name}")
        return sample


@register("store", LAYOUT)
def open_stored(folder: Path, purpose: Purpose) -> Stored:
    """The store's training part, or what it holds out; everything of a store too small to be split."""
    samples = SampleFolder(folder)
    train, held = samples.split()
    return Stored(samples, (train if purpose is Purpose.TRAIN else held) or samples.keys())
