"""One vehicle's contribution to a round, its layout, and its bytes on the wire.

Bytes: magic `FVU1`, header length (uint32, little endian), header (MessagePack), safetensors. Nothing is
allocated for tensors before the header and its bounds are checked, and no part is executable.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import msgspec
import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from .refusal import UpdateReason, UpdateRefused

Tensors = dict[str, np.ndarray]

MAGIC = b"FVU1"
FORMAT_VERSION = 1
MAX_HEADER_BYTES = 64 * 1024
_LENGTH = struct.Struct("<I")


@dataclass(frozen=True)
class UpdateMetadata:
    """Where an update comes from.

    `samples` ≥ 0 counts local training samples; `metrics` are finite: `loss`, `local_steps`, `local_lr` …
    `profile` names the sub-model that was trained, empty for the whole model.
    """

    round: int
    base_version: int
    vehicle: str
    samples: int
    metrics: dict[str, float] = field(default_factory=dict)
    profile: str = ""


@dataclass(frozen=True)
class Update:
    """`tensors`: trained minus global value of every trainable tensor, float32 by name."""

    tensors: Tensors
    metadata: UpdateMetadata


@dataclass(frozen=True)
class Layout:
    """Names and shapes of the trainable tensors, sorted by name: how they lie in one flat float32 vector."""

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, tensors: Mapping[str, np.ndarray]) -> Layout:
        if isinstance(tensors, FlatTensors):
            return tensors.layout
        names = tuple(sorted(tensors))
        return cls(names, tuple(tuple(int(side) for side in tensors[name].shape) for name in names))

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        return tuple(int(np.prod(shape, dtype=np.int64)) for shape in self.shapes)

    @cached_property
    def size(self) -> int:
        """Parameters in all."""
        return sum(self.sizes)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of names and shapes, hexadecimal."""
        return hashlib.sha256(msgspec.json.encode([self.names, self.shapes])).hexdigest()

    def flatten(self, tensors: Mapping[str, np.ndarray]) -> np.ndarray:
        """float32 (size,) copy of `tensors`; raises `UpdateRefused` when names or shapes differ."""
        if Layout.of(tensors) != self:
            raise UpdateRefused(UpdateReason.WRONG_LAYOUT, "tensors differ in name or shape from the model's")
        vector = np.empty(self.size, np.float32)
        for name, view in self.unflatten(vector).items():
            view[...] = tensors[name]
        return vector

    def unflatten(self, vector: np.ndarray) -> FlatTensors:
        """Views of `vector` (size,) by tensor name."""
        if vector.shape != (self.size,):
            raise UpdateRefused(UpdateReason.WRONG_LAYOUT, f"{vector.shape} values for a model of {self.size}")
        return FlatTensors(self, vector)

    def zeros(self) -> FlatTensors:
        """float32."""
        return self.unflatten(np.zeros(self.size, np.float32))


class FlatTensors(Tensors):
    """Tensors that lie in one `vector` as `layout` says, so that what is done to all of them is done to it at once.

    None is ever replaced by another array. A copy in another process is a plain dictionary.
    """

    def __init__(self, layout: Layout, vector: np.ndarray) -> None:
        ends = np.cumsum(layout.sizes).tolist()
        views = (vector[end - size : end] for end, size in zip(ends, layout.sizes, strict=True))
        super().__init__(
            (name, view.reshape(shape)) for name, view, shape in zip(layout.names, views, layout.shapes, strict=True)
        )
        self.layout, self.vector = layout, vector

    def __setitem__(self, name: str, tensor: np.ndarray) -> None:
        raise TypeError(f"{name} is a view; write into it")

    def __reduce__(self) -> tuple:
        return dict, (dict(self),)


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What stands before the tensors on the wire."""

    version: int
    round: int
    base_version: int
    vehicle: str
    samples: int
    metrics: dict[str, float]
    profile: str
    layout: str
    stages: list[str]

    @classmethod
    def of(cls, metadata: UpdateMetadata, layout: Layout, stages: list[str]) -> Header:
        return cls(
            FORMAT_VERSION,
            metadata.round,
            metadata.base_version,
            metadata.vehicle,
            metadata.samples,
            metadata.metrics,
            metadata.profile,
            layout.digest,
            stages,
        )

    @property
    def metadata(self) -> UpdateMetadata:
        return UpdateMetadata(self.round, self.base_version, self.vehicle, self.samples, self.metrics, self.profile)


def pack(header: Header, parts: Tensors) -> bytes:
    """Header and arrays to wire bytes."""
    head = msgspec.msgpack.encode(header)
    if len(head) > MAX_HEADER_BYTES:
        raise UpdateRefused(UpdateReason.TOO_LARGE, f"header of {len(head)} bytes, at most {MAX_HEADER_BYTES}")
    contiguous = {name: np.ascontiguousarray(part) for name, part in parts.items()}
    return b"".join((MAGIC, _LENGTH.pack(len(head)), head, safetensors.numpy.save(contiguous)))


def read_header(data: bytes) -> tuple[Header, int]:
    """Header of wire bytes and where the tensors start; raises `UpdateRefused`."""
    if data[: len(MAGIC)] != MAGIC:
        raise UpdateRefused(UpdateReason.BAD_MAGIC, "not an update")
    start = len(MAGIC) + _LENGTH.size
    if len(data) < start:
        raise UpdateRefused(UpdateReason.MALFORMED_HEADER, "truncated before the header")
    [length] = _LENGTH.unpack(data[len(MAGIC) : start])
    if length > MAX_HEADER_BYTES:
        raise UpdateRefused(UpdateReason.TOO_LARGE, f"header of {length} bytes, at most {MAX_HEADER_BYTES}")
    try:
        header = msgspec.msgpack.decode(data[start : start + length], type=Header)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UpdateRefused(UpdateReason.MALFORMED_HEADER, str(error)) from error
    if header.version != FORMAT_VERSION:
        raise UpdateRefused(UpdateReason.UNSUPPORTED_VERSION, f"version {header.version}, known: {FORMAT_VERSION}")
    if not all(0 <= number < 2**53 for number in (header.samples, header.round, header.base_version)):
        raise UpdateRefused(UpdateReason.MALFORMED_HEADER, "samples, round or version is out of range")
    if not all(np.isfinite(value) for value in header.metrics.values()):
        raise UpdateRefused(UpdateReason.NOT_FINITE, "a metric is not finite")
    return header, start + length


def unpack(data: bytes, max_bytes: int) -> tuple[Header, Tensors]:
    """Wire bytes to header and arrays; raises `UpdateRefused`. Sizes inside the arrays are the stages' to check."""
    if len(data) > max_bytes:
        raise UpdateRefused(UpdateReason.TOO_LARGE, f"{len(data)} bytes, at most {max_bytes}")
    header, start = read_header(data)
    try:
        parts = safetensors.numpy.load(bytes(data[start:]))
    except (SafetensorError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise UpdateRefused(UpdateReason.MALFORMED_TENSORS, str(error)) from error
    return header, parts
