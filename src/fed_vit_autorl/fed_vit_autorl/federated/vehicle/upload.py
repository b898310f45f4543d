"""The vehicle's side of a large uplink: blocks of one update by HTTPS PUT, on a thread of their own."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from .backoff import Backoff, TryLater

logger = logging.getLogger(__name__)

FIRST_RETRY_S, LAST_RETRY_S = 2.0, 60.0

Put = Callable[[str, bytes], int]
"""`put(url, content)`: HTTP status; raises OSError, `TryLater` where the server has too much to do."""


class BlockUpload:
    """One update at a time. What could not be sent is asked for again by the aggregator's next answer."""

    def __init__(self, put: Put, backoff: Backoff | None = None) -> None:
        """`backoff`: rests after a cut and while the server has too much to do."""
        self._put, self._backoff = put, backoff or Backoff(FIRST_RETRY_S, LAST_RETRY_S)
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self.bytes_sent = 0

    @property
    def busy(self) -> bool:
        """Until `finished` has been asked after the last block."""
        return self._thread is not None

    def begin(self, path: Path, block_bytes: int, blocks: Mapping[int, str]) -> None:
        """Sends bytes `i * block_bytes` … of the file to each `blocks[i]`. Returns at once."""
        self._thread = threading.Thread(
            target=self._run, args=(path, block_bytes, dict(blocks)), name="upload", daemon=True
        )
        self._thread.start()

    def finished(self) -> bool:
        """Once, after it has sent all that it could."""
        if self._thread is None or self._thread.is_alive():
            return False
        self._thread = None
        return True

    def stop(self) -> None:
        """After the block under way."""
        self._stopping.set()
        self.wait()

    def wait(self, limit_s: float = 30.0) -> None:
        """Until it has sent all that it could."""
        if self._thread is not None:
            self._thread.join(limit_s)

    def _run(self, path: Path, block_bytes: int, blocks: dict[int, str]) -> None:
        try:
            with open(path, "rb") as stream:
                for block, url in blocks.items():
                    stream.seek(block * block_bytes)
                    self._send(url, stream.read(block_bytes))
        except OSError as error:
            if not self._stopping.is_set():
                logger.warning("upload broken off: %s", error)
            self._stopping.wait(self._backoff.wait_s())

    def _send(self, url: str, content: bytes) -> None:
        """Raises OSError for whatever keeps the block from being stored."""
        while not self._stopping.is_set():
            self.bytes_sent += len(content)
            try:
                status = self._put(url, content)
            except TryLater as busy:
                self._stopping.wait(self._backoff.wait_s(busy.after_s))
                continue
            if not 200 <= status < 300:
                raise OSError(f"{url.partition('?')[0]}: HTTP {status}")
            self._backoff.reset()
            return
        raise OSError("stopped")
