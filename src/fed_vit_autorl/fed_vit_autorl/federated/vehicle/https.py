"""HTTPS as a vehicle: with its certificate to the fleet's aggregator, as anybody to a store that it names."""

from __future__ import annotations

import ssl
from functools import cached_property
from pathlib import Path

import httpx

from .backoff import TryLater, asked_wait_s

BLOCK_BYTES = 256 * 1024
TIMEOUT_S = 20.0
KEPT_S = 15.0  # a connection with nothing to do: less than the aggregator keeps it
_BUSY = (httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE)


class VehicleHttp:
    """`context` holds the client certificate and whom to trust as the aggregator. Safe between threads."""

    def __init__(self, context: ssl.SSLContext) -> None:
        limits = httpx.Limits(keepalive_expiry=KEPT_S)
        self._fleet = httpx.Client(verify=context, timeout=TIMEOUT_S, limits=limits)

    @cached_property
    def _world(self) -> httpx.Client:
        """For a store, which few fleets have: everybody's authorities take 25 ms and 2 MiB to load."""
        return httpx.Client(timeout=TIMEOUT_S)

    def read(self, url: str) -> tuple[int, bytes]:
        """HTTP status and content of a small file of the aggregator; of a large one the first BLOCK_BYTES. Raises
        OSError.
        """
        try:
            with self._fleet.stream("GET", url) as response:
                _refuse_busy(response)
                return response.status_code, _beginning(response)
        except httpx.HTTPError as error:
            raise OSError(f"{url}: {error}") from error

    def fetch(self, url: str, path: Path, max_bytes: int) -> None:
        """Makes `path` complete, continuing what is there; the aggregator may name another place once. Raises OSError;
        never writes more than `max_bytes`.
        """
        have = path.stat().st_size if path.exists() else 0
        if have > max_bytes:
            path.unlink()
            have = 0
        try:
            moved = self._fetch(self._fleet, url, path, have, max_bytes)
            if moved and self._fetch(self._world, moved, path, have, max_bytes):
                raise OSError(f"{url}: moved twice")
        except httpx.HTTPError as error:
            raise OSError(f"{url}: {error}") from error

    def put(self, url: str, content: bytes, ours: bool) -> int:
        """HTTP status; `ours`: the URL is the aggregator's. Raises OSError."""
        try:
            with (self._fleet if ours else self._world).stream("PUT", url, content=content) as response:
                _refuse_busy(response)
                _beginning(response)
                return response.status_code
        except httpx.HTTPError as error:
            raise OSError(f"{url.partition('?')[0]}: {error}") from error

    def close(self) -> None:
        self._fleet.close()
        if "_world" in self.__dict__:
            self._world.close()

    def _fetch(self, client: httpx.Client, url: str, path: Path, have: int, max_bytes: int) -> str:
        """Where the file is instead, "" once it is here."""
        with client.stream("GET", url, headers={"Range": f"bytes={have}-"} if have else {}) as response:
            _refuse_busy(response)
            if response.status_code == httpx.codes.TEMPORARY_REDIRECT:
                _beginning(response)
                return response.headers.get("location", "")
            if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                _beginning(response)
                return ""  # it is complete
            response.raise_for_status()
            resumed = response.status_code == httpx.codes.PARTIAL_CONTENT
            with open(path, "ab" if resumed else "wb") as stream:
                for block in response.iter_bytes(BLOCK_BYTES):
                    if stream.tell() + len(block) > max_bytes:
                        raise OSError(f"{url} is larger than the {max_bytes} bytes announced")
                    stream.write(block)
        return ""


def _refuse_busy(response: httpx.Response) -> None:
    if response.status_code in _BUSY:
        _beginning(response)
        where = str(response.url).partition("?")[0]
        raise TryLater(f"{where}: HTTP {response.status_code}", asked_wait_s(response.headers.get("retry-after", "")))


def _beginning(response: httpx.Response) -> bytes:
    """Reads a small answer to its end: only then can its connection carry the next request."""
    return next(response.iter_bytes(BLOCK_BYTES), b"")
