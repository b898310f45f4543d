"""The vehicle's side of a large uplink: blocks of one update by HTTPS PUT, on a thread of their own."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

logger = logging.getLogger(__name__)

RETRY_S = 2.0
TOO_MANY_REQUESTS = 429

Put = Callable[[str, bytes], tuple[int, float]]
"""`put(url, content)`: HTTP status, and how long to wait before the next try [s]; raises OSError."""


class BlockUpload:
    """One update at a time. What could not be sent is asked for again by the aggregator's next answer."""

    def __init__(self, put: Put, retry_s: float = RETRY_S) -> None:
        """`retry_s`: rest after a cut."""
        self._put, self._retry_s = put, retry_s
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
            self._stopping.wait(self._retry_s)

    def _send(self, url: str, content: bytes) -> None:
        """Raises OSError for whatever keeps the block from being stored."""
        while not self._stopping.is_set():
            self.bytes_sent += len(content)
            status, wait_s = self._put(url, content)
            if 200 <= status < 300:
                return
            if status != TOO_MANY_REQUESTS:
                raise OSError(f"{url.partition('?')[0]}: HTTP {status}")
            self._stopping.wait(wait_s)
        raise OSError("stopped")
