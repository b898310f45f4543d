"""A vehicle's identity: its key, its certificate, and whom it trusts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.x509.oid import NameOID

from fed_vit_autorl.deployment.keys import load_or_create_signing_key, load_public_keys, save_public_key
from fed_vit_autorl.deployment.tuf_client import signers
from fed_vit_autorl.files import write_file


@dataclass(frozen=True)
class Identity:
    """A vehicle's folder: `vehicle.key`, `vehicle.crt`, and whom it trusts: `ca.crt`, `aggregator.pub`, `root.json`,
    `release_keys/*.pub`.
    """

    folder: Path

    @property
    def key_path(self) -> Path:
        return self.folder / "vehicle.key"

    @property
    def certificate_path(self) -> Path:
        return self.folder / "vehicle.crt"

    @property
    def ca_path(self) -> Path:
        return self.folder / "ca.crt"

    @property
    def root_path(self) -> Path:
        """TUF root metadata: whom the fleet's releases come from."""
        return self.folder / "root.json"

    @property
    def release_keys_path(self) -> Path:
        return self.folder / "release_keys"

    @property
    def vehicle(self) -> str:
        """The name in the certificate."""
        certificate = x509.load_pem_x509_certificate(self.certificate_path.read_bytes())
        return str(certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)

    def signing_key(self) -> Ed25519PrivateKey:
        return load_or_create_signing_key(self.key_path)

    def aggregator_keys(self) -> list[Ed25519PublicKey]:
        """Keys that sign tasks, acknowledgements and pointers."""
        return load_public_keys(self.folder / "aggregator.pub")

    def release_keys(self) -> list[Ed25519PublicKey]:
        """Keys that may sign releases."""
        return load_public_keys(self.release_keys_path)

    def request(self, vehicle: str) -> bytes:
        """Signing request (PEM) for this folder's key, which is made if there is none."""
        builder = x509.CertificateSigningRequestBuilder().subject_name(common_name(vehicle))
        return builder.sign(self.signing_key(), None).public_bytes(serialization.Encoding.PEM)

    def install(
        self,
        certificate: bytes,
        ca: bytes,
        aggregator: Ed25519PublicKey,
        root: bytes,
        shipped: Sequence[Ed25519PublicKey],
    ) -> None:
        """Completes the enrolment with what the authority answered; `shipped` keys may sign releases besides those of
        the `root` metadata.
        """
        write_file(self.ca_path, ca)
        save_public_key(aggregator, self.folder / "aggregator.pub")
        write_file(self.root_path, root)
        for index, key in enumerate(shipped):
            save_public_key(key, self.release_keys_path / f"shipped{index}.pub")
        self.trust(signers(root))
        # Releases with heads of the vehicle's own are its own work; nobody else has the key.
        save_public_key(self.signing_key().public_key(), self.release_keys_path / "own.pub")
        write_file(self.certificate_path, certificate)

    def trust(self, fleet: Sequence[Ed25519PublicKey]) -> None:
        """From now on these keys, and those shipped, may sign releases."""
        wanted = {f"fleet-{key.public_bytes_raw().hex()[:16]}.pub": key for key in fleet}
        for name, key in wanted.items():
            save_public_key(key, self.release_keys_path / name)
        for path in self.release_keys_path.glob("fleet-*.pub"):
            if path.name not in wanted:
                path.unlink()

    def take(self, answer: Mapping[str, Any]) -> None:
        """Completes the enrolment with the aggregator's answer to `POST /v1/enrol`; raises KeyError or ValueError for
        another.
        """
        certificate, ca, root = (answer[name].encode() for name in ("certificate", "ca", "root"))
        aggregator, *shipped = map(_raw_key, (answer["aggregator"], *answer["shipped"]))
        self.install(certificate, ca, aggregator, root, shipped)


def enrolled(folder: Path) -> bool:
    """Whether a vehicle's folder holds a finished enrolment."""
    return Identity(Path(folder)).certificate_path.exists()


def common_name(common: str) -> x509.Name:
    """The only part of a name that the fleet's certificates have."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _raw_key(text: str) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(bytes.fromhex(text))
