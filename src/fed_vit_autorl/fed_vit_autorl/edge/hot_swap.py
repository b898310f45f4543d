"""A model that is replaced while it runs: loaded beside the old one, swapped between two frames, refused in its
favour."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from fed_vit_autorl.deployment import release
from fed_vit_autorl.deployment.keys import load_public_keys
from fed_vit_autorl.deployment.release import Manifest, Reason, ReleaseRefused

from .refusal import RuntimeRefused

Model = TypeVar("Model")
LOADING_SWITCH_S = 0.001
"""How long the loader may keep the interpreter from a frame, while it loads. A lower priority would keep it longer: a
thread that gets no processor does not give the interpreter back either."""


@dataclass(frozen=True)
class Active(Generic[Model]):
    """A model and the release that it is from."""

    manifest: Manifest
    model: Model


@dataclass(frozen=True)
class Outcome:
    """What became of a requested release; `reason` is empty when it is active now."""

    version: int
    digest: str
    reason: str
    detail: str = ""


class HotSwap(Generic[Model]):
    """Holds the active model; `request` loads another in the background, `swap` makes it the active one. The keys in
    `trusted`, a folder or a file, are read for each release: a fleet may give itself new ones.

    `load(folder, manifest)` returns a warm model and raises ReleaseRefused or RuntimeRefused; it runs in a
    thread. Of several requests during one load only the last is kept. The initial release is loaded at once.
    """

    def __init__(self, folder: Path, trusted: Path, load: Callable[[Path, Manifest], Model]) -> None:
        self._trusted, self._load = trusted, load
        self._lock = threading.Lock()
        self._waiting: tuple[Path, int, str] | None = None
        self._ready: tuple[Active[Model] | None, Outcome] | None = None
        self._thread: threading.Thread | None = None
        self.active = self._open(folder)

    @property
    def loading(self) -> bool:
        """Whether a release is being loaded or waits for `swap`."""
        with self._lock:
            return self._thread is not None or self._ready is not None

    def request(self, folder: Path, version: int, digest: str) -> None:
        """Load the release in `folder`, which must have this version and digest. Returns at once."""
        with self._lock:
            self._waiting = Path(folder), version, digest
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="model loader", daemon=True)
                self._thread.start()

    def finish(self) -> None:
        """Wait until no release is being loaded any more."""
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join()

    def swap(self) -> Outcome | None:
        """Called between two frames: makes a loaded model the active one. Says what became of a request, once."""
        with self._lock:
            ready, self._ready = self._ready, None
        if ready is None:
            return None
        replacement, outcome = ready
        if replacement is not None:
            self.active = replacement
        return outcome

    def _work(self) -> None:
        usual = sys.getswitchinterval()
        sys.setswitchinterval(LOADING_SWITCH_S)
        while True:
            with self._lock:
                request, self._waiting = self._waiting, None
                if request is None:
                    self._thread = None
                    sys.setswitchinterval(usual)
                    return
            ready = self._try(*request)
            with self._lock:
                self._ready = ready

    def _try(self, folder: Path, version: int, digest: str) -> tuple[Active[Model] | None, Outcome]:
        try:
            return self._open(folder, version, digest), Outcome(version, digest, "")
        except (ReleaseRefused, RuntimeRefused) as refusal:
            return None, Outcome(version, digest, str(refusal.reason), refusal.detail)

    def _open(self, folder: Path, version: int = 0, digest: str = "") -> Active[Model]:
        try:
            trusted = load_public_keys(self._trusted)
        except (OSError, ValueError) as error:
            raise ReleaseRefused(Reason.BAD_SIGNATURE, f"no trusted keys: {error}") from error
        manifest = release.verify(folder, trusted)
        if digest:
            if (manifest.version, manifest.digest) != (version, digest):
                found = f"{folder} holds {manifest.model_id}, not {version}-{digest[:8]}"
                raise ReleaseRefused(Reason.BAD_DIGEST, found)
            release.require_newer(manifest, self.active.manifest.version)
        return Active(manifest, self._load(folder, manifest))
