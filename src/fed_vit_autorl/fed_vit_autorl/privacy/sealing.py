"""Sealing of updates for the aggregator and signing of everything that crosses the broker.

Sealing is HPKE (RFC 9180) in base mode with the hybrid KEM ML-KEM-768 + X25519, HKDF-SHA256 and AES-256-GCM: what a
vehicle sends stays closed to whoever records it today and owns a quantum computer later. Signatures are Ed25519 over a
domain name and the message, so that a signature made for one purpose is worthless for another.
"""

from enum import StrEnum

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, MLKEM768X25519PrivateKey, MLKEM768X25519PublicKey, Suite

from fed_vit_autorl.refusal import Refused

SUITE = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
MLKEM_PUBLIC_BYTES = 1184
PUBLIC_BYTES = MLKEM_PUBLIC_BYTES + 32
PRIVATE_BYTES = 64 + 32
SIGNATURE_BYTES = 64
OVERHEAD_BYTES = 1088 + 32 + 16  # both encapsulations and the authentication tag


class SealingReason(StrEnum):
    """Why sealed or signed bytes were refused."""

    NOT_OPENED = "not_opened"
    BAD_SIGNATURE = "bad_signature"
    BAD_KEY = "bad_key"


class SealingRefused(Refused):
    """Bytes that don't open or don't verify; ``reason`` is the code."""


class SealingKey:
    """The receiver's private key; ``public`` is what a sender needs."""

    def __init__(self, mlkem: MLKEM768PrivateKey, x25519: X25519PrivateKey) -> None:
        self._parts = (mlkem, x25519)
        self._key = MLKEM768X25519PrivateKey(mlkem, x25519)

    @classmethod
    def generate(cls) -> "SealingKey":
        return cls(MLKEM768PrivateKey.generate(), X25519PrivateKey.generate())

    @classmethod
    def from_bytes(cls, data: bytes) -> "SealingKey":
        """The key from 64 bytes of ML-KEM seed and 32 bytes of X25519; raises ``SealingRefused``."""
        if len(data) != PRIVATE_BYTES:
            raise SealingRefused(
                SealingReason.BAD_KEY, f"a private sealing key has {PRIVATE_BYTES} bytes, this has {len(data)}"
            )
        return cls(MLKEM768PrivateKey.from_seed_bytes(data[:64]), X25519PrivateKey.from_private_bytes(data[64:]))

    def to_bytes(self) -> bytes:
        return self._parts[0].private_bytes_raw() + self._parts[1].private_bytes_raw()

    @property
    def public(self) -> bytes:
        """``PUBLIC_BYTES`` bytes: ML-KEM-768 encapsulation key, then X25519 public key."""
        return b"".join(part.public_key().public_bytes_raw() for part in self._parts)

    def open(self, sealed: bytes, context: bytes) -> bytes:
        """The plaintext; ``context`` must be what it was sealed with. Raises ``SealingRefused``."""
        try:
            return SUITE.decrypt(sealed, self._key, info=context)
        except (InvalidTag, ValueError) as error:
            raise SealingRefused(SealingReason.NOT_OPENED, "wrong key, wrong context or altered bytes") from error


def seal(plaintext: bytes, public: bytes, context: bytes) -> bytes:
    """``plaintext`` readable only by the owner of ``public`` and only together with ``context``; ``OVERHEAD_BYTES``
    longer.
    """
    if len(public) != PUBLIC_BYTES:
        raise SealingRefused(
            SealingReason.BAD_KEY, f"a public sealing key has {PUBLIC_BYTES} bytes, this has {len(public)}"
        )
    try:
        key = MLKEM768X25519PublicKey(
            MLKEM768PublicKey.from_public_bytes(public[:MLKEM_PUBLIC_BYTES]),
            X25519PublicKey.from_public_bytes(public[MLKEM_PUBLIC_BYTES:]),
        )
    except ValueError as error:
        raise SealingRefused(SealingReason.BAD_KEY, str(error)) from error
    return SUITE.encrypt(plaintext, key, info=context)


def sign(key: Ed25519PrivateKey, domain: str, message: bytes) -> bytes:
    """Ed25519 signature, 64 bytes, of ``message`` for the purpose named ``domain``."""
    return key.sign(_separated(domain, message))


def verify(key: Ed25519PublicKey, domain: str, message: bytes, signature: bytes) -> None:
    """Raises ``SealingRefused`` unless ``signature`` was made by ``key``'s owner for ``domain`` and ``message``."""
    try:
        key.verify(signature, _separated(domain, message))
    except InvalidSignature as error:
        raise SealingRefused(SealingReason.BAD_SIGNATURE, domain) from error


def _separated(domain: str, message: bytes) -> bytes:
    return b"fed-vit-autorl/" + domain.encode() + b"\0" + message
