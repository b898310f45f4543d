"""What vehicles and server tell each other; bytes by `encode` and `decode`.

The masked update is no message of this module: it travels as an update (stage `secure_mask`).
"""

from __future__ import annotations

import hashlib
from typing import TypeVar

import msgspec

from .refusal import SecAggReason, SecAggRefused

MAX_MESSAGE_BYTES = 64 << 20
Key = bytes


class Advertisement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Vehicle → server → all: public X25519 keys of this session, signed with the vehicle's identity, and the
    certificate that says whose signature it is, where the others don't know.
    """

    vehicle: str
    seal_key: Key
    mask_key: Key
    signature: bytes = b""
    certificate: bytes = b""

    def signed_part(self, session: bytes) -> bytes:
        return b"fed-vit-autorl secagg keys" + msgspec.msgpack.encode(
            [session, self.vehicle, self.seal_key, self.mask_key]
        )


class Roster(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Server → all: who takes part, in the order of names."""

    session: bytes
    members: list[Advertisement]

    def digest(self) -> bytes:
        return hashlib.sha256(msgspec.msgpack.encode(self)).digest()


class Shares(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Vehicle → server → neighbours: shares sealed for each of them, and the digest of the mask's seed."""

    vehicle: str
    commitment: bytes
    sealed: dict[str, bytes]


class UnmaskRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Server → survivors: whose updates are in the sum."""

    session: bytes
    survivors: list[str]


class UnmaskReply(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Vehicle → server: shares of survivors' seeds and of drop-outs' keys, by owner; no owner is in both."""

    vehicle: str
    seed_shares: dict[str, bytes]
    key_shares: dict[str, bytes]


Message = TypeVar("Message", bound=msgspec.Struct)


def encode(message: msgspec.Struct) -> bytes:
    return msgspec.msgpack.encode(message)


def decode(data: bytes, expected: type[Message]) -> Message:
    """Raises `SecAggRefused` unless `data` is one message of type `expected`."""
    if len(data) > MAX_MESSAGE_BYTES:
        raise SecAggRefused(SecAggReason.MALFORMED_MESSAGE, f"{len(data)} bytes, at most {MAX_MESSAGE_BYTES}")
    try:
        return msgspec.msgpack.decode(data, type=expected)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise SecAggRefused(SecAggReason.MALFORMED_MESSAGE, str(error)) from error
