"""Releases on the vehicle: fetched with resume, verified, shadow-tested, and only then the active one."""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from fed_vit_autorl.deployment import release
from fed_vit_autorl.deployment.release import MANIFEST, SIGNATURE, Manifest, ReleaseRefused

from .outbox import Outbox
from .wire import Pointer

logger = logging.getLogger(__name__)

RETRY_S = 5.0
KEPT = 3

Fetch = Callable[[str, Path, int], None]
"""`fetch(url, path, max_bytes)`: continues `path` where it ends; raises OSError when the way is closed for now."""

ShadowTest = Callable[[Path, Manifest, Path | None], dict[str, float]]
"""`test(candidate, manifest, active)`: figures on the vehicle's own experience; raises ReleaseRefused to stay on the
old one.
"""


def untested(candidate: Path, manifest: Manifest, active: Path | None) -> dict[str, float]:
    """The shadow test of a vehicle that keeps no experience."""
    return {}


class ReleaseShelf:
    """Releases below `folder`, one per version. A thread fetches and tests what the last pointer named; `active`
    follows.
    """

    def __init__(
        self,
        folder: Path,
        trusted: list[Ed25519PublicKey],
        outbox: Outbox,
        fetch: Fetch,
        shadow_test: ShadowTest,
        initial: Path | None = None,
    ) -> None:
        """`initial` is the release that the vehicle was shipped with; the active one's version is in the outbox's
        durable state.
        """
        self._folder, self._trusted, self._outbox = Path(folder), trusted, outbox
        self._fetch, self._shadow_test, self._initial = fetch, shadow_test, initial
        self._folder.mkdir(parents=True, exist_ok=True)
        self.metrics: dict[str, float] = {}
        self.reason = ""
        self._lock = threading.Lock()
        self._wanted: Pointer | None = None
        self._worker: threading.Thread | None = None
        self._stopping = threading.Event()
        self._refused: set[str] = set()
        self._active = self._restore()

    @property
    def version(self) -> int:
        return self._active[1].version if self._active else 0

    @property
    def active(self) -> tuple[Path, Manifest] | None:
        """The release that the vehicle should run."""
        return self._active

    def folder(self, version: int) -> Path | None:
        if self._active is not None and version == self._active[1].version:
            return self._active[0]
        folder = self._folder / str(version)
        return folder if folder.is_dir() else None

    def offer(self, pointer: Pointer) -> None:
        with self._lock:
            known = pointer.version <= self.version or pointer.digest in self._refused
            if known or (self._wanted is not None and pointer.version <= self._wanted.version):
                return
            self._wanted = pointer
            if self._worker is None:
                self._worker = threading.Thread(target=self._run, name="releases", daemon=True)
                self._worker.start()

    def stop(self) -> None:
        """Ends a fetch; what is there of it is kept."""
        self._stopping.set()
        worker = self._worker
        if worker is not None:
            worker.join(30)

    def _restore(self) -> tuple[Path, Manifest] | None:
        """The active release after a restart, or the shipped one; damaged ones are passed over."""
        stored = self._outbox.get_state("release")
        for folder in [self._folder / stored] * bool(stored) + [self._initial] * bool(self._initial):
            try:
                return folder, release.verify(folder, self._trusted)
            except ReleaseRefused as refusal:
                logger.error("%s: %s", folder, refusal)
        return None

    def _run(self) -> None:
        while (pointer := self._next()) is not None:
            try:
                self._take(pointer)
                self.reason = ""
            except ReleaseRefused as refusal:
                logger.error("release %d refused: %s", pointer.version, refusal)
                self.reason = refusal.reason
                self._refused.add(pointer.digest)
            except OSError as error:
                logger.warning("release %d not here yet: %s", pointer.version, error)
                self._stopping.wait(RETRY_S)

    def _next(self) -> Pointer | None:
        """What is still to be fetched; with None the thread has ended."""
        with self._lock:
            pointer = self._wanted
            done = pointer is None or pointer.version <= self.version or pointer.digest in self._refused
            if done or self._stopping.is_set():
                self._wanted = self._worker = None
                return None
            return pointer

    def _take(self, pointer: Pointer) -> None:
        folder = self._folder / str(pointer.version)
        if not folder.is_dir():
            self._download(pointer, folder)
        manifest = release.verify(folder, self._trusted)
        if manifest.digest != pointer.digest:
            shutil.rmtree(folder)
            raise ReleaseRefused(release.Reason.BAD_DIGEST, "not the manifest that the pointer names")
        release.require_newer(manifest, self.version)
        self.metrics = self._shadow_test(folder, manifest, self._active[0] if self._active else None)
        self._outbox.set_state(release=str(manifest.version))
        self._active = folder, manifest
        self._forget_old(manifest.version)

    def _download(self, pointer: Pointer, folder: Path) -> None:
        partial = self._folder / f"{pointer.version}-{pointer.digest[:16]}.partial"
        partial.mkdir(exist_ok=True)
        limits = {MANIFEST: release.MAX_MANIFEST_BYTES, SIGNATURE: 64} | pointer.files
        for name, size in limits.items():
            self._fetch(pointer.url + name, partial / name, size)
        try:
            release.verify(partial, self._trusted)
        except ReleaseRefused:
            shutil.rmtree(partial)  # what came can't be continued
            raise
        partial.rename(folder)

    def _forget_old(self, version: int) -> None:
        numbered = sorted((int(path.name) for path in self._folder.iterdir() if path.name.isdigit()), reverse=True)
        for old in numbered[KEPT:]:
            if old != version:
                shutil.rmtree(self._folder / str(old), ignore_errors=True)
        for path in self._folder.glob("*.partial"):
            shutil.rmtree(path, ignore_errors=True)
