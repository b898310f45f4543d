"""Updates on disk, mapped into memory: what strategies that keep updates until the end of a round read from."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from ..update import Layout, Update


class Spool:
    """A folder for the updates of one round, emptied when it is entered and removed when it is left.

    It is a cache of what the durable store holds: not synced.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> Spool:
        shutil.rmtree(self._folder, ignore_errors=True)  # what a crash left behind
        self._folder.mkdir(parents=True)
        self._kept = 0
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._folder)

    def keep(self, update: Update) -> Update:
        """The same update, read only and backed by a file. Raises OSError when the disk is full: written, not mapped,
        for a mapping that finds no room ends the process.
        """
        layout = Layout.of(update.tensors)
        path, self._kept = self._folder / f"{self._kept}.f32", self._kept + 1
        path.write_bytes(layout.flatten(update.tensors).data)
        return Update(layout.unflatten(np.memmap(path, np.float32, mode="r", shape=(layout.size,))), update.metadata)
