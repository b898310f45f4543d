"""The model release: a folder of files, a canonical manifest of their digests, an Ed25519 signature over it.

Layout: `manifest.json`, `manifest.sig` (64 raw bytes), per model `<model>.onnx` (graph) and
`<model>.safetensors` (weights), `golden.safetensors` (see `pack_golden`), `MODEL_CARD.md`. Only files that the
manifest names are ever read.
Signing is domain-separated: the signature is over b"fedvit-release-v1\\n" + the bytes of `manifest.json`.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

import msgspec
import numpy as np
import safetensors.numpy
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from fed_vit_autorl.files import sync
from fed_vit_autorl.refusal import Refused

MANIFEST, SIGNATURE, GOLDEN, CARD = "manifest.json", "manifest.sig", "golden.safetensors", "MODEL_CARD.md"
MAX_MANIFEST_BYTES = 256 * 1024
MAX_FILE_BYTES = 2 * 1024**3
_DOMAIN = b"fedvit-release-v1\n"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")


class Reason(StrEnum):
    """Why a release is refused."""

    BAD_MANIFEST = "bad_manifest"
    BAD_SIGNATURE = "bad_signature"
    BAD_DIGEST = "bad_digest"
    MISSING_FILE = "missing_file"
    OVERSIZED_FILE = "oversized_file"
    VERSION_NOT_NEWER = "version_not_newer"
    BAD_WEIGHTS = "bad_weights"
    BAD_GRAPH = "bad_graph"
    BAD_INPUTS = "bad_inputs"
    BAD_OUTPUTS = "bad_outputs"
    GOLDEN_MISMATCH = "golden_mismatch"
    WORSE_IN_SHADOW = "worse_in_shadow"
    METADATA_EXPIRED = "metadata_expired"
    METADATA_ROLLED_BACK = "metadata_rolled_back"
    METADATA_UNSIGNED = "metadata_unsigned"
    METADATA_MALFORMED = "metadata_malformed"


class ReleaseRefused(Refused):
    """A release that must not be used; `reason` is the code, `detail` says what was found."""


class FileEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """SHA-256 (hex) and size in bytes of one file."""

    sha256: str
    size: int


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a release is.

    version: positive, monotonic over the life of a fleet; a rollback is a new version with old files.
    parent: `digest` of the parent, empty for a first release. round: federated round that made it, 0 for
    pre-training. architecture: per model what built its graph, for whoever trains it further. configuration: SHA-256
    of the training configuration. metrics: flat names to figures. created: UTC, ISO 8601.
    """

    format: int = 1
    version: int
    parent: str = ""
    round: int = 0
    architecture: dict[str, dict[str, str | int | float | bool | list]]
    files: dict[str, FileEntry]
    metrics: dict[str, float] = {}
    configuration: str = ""
    created: str

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the canonical manifest: the identity of the release."""
        return hashlib.sha256(encode_manifest(self)).hexdigest()

    @property
    def model_id(self) -> str:
        """Short name for messages and logs: version and the first eight digits of the digest."""
        return f"{self.version}-{self.digest[:8]}"


def encode_manifest(manifest: Manifest) -> bytes:
    """Canonical JSON: keys sorted, no white space."""
    return msgspec.json.encode(manifest, order="sorted")


def write_release(
    folder: Path,
    files: Mapping[str, bytes | Path],
    key: Ed25519PrivateKey,
    *,
    version: int,
    architecture: Mapping[str, Mapping],
    parent: str = "",
    round: int = 0,
    metrics: Mapping[str, float] | None = None,
    configuration: str = "",
    created: datetime | None = None,
) -> Manifest:
    """Write and sign a release at `folder`, all or nothing (it appears by a rename); `files` holds bytes or paths to
    copy.

    Raises FileExistsError when `folder` exists, ValueError for a file name that a release can't hold.
    """
    folder = Path(folder)
    if folder.exists():
        raise FileExistsError(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        for name, content in files.items():
            if not _NAME.fullmatch(name) or name in (MANIFEST, SIGNATURE):
                raise ValueError(f"a release can't hold a file named {name!r}")
            if isinstance(content, Path):
                shutil.copyfile(content, building / name)
            else:
                (building / name).write_bytes(content)
        manifest = Manifest(
            version=version,
            parent=parent,
            round=round,
            configuration=configuration,
            metrics=dict(metrics or {}),
            architecture={model: dict(entry) for model, entry in architecture.items()},
            files={name: _entry(building / name) for name in files},
            created=(created or datetime.now(UTC)).isoformat(timespec="seconds"),
        )
        encoded = encode_manifest(manifest)
        (building / MANIFEST).write_bytes(encoded)
        (building / SIGNATURE).write_bytes(key.sign(_DOMAIN + encoded))
        for path in (*building.iterdir(), building):
            sync(path)
        building.chmod(0o755)
        building.rename(folder)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise
    sync(folder.parent)
    return manifest


def read_manifest(folder: Path, public_keys: Iterable[Ed25519PublicKey]) -> Manifest:
    """The manifest, once one of `public_keys` has verified its signature. Raises ReleaseRefused."""
    encoded = _read(Path(folder) / MANIFEST, MAX_MANIFEST_BYTES)
    signature = _read(Path(folder) / SIGNATURE, 64)
    if not any(_verifies(key, signature, encoded) for key in public_keys):
        raise ReleaseRefused(Reason.BAD_SIGNATURE, "no trusted key signed this manifest")
    return decode_manifest(encoded)


def decode_manifest(encoded: bytes) -> Manifest:
    """The manifest of canonical JSON whose signature has been checked. Raises ReleaseRefused(bad_manifest)."""
    try:
        manifest = msgspec.json.decode(encoded, type=Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ReleaseRefused(Reason.BAD_MANIFEST, str(error)) from error
    if manifest.format != 1 or manifest.version < 1 or encode_manifest(manifest) != encoded:
        raise ReleaseRefused(Reason.BAD_MANIFEST, "unknown format, version below 1, or not canonical JSON")
    for name, entry in manifest.files.items():
        if not _NAME.fullmatch(name) or entry.size < 0:
            raise ReleaseRefused(Reason.BAD_MANIFEST, f"impossible file entry {name!r}")
    return manifest


def verify(folder: Path, public_keys: Iterable[Ed25519PublicKey], max_file_bytes: int = MAX_FILE_BYTES) -> Manifest:
    """Check signature, sizes and digests of every file that the manifest names, in constant memory.

    Raises ReleaseRefused.
    """
    manifest = read_manifest(folder, public_keys)
    for name, entry in manifest.files.items():
        path = Path(folder) / name
        _check_size(path, entry, max_file_bytes)
        if _entry(path) != entry:
            raise ReleaseRefused(Reason.BAD_DIGEST, name)
    return manifest


def read_file(folder: Path, manifest: Manifest, name: str, max_file_bytes: int = MAX_FILE_BYTES) -> bytes:
    """One file's content, its digest checked on the very bytes that are returned. Raises ReleaseRefused."""
    entry = manifest.files.get(name)
    if entry is None:
        raise ReleaseRefused(Reason.MISSING_FILE, f"the manifest names no {name}")
    path = Path(folder) / name
    _check_size(path, entry, max_file_bytes)
    content = _read(path, entry.size)
    if hashlib.sha256(content).hexdigest() != entry.sha256:
        raise ReleaseRefused(Reason.BAD_DIGEST, name)
    return content


def require_newer(manifest: Manifest, current_version: int) -> None:
    """Refuse to go back: a release replaces only an older version. Raises ReleaseRefused(version_not_newer)."""
    if manifest.version <= current_version:
        raise ReleaseRefused(Reason.VERSION_NOT_NEWER, f"{manifest.version} offered, {current_version} in force")


def read_weights(folder: Path, manifest: Manifest, model: str) -> dict[str, np.ndarray]:
    """The tensors of `<model>.safetensors` as float32 where they are floating. Raises ReleaseRefused."""
    return decode_weights(read_file(folder, manifest, f"{model}.safetensors"))


def decode_weights(content: bytes) -> dict[str, np.ndarray]:
    """Safetensors bytes → tensors, half precision widened to float32; non-finite values are refused as bad_weights."""
    try:
        tensors = safetensors.numpy.load(content)
    except Exception as error:  # safetensors raises its own untyped errors for every malformed header
        raise ReleaseRefused(Reason.BAD_WEIGHTS, str(error)) from error
    for name, tensor in tensors.items():
        if tensor.dtype == np.float16:
            tensor = tensors[name] = tensor.astype(np.float32)
        if tensor.dtype.kind == "f" and not np.isfinite(tensor).all():
            raise ReleaseRefused(Reason.BAD_WEIGHTS, f"{name} is not finite")
    return tensors


def pack_golden(batches: Mapping[str, tuple[Mapping[str, np.ndarray], Mapping[str, np.ndarray]]]) -> bytes:
    """`golden.safetensors`: per model (inputs, outputs), the batch on the first axis of each tensor.

    Tensors are named `model/in/name` and `model/out/name`. An input stored as uint8 stands for value / 255 in float32:
    images keep small.
    """
    return safetensors.numpy.save(
        {
            f"{model}/{side}/{name}": np.ascontiguousarray(array)
            for model, pair in batches.items()
            for side, tensors in zip(("in", "out"), pair, strict=True)
            for name, array in tensors.items()
        }
    )


def unpack_golden(content: bytes, model: str) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """(inputs, outputs) of `model` as `pack_golden` stored them (images stay uint8); both empty when it has none."""
    tensors = decode_weights(content)
    inputs, outputs = (
        {name.removeprefix(prefix): array for name, array in tensors.items() if name.startswith(prefix)}
        for prefix in (f"{model}/in/", f"{model}/out/")
    )
    return inputs, outputs


def _verifies(key: Ed25519PublicKey, signature: bytes, encoded: bytes) -> bool:
    try:
        key.verify(signature, _DOMAIN + encoded)
    except InvalidSignature:
        return False
    return True


def _check_size(path: Path, entry: FileEntry, limit: int) -> None:
    if path.is_symlink() or not path.is_file():
        raise ReleaseRefused(Reason.MISSING_FILE, path.name)
    size = path.stat().st_size
    if max(size, entry.size) > limit:
        raise ReleaseRefused(Reason.OVERSIZED_FILE, f"{path.name}: {max(size, entry.size)} bytes, at most {limit}")
    if size != entry.size:
        raise ReleaseRefused(Reason.BAD_DIGEST, f"{path.name}: {size} bytes, the manifest says {entry.size}")


def _read(path: Path, limit: int) -> bytes:
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW)) as stream:
            content = stream.read(limit + 1)
    except OSError as error:
        raise ReleaseRefused(Reason.MISSING_FILE, f"{path.name}: {error.strerror}") from error
    if len(content) > limit:
        raise ReleaseRefused(Reason.OVERSIZED_FILE, f"{path.name}: more than {limit} bytes")
    return content


def _entry(path: Path) -> FileEntry:
    with open(path, "rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    return FileEntry(sha256, path.stat().st_size)
