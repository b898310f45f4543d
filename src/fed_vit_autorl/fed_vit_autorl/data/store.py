"""Samples on disk: a folder with one file a sample, bounded in bytes, safe against crashes and a full disk."""

from __future__ import annotations

import errno
import os
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple, TypeVar

from ..files import write_file
from .codec import MAX_SAMPLE_BYTES, CorruptSample, Header, decode, decode_header, encode
from .sample import EgoState, Sample

SUFFIX = ".sample"
Decoded = TypeVar("Decoded")
BLOCK = 16
"""Consecutive samples that fall on the same side of the split, so that near-twins do not sit on both."""


class StoreFault(StrEnum):
    """Why a sample was not kept, or could not be read."""

    DISK_FULL = "disk_full"
    WRITE_FAILED = "write_failed"
    TOO_LARGE = "too_large"
    LESS_WORTH = "less_worth"
    CORRUPT = "corrupt"
    EVICTED = "evicted"


class Key(NamedTuple):
    """Names a stored sample: worth 0…999 and when it came; sorted, the first is the first to be evicted."""

    worth: int
    sequence: int

    @property
    def file_name(self) -> str:
        return f"{self.sequence:012d}-{self.worth:03d}{SUFFIX}"

    @classmethod
    def parse(cls, file_name: str) -> Key | None:
        sequence, _, worth = file_name.removesuffix(SUFFIX).partition("-")
        if not (file_name.endswith(SUFFIX) and sequence.isdecimal() and worth.isdecimal()):
            return None
        return cls(int(worth), int(sequence))


class SampleFolder:
    """The readable side of a store; another process may be writing to it meanwhile.

    `faults` counts what could not be read, by `StoreFault`. Raises `FileNotFoundError` if there is no such folder.
    """

    def __init__(self, folder: Path | str):
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise FileNotFoundError(f"{self.folder} is not a folder of samples")
        self.faults: Counter[StoreFault] = Counter()

    def keys(self) -> list[Key]:
        """What is stored now, in the order in which it came."""
        found = (Key.parse(entry.name) for entry in os.scandir(self.folder))
        return sorted((key for key in found if key), key=lambda key: key.sequence)

    def __len__(self) -> int:
        return len(self.keys())

    def __iter__(self) -> Iterator[Sample]:
        return self.read(self.keys())

    def read(self, keys: list[Key]) -> Iterator[Sample]:
        """The samples of these keys; those evicted meanwhile or damaged are counted and left out."""
        for key in keys:
            sample = self.get(key)
            if sample is not None:
                yield sample

    def get(self, key: Key) -> Sample | None:
        """The sample, or None with the reason counted in `faults`."""
        return self._decoded(key, decode)

    def header(self, key: Key) -> Header | None:
        """The sample's header, without decoding its images, or None with the reason counted in `faults`."""
        return self._decoded(key, decode_header)

    def egos(self) -> list[tuple[str, EgoState]]:
        """(source, ego state) of every sample that has one: the driven tracks."""
        headers = (self.header(key) for key in self.keys())
        return [(header.source, header.ego) for header in headers if header and header.ego]

    def split(self, held_out: float = 0.2) -> tuple[list[Key], list[Key]]:
        """Keys to train on and keys held out; a sample stays on its side for as long as it lives."""
        train: list[Key] = []
        held: list[Key] = []
        for key in self.keys():
            draw = zlib.crc32((key.sequence // BLOCK).to_bytes(8, "big")) / 2**32
            (held if draw < held_out else train).append(key)
        return train, held

    def _decoded(self, key: Key, decoder: Callable[[bytes], Decoded]) -> Decoded | None:
        try:
            with open(self.folder / key.file_name, "rb") as file:
                return decoder(file.read(MAX_SAMPLE_BYTES + 1))
        except FileNotFoundError:
            self.faults[StoreFault.EVICTED] += 1
        except CorruptSample:
            self.faults[StoreFault.CORRUPT] += 1
        return None


class ExperienceStore(SampleFolder):
    """A bounded store with one writer. Makes the folder; clears away what a crash left half written.

    When `capacity_bytes` are used up the sample of least worth is evicted, the oldest first among equals.
    """

    def __init__(self, folder: Path | str, capacity_bytes: int = 2 << 30):
        Path(folder).mkdir(parents=True, exist_ok=True)
        super().__init__(folder)
        self.capacity_bytes = capacity_bytes
        for path in self.folder.glob("*.tmp"):
            path.unlink()
        self._sizes = {key: (self.folder / key.file_name).stat().st_size for key in self.keys()}
        self._next = max((key.sequence for key in self._sizes), default=-1) + 1

    @property
    def used_bytes(self) -> int:
        return sum(self._sizes.values())

    def add(self, sample: Sample, worth: float = 0.5) -> StoreFault | None:
        """Keeps the sample; `worth` in [0, 1] decides how long. Returns why it was not kept, or None. Never raises on a
        full or broken disk: the vehicle drives on.
        """
        fault = self._add(encode(sample), Key(round(999 * min(max(worth, 0.0), 1.0)), self._next))
        if fault is not None:
            self.faults[fault] += 1
        return fault

    def _add(self, data: bytes, key: Key) -> StoreFault | None:
        if len(data) > min(self.capacity_bytes, MAX_SAMPLE_BYTES):
            return StoreFault.TOO_LARGE
        room = self.capacity_bytes - self.used_bytes - len(data)
        leaving = []
        for candidate in sorted(self._sizes):
            if room >= 0:
                break
            if candidate.worth > key.worth:
                return StoreFault.LESS_WORTH
            leaving.append(candidate)
            room += self._sizes[candidate]
        try:
            for candidate in leaving:
                (self.folder / candidate.file_name).unlink(missing_ok=True)
                del self._sizes[candidate]
            write_file(self.folder / key.file_name, data)
        except OSError as error:
            return StoreFault.DISK_FULL if error.errno in (errno.ENOSPC, errno.EDQUOT) else StoreFault.WRITE_FAILED
        self._sizes[key] = len(data)
        self._next += 1
        return None
