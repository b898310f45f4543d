"""Messages of the federation on the wire: versioned, bounded, typed, signed where it matters; never executable.

Frame: magic `FV`, version (uint8), kind (uint8), then for a signed kind 64 bytes of Ed25519 signature, then the body
in MessagePack. A chunk is the exception: its body is a fixed header and raw bytes. An update's own bytes are
`federated.update`'s.
"""

from __future__ import annotations

import hashlib
import struct
from enum import StrEnum
from typing import Annotated, Any, ClassVar, TypeVar

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from fed_vit_autorl.privacy import sealing
from fed_vit_autorl.refusal import Refused

MAGIC = b"FV"
VERSION = 1
MAX_MESSAGE_BYTES = 64 * 1024
CHUNK_BYTES = 120 * 1024  # public clouds cap a message at 128 KB
MAX_CHUNKS = 1 << 16
NAME_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,62}$"

Name = Annotated[str, msgspec.Meta(pattern=NAME_PATTERN)]
Text = Annotated[str, msgspec.Meta(max_length=500)]
Url = Annotated[str, msgspec.Meta(max_length=1500)]
Digest = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 48)]
Size = Annotated[int, msgspec.Meta(ge=1, le=MAX_CHUNKS * CHUNK_BYTES)]

_FRAME = struct.Struct("<2sBB")
_CHUNK = struct.Struct("<32sI8s")


class TransportReason(StrEnum):
    """Why the transport refuses a message, a transfer or an update before its content matters."""

    TOO_LARGE = "too_large"
    MALFORMED = "malformed"
    UNSUPPORTED_VERSION = "unsupported_version"
    UNEXPECTED_KIND = "unexpected_kind"
    BAD_SIGNATURE = "bad_signature"
    FOREIGN_TOPIC = "foreign_topic"
    UNKNOWN_VEHICLE = "unknown_vehicle"
    REVOKED_VEHICLE = "revoked_vehicle"
    RATE_LIMITED = "rate_limited"
    EXPIRED = "expired"
    STORAGE_FULL = "storage_full"
    WRONG_RUN = "wrong_run"
    STALE_ROUND = "stale_round"
    BETWEEN_ROUNDS = "between_rounds"
    NOT_SELECTED = "not_selected"
    WRONG_BASE = "wrong_base"
    ALREADY_SUBMITTED = "already_submitted"
    BAD_CHUNK = "bad_chunk"
    DIGEST_MISMATCH = "digest_mismatch"
    NOT_OPENED = "not_opened"
    HEADER_MISMATCH = "header_mismatch"
    REPLAYED = "replayed"


class TransportRefused(Refused):
    """A message or transfer that isn't used; `reason` is the code, `detail` says what was found."""


class Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of every message; `kind` is its number on the wire."""

    kind: ClassVar[int]
    signed: ClassVar[bool]


class Task(Message):
    """Aggregator → vehicle: train for a round. `plan` is what both sides build the training and the pipeline from."""

    kind, signed = 1, True
    run: Name
    round: Count
    base_version: Count
    vehicle: Name
    deadline_s: Annotated[float, msgspec.Meta(ge=0, le=1e7)]
    sealing_key: Annotated[bytes, msgspec.Meta(min_length=sealing.PUBLIC_BYTES, max_length=sealing.PUBLIC_BYTES)]
    plan: dict[str, Any]


class Manifest(Message):
    """Vehicle → aggregator: what is about to be sent. `digest` is the SHA-256 of the sealed bytes."""

    kind, signed = 2, True
    run: Name
    round: Count
    base_version: Count
    vehicle: Name
    digest: Digest
    size: Size
    chunk_bytes: Annotated[int, msgspec.Meta(ge=1, le=CHUNK_BYTES)]

    def __post_init__(self) -> None:
        if self.chunks > MAX_CHUNKS:
            raise ValueError(f"{self.chunks} chunks, at most {MAX_CHUNKS}")

    @property
    def chunks(self) -> int:
        return -(-self.size // self.chunk_bytes)

    @property
    def context(self) -> bytes:
        """What the sealed bytes are bound to."""
        return sealing_context(self.run, self.round, self.vehicle)


class Fin(Message):
    """Vehicle → aggregator: finish or tell me what is missing. `query` counts up; the answer repeats it."""

    kind, signed = 4, False
    digest: Digest
    query: Count


class State(StrEnum):
    """Where a transfer stands."""

    UNKNOWN = "unknown"
    RECEIVING = "receiving"
    ACCEPTED = "accepted"
    REFUSED = "refused"


class Ack(Message):
    """Aggregator → vehicle. `have` is a bitmap (bit i % 8 of byte i // 8, least first) of the chunks that lie on disk;
    `credit` is how many others may be under way. With `blocks` they don't travel over MQTT: bytes `i * block_bytes` …
    of the update are PUT to `blocks[i]`. ACCEPTED is sent only after fsync and a unique row."""

    kind, signed = 5, True
    digest: Digest
    state: State
    reason: Text = ""
    query: Count = 0
    credit: Count = 0
    have: Annotated[bytes, msgspec.Meta(max_length=MAX_CHUNKS // 8)] = b""
    block_bytes: Count = 0
    blocks: dict[Count, Url] = {}


class Pointer(Message):
    """Aggregator → all vehicles of a region, retained: below `url` there is news of releases up to `version`. What is
    on offer, and for whom, the TUF metadata there says; `metadata` counts its changes.
    """

    kind, signed = 6, True
    region: Name
    version: Annotated[int, msgspec.Meta(ge=1, le=1 << 48)]
    metadata: Count
    url: Text


class Status(Message):
    """Vehicle → aggregator, retained, and its last will. The broker's ACL says whose it is; nothing of value depends
    on it.
    """

    kind, signed = 7, False
    online: bool
    activity: Text = ""
    release: Count = 0
    reason: Text = ""
    metrics: dict[Text, float] = {}


class Chunk(Message):
    """Vehicle → aggregator: piece `index` of the sealed bytes named `digest`."""

    kind, signed = 3, False
    digest: Digest
    index: int
    data: bytes


Any_ = TypeVar("Any_", bound=Message)


def encode(message: Message, key: Ed25519PrivateKey | None = None) -> bytes:
    """Bytes on the wire; `key` is needed for a signed kind."""
    head = _FRAME.pack(MAGIC, VERSION, message.kind)
    if isinstance(message, Chunk):
        check = hashlib.blake2b(message.data, digest_size=8).digest()
        return head + _CHUNK.pack(bytes.fromhex(message.digest), message.index, check) + message.data
    body = msgspec.msgpack.encode(message)
    if len(body) > MAX_MESSAGE_BYTES:
        raise TransportRefused(TransportReason.TOO_LARGE, f"{type(message).__name__} of {len(body)} bytes")
    if not message.signed:
        return head + body
    if key is None:
        raise ValueError(f"a {type(message).__name__} is signed: it needs a key")
    return head + sealing.sign(key, _domain(type(message)), body) + body


def decode(data: bytes, expected: type[Any_], *keys: Ed25519PublicKey) -> Any_:
    """The message of type `expected`, its signature made by one of `keys` if it is a signed kind; raises
    `TransportRefused`.
    """
    limit = CHUNK_BYTES + _CHUNK.size if expected is Chunk else MAX_MESSAGE_BYTES + sealing.SIGNATURE_BYTES
    if len(data) > limit + _FRAME.size:
        raise TransportRefused(TransportReason.TOO_LARGE, f"{len(data)} bytes, at most {limit}")
    if len(data) < _FRAME.size:
        raise TransportRefused(TransportReason.MALFORMED, "truncated")
    magic, version, kind = _FRAME.unpack_from(data)
    if magic != MAGIC:
        raise TransportRefused(TransportReason.MALFORMED, "not a message of this protocol")
    if version != VERSION:
        raise TransportRefused(TransportReason.UNSUPPORTED_VERSION, f"version {version}, this side speaks {VERSION}")
    if kind != expected.kind:
        raise TransportRefused(TransportReason.UNEXPECTED_KIND, f"kind {kind}, expected {expected.kind}")
    if expected is Chunk:
        return _decode_chunk(data)  # type: ignore[return-value]
    start = _FRAME.size
    if expected.signed:
        start += sealing.SIGNATURE_BYTES
        _check_signature(data[_FRAME.size : start], data[start:], expected, keys)
    try:
        return msgspec.msgpack.decode(data[start:], type=expected)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise TransportRefused(TransportReason.MALFORMED, str(error)[:200]) from error


def sealing_context(run: str, round: int, vehicle: str) -> bytes:
    """What an update's sealed bytes are bound to: they open for this run, round and vehicle only."""
    return f"fed-vit-autorl update/{run}/{round}/{vehicle}".encode()


def _decode_chunk(data: bytes) -> Chunk:
    start = _FRAME.size + _CHUNK.size
    if len(data) <= start:
        raise TransportRefused(TransportReason.MALFORMED, "a chunk without data")
    digest, index, check = _CHUNK.unpack_from(data, _FRAME.size)
    content = data[start:]
    if hashlib.blake2b(content, digest_size=8).digest() != check:
        raise TransportRefused(TransportReason.BAD_CHUNK, f"chunk {index} is damaged")
    return Chunk(digest=digest.hex(), index=index, data=content)


def _check_signature(signature: bytes, body: bytes, kind: type[Message], keys: tuple[Ed25519PublicKey, ...]) -> None:
    for key in keys:
        try:
            return sealing.verify(key, _domain(kind), body, signature)
        except sealing.SealingRefused:
            continue
    raise TransportRefused(TransportReason.BAD_SIGNATURE, f"no trusted key signed this {kind.__name__}")


def _domain(kind: type[Message]) -> str:
    return f"message/{VERSION}/{kind.__name__}"
