"""Engines and lighter forms of models that were made before, kept under everything that decides what they are."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from fed_vit_autorl.cache import cache_folder
from fed_vit_autorl.files import write_file

MAX_ENGINE_BYTES = 4 << 30
KEPT = 32


@dataclass(frozen=True)
class EngineKey:
    """What an engine is made of and for; any difference makes it another engine.

    graph, weights, calibration: SHA-256, hex; calibration empty without one. builder: name and version of what builds
    it. device: the GPU's name and compute capability. precision: profile of the graph. shapes: of the inputs.
    """

    graph: str
    weights: str
    builder: str
    device: str
    precision: str
    shapes: dict[str, tuple[int, ...]]
    calibration: str = ""

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of all fields."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


class EngineCache:
    """A folder with one file per engine, whose first 32 bytes are the SHA-256 of the rest; the 32 last used stay."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = (folder or cache_folder("engines")).expanduser()

    def get(self, key: EngineKey) -> bytes | None:
        """The engine, or None when there is none or its file can't be read or is damaged."""
        try:
            with open(self._path(key), "rb") as stream:
                content = stream.read(MAX_ENGINE_BYTES)
        except OSError:
            return None
        with suppress(OSError):  # a folder that came with the machine's image may be read-only
            os.utime(self._path(key))
        engine = content[32:]
        return engine if hashlib.sha256(engine).digest() == content[:32] else None

    def put(self, key: EngineKey, engine: bytes) -> None:
        """Keep the engine; the file appears whole or not at all. Raises OSError."""
        write_file(self._path(key), hashlib.sha256(engine).digest() + engine)
        by_use = sorted(self.folder.glob("*.engine"), key=lambda path: path.stat().st_mtime_ns)
        for path in by_use[:-KEPT]:
            path.unlink(missing_ok=True)

    def _path(self, key: EngineKey) -> Path:
        return self.folder / f"{key.digest}.engine"


def digest_of(weights: Mapping[str, np.ndarray]) -> str:
    """SHA-256 (hex) of named tensors: names, types, shapes and values."""
    found = hashlib.sha256()
    for name in sorted(weights):
        tensor = np.ascontiguousarray(weights[name])
        found.update(f"{name} {tensor.dtype} {tensor.shape}\n".encode())
        found.update(tensor.data)
    return found.hexdigest()
