"""HTTPS downloads that go on where they were cut, with the vehicle's certificate."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx

BLOCK_BYTES = 256 * 1024
TIMEOUT_S = 20.0


class Downloader:
    """`context` holds the client certificate and whom to trust."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._client = httpx.Client(verify=context, timeout=TIMEOUT_S, follow_redirects=False)

    def read(self, url: str) -> tuple[int, Iterator[bytes]]:
        """HTTP status and content, read as it is asked for. Raises OSError."""
        try:
            response = self._client.send(self._client.build_request("GET", url), stream=True)
        except httpx.HTTPError as error:
            raise OSError(f"{url}: {error}") from error
        return response.status_code, _blocks(response)

    def __call__(self, url: str, path: Path, max_bytes: int) -> None:
        """Makes `path` complete, continuing what is there. Raises OSError; never writes more than `max_bytes`."""
        have = path.stat().st_size if path.exists() else 0
        if have > max_bytes:
            path.unlink()
            have = 0
        try:
            with self._client.stream("GET", url, headers={"Range": f"bytes={have}-"} if have else {}) as response:
                if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                    return  # it is complete
                response.raise_for_status()
                resumed = response.status_code == httpx.codes.PARTIAL_CONTENT
                with open(path, "ab" if resumed else "wb") as stream:
                    for block in response.iter_bytes(BLOCK_BYTES):
                        if stream.tell() + len(block) > max_bytes:
                            raise OSError(f"{url} is larger than the {max_bytes} bytes announced")
                        stream.write(block)
        except httpx.HTTPError as error:
            raise OSError(f"{url}: {error}") from error

    def close(self) -> None:
        self._client.close()


def _blocks(response: httpx.Response) -> Iterator[bytes]:
    try:
        yield from response.iter_bytes(BLOCK_BYTES)
    except httpx.HTTPError as error:
        raise OSError(f"{response.url}: {error}") from error
    finally:
        response.close()
