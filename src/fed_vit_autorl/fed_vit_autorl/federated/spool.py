"""Updates on disk, mapped into memory: what strategies that keep updates until the end of a round read from."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .update import Layout, Update


def spool(update: Update, path: Path) -> Update:
    """Write the tensors of `update` to `path` and return the same update backed by that file, read only.

    The file is a cache of what the durable store holds: not synced, delete it after the round.
    """
    layout = Layout.of(update.tensors)
    mapped = np.memmap(path, np.float32, mode="w+", shape=(layout.size,))
    for name, view in layout.unflatten(mapped).items():
        view[...] = update.tensors[name]
    mapped.flush()
    del mapped
    return Update(layout.unflatten(np.memmap(path, np.float32, mode="r", shape=(layout.size,))), update.metadata)
