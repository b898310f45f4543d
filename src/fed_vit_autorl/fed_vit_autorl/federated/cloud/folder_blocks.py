"""Blocks in a folder of the aggregator: URLs that only it can make, and what a PUT to one must fulfil.

A URL is a capability: it names vehicle, update, block, size and end of validity under an HMAC, and is told to that
vehicle alone. Mutual TLS comes on top, and a vehicle that is revoked meanwhile is refused.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlencode

from ...files import write_file
from ...refusal import Refused
from ..protocol.limits import DEFAULT, TokenBucket
from ..protocol.wire import NAME_PATTERN, TransportReason, TransportRefused

BLOCK_BYTES = 1 << 20
VALID_S = 3600
BURST_S = 2.0
_DIGEST, _NUMBER, _NAME = re.compile(r"[0-9a-f]{64}"), re.compile(r"[0-9]{1,12}"), re.compile(NAME_PATTERN)


class FolderBlocks:
    """Files `<folder>/<digest>/<block>`; each appears whole and synced, or not at all. Safe between threads."""

    block_bytes = BLOCK_BYTES

    def __init__(self, folder: Path, key: bytes, url: str, bytes_per_s: float, known: Callable[[str], object]) -> None:
        """`url`: of the route that takes PUTs. `known(vehicle)` raises `Refused` for a vehicle that may not send (any
        more).
        """
        self._folder, self._key, self._url = Path(folder), key, url.rstrip("/")
        self._rate, self._known = bytes_per_s, known
        self._folder.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._buckets: dict[str, TokenBucket] = {}

    def put_url(self, vehicle: str, digest: str, block: int, size: int) -> str:
        expires = int(time.time()) + VALID_S
        query = {"size": size, "expires": expires, "signature": self._sign(vehicle, digest, block, size, expires)}
        return f"{self._url}/{vehicle}/{digest}/{block}?{urlencode(query)}"

    def arrived(self, digest: str) -> set[int]:
        return {int(path.name) for path in (self._folder / digest).glob("[0-9]*")}

    def read(self, digest: str, block: int) -> bytes:
        with open(self._folder / digest / str(block), "rb") as stream:
            return stream.read(BLOCK_BYTES + 1)

    def remove(self, digest: str) -> None:
        shutil.rmtree(self._folder / digest, ignore_errors=True)

    def admit(self, path: Mapping[str, str], query: Mapping[str, str], length: str) -> int:
        """Bytes that a PUT may and must bring; `path` names vehicle, digest and block, `length` is its Content-Length.

        Raises `TransportRefused`: malformed, bad_signature, expired, unknown_vehicle, revoked_vehicle, too_large,
        rate_limited, storage_full.
        """
        vehicle, digest, block = path["vehicle"], path["digest"], path["block"]
        size, expires, signature = (query.get(name, "") for name in ("size", "expires", "signature"))
        numbers = all(_NUMBER.fullmatch(text) for text in (block, size, expires, length))
        if not numbers or not _DIGEST.fullmatch(digest) or not _NAME.match(vehicle) or not _DIGEST.fullmatch(signature):
            raise TransportRefused(TransportReason.MALFORMED, "not a URL of this store, or no Content-Length")
        wanted = self._sign(vehicle, digest, int(block), int(size), int(expires))
        if not hmac.compare_digest(signature, wanted):
            raise TransportRefused(TransportReason.BAD_SIGNATURE, "not a URL of this store")
        if time.time() > int(expires):
            raise TransportRefused(TransportReason.EXPIRED, "ask for another URL")
        try:
            self._known(vehicle)
        except Refused as refusal:
            raise TransportRefused(TransportReason(refusal.reason), vehicle) from refusal
        if int(length) != int(size):
            raise TransportRefused(TransportReason.TOO_LARGE, f"{length} bytes, the URL is for {size}")
        if shutil.disk_usage(self._folder).free < DEFAULT.spare_bytes + int(size):
            raise TransportRefused(TransportReason.STORAGE_FULL, "no room for this block now")
        self._spend(vehicle, int(size))
        return int(size)

    def put(self, digest: str, block: int, content: bytes) -> None:
        """Durable on return; a repeat changes nothing. Raises OSError."""
        write_file(self._folder / digest / str(block), content)

    def _spend(self, vehicle: str, size: int) -> None:
        with self._lock:
            fresh = TokenBucket(self._rate, max(self._rate * BURST_S, 2.0 * BLOCK_BYTES))
            if not self._buckets.setdefault(vehicle, fresh).take(time.monotonic(), size):
                raise TransportRefused(TransportReason.RATE_LIMITED, f"more than {self._rate:.0f} bytes a second")

    def _sign(self, *parts: str | int) -> str:
        text = "/".join(map(str, ("fed-vit-autorl block", *parts)))
        return hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()
