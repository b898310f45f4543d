"""Keys that two vehicles of a session share, and the graph of who shares with whom."""

from __future__ import annotations

import hashlib

import msgspec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from .messages import Roster
from .refusal import SecAggReason, SecAggRefused

_NONCE = bytes(12)  # every derived key seals one message


def agree(private: X25519PrivateKey, public: bytes, purpose: str, roster: bytes, *names: str) -> bytes:
    """32 bytes by X25519 and HKDF-SHA256, bound to the purpose, the roster's digest and the names."""
    try:
        shared = private.exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError as error:
        raise SecAggRefused(SecAggReason.BAD_ROSTER, f"a public key of {names} is not usable") from error
    info = msgspec.msgpack.encode(["fed-vit-autorl secagg", purpose, roster, names])
    return HKDF(SHA256(), 32, salt=None, info=info).derive(shared)


def pair_seed(private: X25519PrivateKey, public: bytes, roster: bytes, one: str, other: str) -> bytes:
    """Seed of the mask between two vehicles, the same from both sides."""
    return agree(private, public, "mask", roster, *sorted((one, other)))


def sealer(private: X25519PrivateKey, public: bytes, roster: bytes, sender: str, receiver: str) -> ChaCha20Poly1305:
    """Cipher for the one message that `sender` seals for `receiver`."""
    return ChaCha20Poly1305(agree(private, public, "share", roster, sender, receiver))


def seal(cipher: ChaCha20Poly1305, plain: bytes) -> bytes:
    return cipher.encrypt(_NONCE, plain, None)


def unseal(cipher: ChaCha20Poly1305, sealed: bytes) -> bytes:
    """Raises `cryptography.exceptions.InvalidTag`."""
    return cipher.decrypt(_NONCE, sealed, None)


def neighbours(roster: Roster, degree: int | None) -> dict[str, list[str]]:
    """Each vehicle's neighbours: everybody, or the `degree` nearest on a ring shuffled by the roster's digest.

    Vehicles compute the graph themselves from keys that were chosen before it, so that the server cannot.
    """
    names = [member.vehicle for member in roster.members]
    if degree is None or degree >= len(names) - 1:
        return {name: [other for other in names if other != name] for name in names}
    digest = roster.digest()
    ring = sorted(names, key=lambda name: hashlib.sha256(digest + name.encode()).digest())
    offsets = [step * side for step in range(1, degree // 2 + 1) for side in (-1, 1)]
    return {name: sorted(ring[(place + offset) % len(ring)] for offset in offsets) for place, name in enumerate(ring)}
