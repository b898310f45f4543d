"""What a vehicle with heads of its own drives with: the fleet's release with its own tensors in it."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ...deployment import release
from ...deployment.candidate import make_candidate
from ...deployment.release import Manifest, ReleaseRefused
from ..model_tensors import by_model
from .outbox import Outbox
from .update_maker import PERSONAL, below

logger = logging.getLogger(__name__)


class PersonalReleases:
    """Signed with the vehicle's own key, which its nodes trust too, and numbered one above the fleet's release that it
    was made from: as the fleet's numbers rise, so do these. Each has the heads as they were when it was made.
    """

    def __init__(self, folder: Path, outbox: Outbox, key: Ed25519PrivateKey) -> None:
        self._folder, self._outbox, self._key = Path(folder), outbox, key
        self._made: tuple[str, tuple[Path, Manifest]] | None = None  # for which of the fleet's releases

    def of(self, base: Path, manifest: Manifest) -> tuple[Path, Manifest]:
        """The verified release `base` with the vehicle's tensors, or as it is if there are none or they don't fit."""
        if self._made is None or self._made[0] != manifest.digest:
            self._made = manifest.digest, self._with_own(base, manifest)
        return self._made[1]

    def _with_own(self, base: Path, manifest: Manifest) -> tuple[Path, Manifest]:
        personal = by_model(below(self._outbox.kept(), PERSONAL))
        if not personal:
            return base, manifest
        version = manifest.version + 1
        folder = self._folder / str(version)
        try:
            if folder.is_dir():
                made = release.verify(folder, [self._key.public_key()])
                if made.parent == manifest.digest:
                    return folder, made
            shutil.rmtree(self._folder, ignore_errors=True)  # one is enough: older ones are never driven again
            return folder, make_candidate(base, manifest, folder, personal, self._key, version=version)
        except ReleaseRefused as refusal:
            logger.warning("release %d without the vehicle's own heads: %s", manifest.version, refusal)
            return base, manifest
