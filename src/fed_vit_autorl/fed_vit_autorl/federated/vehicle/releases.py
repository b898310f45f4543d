"""Releases on the vehicle: looked for in the fleet's metadata, fetched with resume, verified, shadow-tested, and only
then the active one.
"""

from __future__ import annotations

import hashlib
import logging
import random
import shutil
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from fed_vit_autorl.deployment import release
from fed_vit_autorl.deployment.identity import Identity
from fed_vit_autorl.deployment.offers import Offer
from fed_vit_autorl.deployment.release import MANIFEST, SIGNATURE, Manifest, Reason, ReleaseRefused
from fed_vit_autorl.deployment.tuf_client import ReleaseFeed

from ..drift import TESTED
from ..protocol.wire import Pointer
from .backoff import Backoff, TryLater
from .outbox import Outbox

logger = logging.getLogger(__name__)

FIRST_RETRY_S, LAST_RETRY_S = 5.0, 120.0
RECHECK_S = 3600.0  # on average, without news too: who keeps news from us is noticed when the metadata's life is over
EXPIRED_RECHECK_S = 20.0  # on average, while metadata looks expired: a wrong clock is set right some day
KEPT = 3

Fetch = Callable[[str, Path, int], None]
"""`fetch(url, path, max_bytes)`: continues `path` where it ends; raises OSError when the way is closed for now."""


@dataclass(frozen=True)
class Shadow:
    """What a vehicle found of a release on its own experience; a `reason` keeps it on the old one."""

    figures: dict[str, float] = field(default_factory=dict)
    reason: Reason | None = None


ShadowTest = Callable[[Path, Manifest, Path | None], Shadow]
"""`test(candidate, manifest, active)`: figures of the candidate, and `before.<figure>` of the active release."""


def untested(candidate: Path, manifest: Manifest, active: Path | None) -> Shadow:
    """The shadow test of a vehicle that keeps no experience."""
    return Shadow()


class ReleaseShelf:
    """Releases below `folder`, one per version. A thread looks, fetches and tests when there may be news; `active`
    follows.
    """

    def __init__(
        self,
        folder: Path,
        identity: Identity,
        feed: ReleaseFeed,
        outbox: Outbox,
        fetch: Fetch,
        shadow_test: ShadowTest,
        initial: Path | None = None,
    ) -> None:
        """`initial` is the release that the vehicle was shipped with; the active one's version is in the outbox's
        durable state.
        """
        self._folder, self._identity, self._feed, self._outbox = Path(folder), identity, feed, outbox
        self._fetch, self._shadow_test, self._initial = fetch, shadow_test, initial
        self._folder.mkdir(parents=True, exist_ok=True)
        self.metrics: dict[str, float] = {}  # of the release that was tested last, taken or not
        self.reason = ""
        self.refusals: Counter[str] = Counter()
        self._lock = threading.Lock()
        self.url = outbox.get_state("releases_url")  # of the aggregator's plane, "" before the first news
        self._news = False
        self._metadata = -1  # the newest that a pointer named
        self._look_at: float | None = None  # when to look without news, on the clock of `check`
        self._wait_s = _about(RECHECK_S)  # until then, once `check` has been called
        self._backoff = Backoff(FIRST_RETRY_S, LAST_RETRY_S)
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
            if pointer.metadata <= self._metadata:
                return
            # Whoever has the newest release needs not ask at once: a thousand vehicles reconnect in the same second.
            self._metadata, self._news = pointer.metadata, pointer.version > self.version
            if pointer.url != self.url:
                self.url = pointer.url
                self._outbox.set_state(releases_url=pointer.url)

    def check(self, now: float) -> None:
        """Looks if a pointer came, or none has for long. `now` is a steady clock in seconds."""
        with self._lock:
            if self._worker is not None:
                return
            if self._look_at is None:
                self._look_at = now + self._wait_s
            if not self.url or not (self._news or now >= self._look_at) or self._stopping.is_set():
                return
            self._news, self._look_at, self._wait_s = False, None, _about(RECHECK_S)
            self._worker = threading.Thread(target=self._run, name="releases", daemon=True)
            self._worker.start()

    def stop(self) -> None:
        """Ends a fetch; what is there of it is kept."""
        self._stopping.set()
        self.wait()

    def wait(self, limit_s: float = 30.0) -> None:
        """Until the look under way has ended."""
        worker = self._worker
        if worker is not None:
            worker.join(limit_s)

    def _restore(self) -> tuple[Path, Manifest] | None:
        """The active release after a restart, or the shipped one; damaged ones are passed over."""
        stored = self._outbox.get_state("release")
        for folder in [self._folder / stored] * bool(stored) + [self._initial] * bool(self._initial):
            try:
                return folder, release.verify(folder, self._identity.release_keys())
            except ReleaseRefused as refusal:
                logger.error("%s: %s", folder, refusal)
        return None

    def _run(self) -> None:
        try:
            self._look()
            self._backoff.reset()
        except ReleaseRefused as refusal:
            logger.error("release refused: %s", refusal)
            self.reason = refusal.reason
            self.refusals[refusal.reason] += 1
            if refusal.reason is Reason.METADATA_EXPIRED:
                self._wait_s = _about(EXPIRED_RECHECK_S)
        except OSError as error:
            self._wait_s = self._backoff.wait_s(error.after_s if isinstance(error, TryLater) else 0.0)
            logger.warning("no release yet, again in %.1f s: %s", self._wait_s, error)
        finally:
            self._worker = None

    def _look(self) -> None:
        offer = self._feed.look(self.url + "metadata/")
        self._identity.trust(self._feed.signers())
        if offer is not None and offer.digest in self._refused:
            return
        try:
            if offer is not None and offer.version > self.version:
                self._take(offer)
            self.reason = ""
        except ReleaseRefused:
            self._refused.add(offer.digest)
            raise

    def _take(self, offer: Offer) -> None:
        folder = self._folder / str(offer.version)
        if not folder.is_dir():
            self._download(offer, folder)
        manifest = release.verify(folder, self._identity.release_keys())
        if manifest.digest != offer.digest:
            shutil.rmtree(folder)
            raise ReleaseRefused(Reason.BAD_DIGEST, "not the manifest that is on offer")
        release.require_newer(manifest, self.version)
        shadow = self._shadow_test(folder, manifest, self._active[0] if self._active else None)
        self.metrics = {TESTED: float(manifest.version), **shadow.figures} if shadow.figures else {}
        if shadow.reason is not None:
            raise ReleaseRefused(shadow.reason, str(shadow.figures))
        self._outbox.set_state(release=str(manifest.version))
        self._active = folder, manifest
        self._forget_old(manifest.version)

    def _download(self, offer: Offer, folder: Path) -> None:
        """The manifest first: it says what else there is, and how large."""
        partial = self._folder / f"{offer.version}-{offer.digest[:16]}.partial"
        partial.mkdir(exist_ok=True)
        url = f"{self.url}releases/{offer.version}/"
        try:
            self._fetch(url + MANIFEST, partial / MANIFEST, offer.size)
            self._fetch(url + SIGNATURE, partial / SIGNATURE, 64)
            if hashlib.sha256((partial / MANIFEST).read_bytes()).hexdigest() != offer.digest:
                raise ReleaseRefused(Reason.BAD_DIGEST, "not the manifest that is on offer")
            trusted = self._identity.release_keys()
            for name, entry in release.read_manifest(partial, trusted).files.items():
                if entry.size > release.MAX_FILE_BYTES:
                    raise ReleaseRefused(Reason.OVERSIZED_FILE, name)
                self._fetch(url + name, partial / name, entry.size)
            release.verify(partial, trusted)
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


def _about(seconds: float) -> float:
    """So long on average, at another time on every vehicle."""
    return random.uniform(0, 2 * seconds)
