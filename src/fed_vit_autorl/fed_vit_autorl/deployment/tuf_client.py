"""What a vehicle believes about releases: the TUF client's workflow over the vehicle's own HTTPS connection.

Refused with a reason: metadata older than what was seen or than what the rest of it names (roll-back, mix and match),
metadata whose life is over (freeze), and what the fleet's keys did not sign.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from tuf.api import exceptions as tuf
from tuf.api.metadata import Metadata, Targets
from tuf.ngclient import Updater, UpdaterConfig
from tuf.ngclient.fetcher import FetcherInterface

from fed_vit_autorl.deployment.offers import Channel, Offer, from_target
from fed_vit_autorl.deployment.release import Reason, ReleaseRefused

LIMITS = UpdaterConfig(
    max_root_rotations=64, root_max_length=64_000, timestamp_max_length=8_000, snapshot_max_length=8_000,
    targets_max_length=64_000,
)  # fmt: skip
_REASONS = (  # the first that fits
    (tuf.ExpiredMetadataError, Reason.METADATA_EXPIRED),
    (tuf.BadVersionNumberError, Reason.METADATA_ROLLED_BACK),
    (tuf.UnsignedMetadataError, Reason.METADATA_UNSIGNED),
    (tuf.RepositoryError, Reason.METADATA_MALFORMED),
)

Read = Callable[[str], tuple[int, bytes]]
"""`read(url)`: status and content of a small file; raises OSError when the way is closed."""


class ReleaseFeed:
    """Metadata seen so far in `folder`, durable: after a restart nothing older is believed either."""

    def __init__(self, folder: Path, root: Path, vehicle: str, read: Read) -> None:
        """`root`: root metadata that came with the enrolment."""
        self._folder, self._vehicle, self._read = Path(folder), vehicle, read
        self._folder.mkdir(parents=True, exist_ok=True)
        self._bootstrap = Path(root)

    def look(self, url: str) -> Offer | None:
        """The newest release that the metadata below `url` offers this vehicle, None for none.

        Raises ReleaseRefused (metadata_expired, _rolled_back, _unsigned, _malformed), or OSError when the
        way is closed for now.
        """
        try:
            updater = Updater(
                str(self._folder),
                url,
                fetcher=_Fetcher(self._read),
                config=LIMITS,
                bootstrap=self._bootstrap.read_bytes(),
            )
            updater.refresh()
            targets = [updater.get_targetinfo(str(channel)) for channel in Channel]
        except tuf.DownloadLengthMismatchError as error:
            raise ReleaseRefused(Reason.METADATA_MALFORMED, str(error)) from error
        except tuf.DownloadError as error:
            raise OSError(f"{url}: {error}") from error
        except tuf.RepositoryError as error:
            reason = next(reason for kind, reason in _REASONS if isinstance(error, kind))
            raise ReleaseRefused(reason, str(error)) from error
        offers = [from_target(target) for target in targets if target is not None]
        mine = [offer for offer in offers if offer.takes(self._vehicle)]
        return max(mine, key=lambda offer: offer.version, default=None)

    def signers(self) -> list[Ed25519PublicKey]:
        """Keys that may sign releases by the newest root seen."""
        return signers((self._folder / "root.json").read_bytes())


def signers(root: bytes) -> list[Ed25519PublicKey]:
    """Keys of the role `targets` in root metadata; raises ValueError for what is none."""
    try:
        signed = Metadata.from_bytes(root).signed
        keys = [signed.keys[name] for name in signed.roles[Targets.type].keyids]
        return [Ed25519PublicKey.from_public_bytes(bytes.fromhex(key.keyval["public"])) for key in keys]
    except (tuf.RepositoryError, KeyError, AttributeError) as error:
        raise ValueError(f"no root metadata: {error}") from error


class _Fetcher(FetcherInterface):
    def __init__(self, read: Read) -> None:
        self._read = read

    def _fetch(self, url: str) -> Iterator[bytes]:
        status, content = self._read(url)  # whose OSError passes through: it comes once the generator runs
        if status != 200:
            raise tuf.DownloadHTTPError(f"{url}: HTTP {status}", status)
        yield content
