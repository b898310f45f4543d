"""The service's own keys: for messages, for releases, for opening updates; and the fleet's certificate authority."""

from __future__ import annotations

import secrets
from functools import cached_property
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from fed_vit_autorl.deployment.broker import enforce
from fed_vit_autorl.deployment.identity import Identity
from fed_vit_autorl.deployment.keys import load_or_create_signing_key
from fed_vit_autorl.deployment.pki import Authority, enrol_locally
from fed_vit_autorl.deployment.tuf_repository import ONLINE, ReleaseRepository, create
from fed_vit_autorl.files import write_secret
from fed_vit_autorl.privacy.sealing import SealingKey


class Keyring:
    """Everything below `<folder>/keys`, `<folder>/pki` and `<folder>/metadata`; made on first use."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self.authority = Authority(self.folder / "pki")

    @cached_property
    def messages(self) -> Ed25519PrivateKey:
        """Signs tasks, answers and pointers."""
        return load_or_create_signing_key(self.folder / "keys" / "messages.pem")

    @property
    def releases(self) -> Ed25519PrivateKey:
        """Signs releases: the key of the repository's role `targets`."""
        return self.role("targets")

    @cached_property
    def repository(self) -> ReleaseRepository:
        """What is on offer. When it is made `keys/root.pem` is too: take that file away, it is needed for `fedvit
        rotate` only.
        """
        folder, keys = self.folder / "metadata", {role: self.role(role) for role in ONLINE}
        repository = ReleaseRepository(folder, keys)
        return repository if repository.made else create(folder, keys | {"root": self.role("root")})

    @cached_property
    def sealing(self) -> SealingKey:
        """Opens updates."""
        path = self.folder / "keys" / "sealing.key"
        if not path.exists():
            write_secret(path, SealingKey.generate().to_bytes())
        return SealingKey.from_bytes(path.read_bytes())

    @cached_property
    def uploads(self) -> bytes:
        """Makes the URLs that vehicles put large updates to (32 bytes)."""
        path = self.folder / "keys" / "uploads.key"
        if not path.exists():
            write_secret(path, secrets.token_bytes(32))
        return path.read_bytes()

    def tell_broker(self, folder: str, region: str) -> bool:
        """Has the broker of `folder` read again who may talk to it; False if none runs there as our own user."""
        return bool(folder) and enforce(Path(folder), region, self.authority)

    def role(self, name: str) -> Ed25519PrivateKey:
        """The key of a role of the repository."""
        return load_or_create_signing_key(self.role_path(name))

    def role_path(self, name: str) -> Path:
        return self.folder / "keys" / f"{name}.pem"

    def enrol(self, vehicle: str, folder: Path, shipped: list[Ed25519PublicKey]) -> Identity:
        """Enrols a vehicle whose folder is on this machine; it trusts the fleet's releases and those signed by
        `shipped` keys.
        """
        public, root = self.messages.public_key(), self.repository.root_bytes()
        return enrol_locally(self.authority, vehicle, folder, public, root, shipped)
