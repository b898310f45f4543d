"""The service's own keys: for messages, for releases, for opening updates; and the fleet's certificate authority."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from fed_vit_autorl.deployment.keys import load_or_create_signing_key
from fed_vit_autorl.deployment.pki import Authority, Identity, enrol_locally
from fed_vit_autorl.privacy.sealing import SealingKey, write_secret


class Keyring:
    """Everything below `<folder>/keys` and `<folder>/pki`; made on first use."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self.authority = Authority(self.folder / "pki")

    @cached_property
    def messages(self) -> Ed25519PrivateKey:
        """Signs tasks, answers and pointers."""
        return load_or_create_signing_key(self.folder / "keys" / "messages.pem")

    @cached_property
    def releases(self) -> Ed25519PrivateKey:
        """Signs releases."""
        return load_or_create_signing_key(self.folder / "keys" / "releases.pem")

    @cached_property
    def sealing(self) -> SealingKey:
        """Opens updates."""
        path = self.folder / "keys" / "sealing.key"
        if not path.exists():
            write_secret(path, SealingKey.generate().to_bytes())
        return SealingKey.from_bytes(path.read_bytes())

    def enrol(self, vehicle: str, folder: Path, shipped: list[Ed25519PublicKey]) -> Identity:
        """Enrols a vehicle whose folder is on this machine; it trusts the fleet's releases and those signed by
        `shipped` keys.
        """
        trusted = {f"shipped{index}": key for index, key in enumerate(shipped)} | {"fleet": self.releases.public_key()}
        return enrol_locally(self.authority, vehicle, folder, self.messages.public_key(), trusted)
