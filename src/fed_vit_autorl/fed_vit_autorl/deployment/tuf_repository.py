"""The fleet's TUF repository: root, targets, snapshot and timestamp, signed by keys of their own, versions only rising.

The root's key is needed to make the repository and to change keys, for nothing else: it can lie in a safe. `targets`
signs what is on offer and, with the same key, the releases' manifests; `timestamp` says every few hours that this is
still the latest word, so that a vehicle notices when somebody keeps news from it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from securesystemslib.signer import CryptoSigner, SSlibKey
from tuf.api.exceptions import UnsignedMetadataError
from tuf.api.metadata import Metadata, MetaFile, Root, Signed, Snapshot, Targets, Timestamp
from tuf.api.serialization.json import JSONSerializer
from tuf.repository import Repository

from fed_vit_autorl.deployment.offers import Channel, Offer, from_target, to_target
from fed_vit_autorl.files import write_file

LIFETIMES = {
    Root.type: timedelta(days=365),
    Targets.type: timedelta(days=90),
    Snapshot.type: timedelta(days=7),
    Timestamp.type: timedelta(days=1),
}
ONLINE = (Targets.type, Snapshot.type, Timestamp.type)
KEPT = 8  # old versions of a file: for vehicles that are reading it just now
FILE_NAME = re.compile(r"(\d{1,9}\.(root|targets|snapshot)|timestamp)\.json")
_MADE = {Root.type: Root, Targets.type: Targets, Snapshot.type: Snapshot, Timestamp.type: Timestamp}


class ReleaseRepository(Repository):
    """Metadata files in one folder, as they are served. Safe to kill at any point; for one process at a time."""

    def __init__(self, folder: Path, keys: Mapping[str, Ed25519PrivateKey]) -> None:
        """`keys` of the roles but the root's. See `create` for a folder that has no repository yet."""
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._signers = {role: [CryptoSigner(key)] for role, key in keys.items()}

    @property
    def made(self) -> bool:
        """Whether it has a root."""
        return self._latest(Root.type) > 0

    def authorise(self, keys: Mapping[str, Ed25519PublicKey], root_keys: Sequence[Ed25519PrivateKey]) -> int:
        """Signs new root metadata in which each of these roles has this one key; returns its version.

        `root_keys`: the root's; when that changes, the one so far and the new one.
        """
        self._signers[Root.type] = [CryptoSigner(key) for key in root_keys]
        with self.edit_root() as root:
            for role, key in keys.items():
                for old in list(root.roles[role].keyids):
                    root.revoke_key(old, role)
                root.add_key(SSlibKey.from_crypto(key), role)
        del self._signers[Root.type]
        return self._latest(Root.type)

    def offer(self, offers: Mapping[Channel, Offer]) -> bool:
        """Puts these, and nothing else, on offer. False if that was so already."""
        wanted = {str(channel): to_target(channel, offer) for channel, offer in offers.items()}
        changed = self.targets().targets != wanted
        if changed or not self._signed(Targets.type):
            with self.edit_targets() as targets:
                targets.targets = wanted
        self.do_snapshot()
        self.do_timestamp()
        return changed

    def offers(self) -> dict[Channel, Offer]:
        """What is on offer."""
        return {Channel(path): from_target(target) for path, target in self.targets().targets.items()}

    def renew(self, now: datetime | None = None) -> bool:
        """Signs anew what has lived half of its life; True if something was. The root, whose key is elsewhere, is left
        to its people.
        """
        now = now or datetime.now(UTC)
        due = {role for role in ONLINE if self.open(role).signed.expires - now < LIFETIMES[role] / 2}
        if Targets.type in due or not self._signed(Targets.type):
            with self.edit_targets():
                pass
        changed, _ = self.do_snapshot(force=Snapshot.type in due)
        signed, _ = self.do_timestamp(force=Timestamp.type in due)
        return changed or signed

    def expiries(self) -> dict[str, datetime]:
        """When each role's metadata ends."""
        return {role: self.open(role).signed.expires for role in _MADE}

    @property
    def version(self) -> int:
        """Of the snapshot: rises with every change of what is on offer."""
        return self.snapshot().version

    def root_bytes(self) -> bytes:
        """The latest root metadata: what a vehicle starts to trust from."""
        return self._path(Root.type, self._latest(Root.type)).read_bytes()

    def open(self, role: str) -> Metadata:
        version = self._latest(role)
        if version == 0:
            first = Metadata(_MADE[role]())
            first.signed.version = 0  # `close` counts up
            return first
        return Metadata.from_file(str(self._path(role, version)))

    def close(self, role: str, md: Metadata) -> None:
        signed: Signed = md.signed
        signed.version += 1
        signed.expires = (datetime.now(UTC) + LIFETIMES[role]).replace(microsecond=0)
        md.signatures.clear()
        for signer in self._signers[role]:
            md.sign(signer, append=True)
        write_file(self._path(role, signed.version), md.to_bytes(JSONSerializer(compact=True)))
        if role in (Targets.type, Snapshot.type):
            self._path(role, signed.version - KEPT).unlink(missing_ok=True)

    @property
    def targets_infos(self) -> dict[str, MetaFile]:
        return {"targets.json": MetaFile(self._latest(Targets.type))}

    @property
    def snapshot_info(self) -> MetaFile:
        return MetaFile(self._latest(Snapshot.type))

    def _signed(self, role: str) -> bool:
        """Whether the keys of the present root signed a role's metadata."""
        metadata = self.open(role)
        try:
            self.root().verify_delegate(role, metadata.signed_bytes, metadata.signatures)
        except UnsignedMetadataError:
            return False
        return True

    def _latest(self, role: str) -> int:
        if role == Timestamp.type:
            path = self.folder / "timestamp.json"
            return Metadata.from_file(str(path)).signed.version if path.exists() else 0
        return max((int(path.name.split(".")[0]) for path in self.folder.glob(f"*.{role}.json")), default=0)

    def _path(self, role: str, version: int) -> Path:
        return self.folder / ("timestamp.json" if role == Timestamp.type else f"{version}.{role}.json")


def create(folder: Path, keys: Mapping[str, Ed25519PrivateKey]) -> ReleaseRepository:
    """A new repository; `keys` of all four roles."""
    repository = ReleaseRepository(folder, {role: keys[role] for role in ONLINE})
    repository.authorise({role: key.public_key() for role, key in keys.items()}, [keys[Root.type]])
    return repository
