"""How a vehicle knows that the keys of a session are other enrolled vehicles'."""

from __future__ import annotations

from collections.abc import Callable

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.x509.oid import NameOID

from ...privacy import sealing
from ...privacy.secagg.messages import Advertisement

DOMAIN = "session keys"


def certificate_bytes(certificate: bytes) -> bytes:
    """A certificate's PEM as the DER that travels."""
    return x509.load_pem_x509_certificate(certificate).public_bytes(serialization.Encoding.DER)


def signer(key: Ed25519PrivateKey) -> Callable[[bytes], bytes]:
    """Signs a vehicle's keys for a session."""
    return lambda message: sealing.sign(key, DOMAIN, message)


def verifier(ca: bytes) -> Callable[[Advertisement, bytes], bool]:
    """Whether an advertisement is signed by the vehicle that its certificate, issued by `ca` (PEM), names.

    Lifetimes and revocations are the aggregator's to check: it lets nobody else send. An aggregator that holds the
    authority's key itself could enrol vehicles of its own making; only an authority kept elsewhere stops that.
    """
    authority = x509.load_pem_x509_certificate(ca)

    def verify(member: Advertisement, message: bytes) -> bool:
        try:
            certificate = x509.load_der_x509_certificate(member.certificate)
            certificate.verify_directly_issued_by(authority)
            names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
            key = certificate.public_key()
            if [name.value for name in names] != [member.vehicle] or not isinstance(key, Ed25519PublicKey):
                return False
            sealing.verify(key, DOMAIN, message, member.signature)
        except (InvalidSignature, ValueError, TypeError):
            return False
        return True

    return verify
