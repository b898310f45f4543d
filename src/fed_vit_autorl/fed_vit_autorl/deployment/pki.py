"""A local certificate authority for tests, the demo and small fleets; a large one brings its own CA and keeps the same
file names.

A vehicle is enrolled by a *claim* (a one-time secret bound to its name, handed over at the workshop) and a signing
request: its private key is made on the vehicle and never leaves it. Its one Ed25519 key proves it to the broker and to
HTTPS (mutual TLS) and signs its manifests.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import json
import secrets
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.x509.oid import ExtendedKeyUsageOID

from fed_vit_autorl.deployment.identity import Identity, common_name, enrolled
from fed_vit_autorl.federated.protocol.topics import name as valid_name
from fed_vit_autorl.files import write_file, write_secret
from fed_vit_autorl.refusal import Refused

AGGREGATOR = "aggregator"
RESERVED = frozenset({AGGREGATOR, "broker", "model"})
CERTIFICATE_DAYS = 398
CLAIM_LIFETIME_S = 7 * 86400.0
_SKEW = timedelta(minutes=10)


class EnrolmentReason(StrEnum):
    """Why a vehicle isn't enrolled or known."""

    BAD_NAME = "bad_name"
    BAD_CLAIM = "bad_claim"
    BAD_REQUEST = "bad_request"
    UNKNOWN_VEHICLE = "unknown_vehicle"
    REVOKED_VEHICLE = "revoked_vehicle"


class EnrolmentRefused(Refused):
    """`reason` is the code."""


class Authority:
    """Files: `ca.crt`, `ca.key`, `crl.pem`, `issued/<name>.crt`, `claims/<name>.json`; made on first use."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self.ca_path, self.crl_path = self.folder / "ca.crt", self.folder / "crl.pem"
        (self.folder / "issued").mkdir(parents=True, exist_ok=True)
        (self.folder / "claims").mkdir(exist_ok=True)
        key_path = self.folder / "ca.key"
        if not key_path.exists():
            write_secret(key_path, _pem(ec.generate_private_key(ec.SECP256R1())))
        self._key = serialization.load_pem_private_key(key_path.read_bytes(), None)
        if not self.ca_path.exists():
            write_file(self.ca_path, self._self_signed().public_bytes(serialization.Encoding.PEM))
        self._known: dict[str, tuple[tuple[int, int], Ed25519PublicKey]] = {}
        self._ca = x509.load_pem_x509_certificate(self.ca_path.read_bytes())
        if not self.crl_path.exists():
            self._write_crl([])

    def issue_server(
        self, folder: Path, name: str, hosts: Sequence[str] = ("localhost", "127.0.0.1")
    ) -> tuple[Path, Path]:
        """Certificate and key (ECDSA P-256: browsers take no Ed25519) for a server reached as `hosts`; paths
        `<folder>/<name>.crt|.key`.
        """
        certificate, key = Path(folder) / f"{name}.crt", Path(folder) / f"{name}.key"
        if not certificate.exists():
            private = ec.generate_private_key(ec.SECP256R1())
            write_secret(key, _pem(private))
            names = [_host(host) for host in hosts]
            self._issue(
                certificate,
                name,
                private.public_key(),
                ExtendedKeyUsageOID.SERVER_AUTH,
                x509.SubjectAlternativeName(names),
            )
        return certificate, key

    def issue_client(self, folder: Path, name: str) -> tuple[Path, Path]:
        """Certificate and Ed25519 key for a client on this machine (the aggregator's own account at the broker)."""
        certificate, key = Path(folder) / f"{name}-client.crt", Path(folder) / f"{name}-client.key"
        if not certificate.exists():
            private = Ed25519PrivateKey.generate()
            write_secret(key, _pem(private))
            self._issue(certificate, name, private.public_key(), ExtendedKeyUsageOID.CLIENT_AUTH)
        return certificate, key

    def claim(self, vehicle: str, lifetime_s: float = CLAIM_LIFETIME_S) -> str:
        """A one-time secret that lets its bearer enrol as `vehicle`; replaces an earlier one."""
        self._check_name(vehicle)
        token = secrets.token_urlsafe(32)
        record = {"sha256": hashlib.sha256(token.encode()).hexdigest(), "expires": time.time() + lifetime_s}
        write_secret(self._claim_path(vehicle), json.dumps(record).encode())
        return token

    def enrol(self, vehicle: str, token: str, request: bytes) -> bytes:
        """Certificate (PEM) for a signing request (PEM, Ed25519, self-signed); the claim is used up. Raises
        `EnrolmentRefused`.
        """
        self._check_name(vehicle)
        key = _request_key(request)
        path = self._claim_path(vehicle)
        record = json.loads(path.read_bytes()) if path.exists() else {"sha256": "", "expires": 0.0}
        presented = hashlib.sha256(token.encode()).hexdigest()
        if not hmac.compare_digest(record["sha256"], presented) or time.time() > record["expires"]:
            raise EnrolmentRefused(EnrolmentReason.BAD_CLAIM, "unknown, used or expired claim")
        path.unlink()
        target = self._certificate_path(vehicle)
        self._issue(target, vehicle, key, ExtendedKeyUsageOID.CLIENT_AUTH)
        return target.read_bytes()

    def public_key(self, vehicle: str) -> Ed25519PublicKey:
        """Key that `vehicle` signs with; raises `EnrolmentRefused` (unknown_vehicle, revoked_vehicle)."""
        path = self._certificate_path(vehicle)
        if not path.exists():
            raise EnrolmentRefused(EnrolmentReason.UNKNOWN_VEHICLE, vehicle)
        state = path.stat().st_mtime_ns, self.crl_path.stat().st_mtime_ns
        known = self._known.get(vehicle)
        if known is not None and known[0] == state:
            return known[1]
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
        if self._crl().get_revoked_certificate_by_serial_number(certificate.serial_number) is not None:
            raise EnrolmentRefused(EnrolmentReason.REVOKED_VEHICLE, vehicle)
        self._known[vehicle] = state, certificate.public_key()
        return self._known[vehicle][1]

    def vehicles(self) -> list[str]:
        """Names of all that were enrolled, revoked ones included."""
        return sorted(path.stem for path in (self.folder / "issued").glob("*.crt"))

    def revoked(self) -> list[str]:
        """Names of those whose certificate was taken back and who haven't enrolled again."""
        return [vehicle for vehicle in self.vehicles() if self.is_revoked(vehicle)]

    def is_revoked(self, vehicle: str) -> bool:
        """Whether its latest certificate was taken back."""
        try:
            self.public_key(vehicle)
        except EnrolmentRefused as refusal:
            return refusal.reason is EnrolmentReason.REVOKED_VEHICLE
        return False

    def revoke(self, vehicle: str) -> None:
        """Puts the vehicle's certificate on the revocation list; it can enrol again with a new claim."""
        path = self._certificate_path(vehicle)
        if not path.exists():
            raise EnrolmentRefused(EnrolmentReason.UNKNOWN_VEHICLE, vehicle)
        serial = x509.load_pem_x509_certificate(path.read_bytes()).serial_number
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(datetime.now(UTC)).build()
        self._write_crl([*self._crl(), entry])

    def _issue(self, path: Path, name: str, key, usage: x509.ObjectIdentifier, *extensions: x509.ExtensionType) -> None:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(common_name(name))
            .issuer_name(self._ca.subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _SKEW)
            .not_valid_after(now + timedelta(days=CERTIFICATE_DAYS))
            .add_extension(x509.BasicConstraints(False, None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        for extension in extensions:
            builder = builder.add_extension(extension, critical=False)
        write_file(path, builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    def _self_signed(self) -> x509.Certificate:
        now, public = datetime.now(UTC), self._key.public_key()
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        return (
            x509.CertificateBuilder()
            .subject_name(common_name("fed-vit-autorl fleet CA"))
            .issuer_name(common_name("fed-vit-autorl fleet CA"))
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _SKEW)
            .not_valid_after(now + timedelta(days=10 * 365))
            .add_extension(x509.BasicConstraints(True, 0), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .sign(self._key, hashes.SHA256())
        )

    def _crl(self) -> x509.CertificateRevocationList:
        return x509.load_pem_x509_crl(self.crl_path.read_bytes())

    def _write_crl(self, entries: Sequence[x509.RevokedCertificate]) -> None:
        now = datetime.now(UTC)
        builder = x509.CertificateRevocationListBuilder().issuer_name(self._ca.subject)
        builder = builder.last_update(now - _SKEW).next_update(now + timedelta(days=CERTIFICATE_DAYS))
        for entry in entries:
            builder = builder.add_revoked_certificate(entry)
        write_file(self.crl_path, builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    def _check_name(self, vehicle: str) -> None:
        try:
            valid_name(vehicle)
        except ValueError as error:
            raise EnrolmentRefused(EnrolmentReason.BAD_NAME, str(error)) from error
        if vehicle in RESERVED:
            raise EnrolmentRefused(EnrolmentReason.BAD_NAME, f"{vehicle!r} is reserved")

    def _certificate_path(self, vehicle: str) -> Path:
        self._check_name(vehicle)
        return self.folder / "issued" / f"{vehicle}.crt"

    def _claim_path(self, vehicle: str) -> Path:
        return self.folder / "claims" / f"{vehicle}.json"


def enrol_locally(
    authority: Authority,
    vehicle: str,
    folder: Path,
    aggregator: Ed25519PublicKey,
    root: bytes,
    shipped: Sequence[Ed25519PublicKey] = (),
) -> Identity:
    """Claim, request and certificate in one go, for a vehicle whose folder is on this machine; enrolled already is
    left alone.
    """
    identity = Identity(Path(folder))
    if not enrolled(identity.folder):
        certificate = authority.enrol(vehicle, authority.claim(vehicle), identity.request(vehicle))
        identity.install(certificate, authority.ca_path.read_bytes(), aggregator, root, shipped)
    return identity


def _request_key(request: bytes) -> Ed25519PublicKey:
    try:
        loaded = x509.load_pem_x509_csr(request[:16384])
        key = loaded.public_key()
        if not isinstance(key, Ed25519PublicKey) or not loaded.is_signature_valid:
            raise ValueError("the request needs an Ed25519 key and its own signature")
    except (ValueError, InvalidSignature, UnsupportedAlgorithm, x509.InvalidVersion) as error:
        raise EnrolmentRefused(EnrolmentReason.BAD_REQUEST, str(error)) from error
    return key


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pem(key) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
