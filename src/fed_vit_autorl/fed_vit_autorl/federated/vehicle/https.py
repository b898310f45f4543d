"""HTTPS as a vehicle: with its certificate to the fleet's aggregator, as anybody to a store that it names."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx

BLOCK_BYTES = 256 * 1024
TIMEOUT_S = 20.0


class VehicleHttp:
    """`context` holds the client certificate and whom to trust as the aggregator. Safe between threads."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._fleet = httpx.Client(verify=context, timeout=TIMEOUT_S, follow_redirects=False)
        self._world = httpx.Client(timeout=TIMEOUT_S, follow_redirects=False)

    def read(self, url: str) -> tuple[int, Iterator[bytes]]:
        """HTTP status and content of a file of the aggregator, read as it is asked for. Raises OSError."""
        try:
            response = self._fleet.send(self._fleet.build_request("GET", url), stream=True)
        except httpx.HTTPError as error:
            raise OSError(f"{url}: {error}") from error
        return response.status_code, _blocks(response)

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

    def put(self, url: str, content: bytes, ours: bool) -> tuple[int, float]:
        """HTTP status, and how long to wait before the next try [s]; `ours`: the URL is the aggregator's. Raises
        OSError.
        """
        try:
            response = (self._fleet if ours else self._world).put(url, content=content)
        except httpx.HTTPError as error:
            raise OSError(f"{url.partition('?')[0]}: {error}") from error
        wait = response.headers.get("retry-after", "")
        return response.status_code, min(float(wait), 60.0) if wait.isdigit() else 1.0

    def close(self) -> None:
        self._fleet.close()
        self._world.close()

    def _fetch(self, client: httpx.Client, url: str, path: Path, have: int, max_bytes: int) -> str:
        """Where the file is instead, "" once it is here."""
        with client.stream("GET", url, headers={"Range": f"bytes={have}-"} if have else {}) as response:
            if response.status_code == httpx.codes.TEMPORARY_REDIRECT:
                return response.headers.get("location", "")
            if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                return ""  # it is complete
            response.raise_for_status()
            resumed = response.status_code == httpx.codes.PARTIAL_CONTENT
            with open(path, "ab" if resumed else "wb") as stream:
                for block in response.iter_bytes(BLOCK_BYTES):
                    if stream.tell() + len(block) > max_bytes:
                        raise OSError(f"{url} is larger than the {max_bytes} bytes announced")
                    stream.write(block)
        return ""


def _blocks(response: httpx.Response) -> Iterator[bytes]:
    try:
        yield from response.iter_bytes(BLOCK_BYTES)
    except httpx.HTTPError as error:
        raise OSError(f"{response.url}: {error}") from error
    finally:
        response.close()
