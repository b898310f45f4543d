"""HTTPS for vehicles, by client certificate: metadata and files of releases down, blocks of large updates up."""

from __future__ import annotations

from functools import lru_cache

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from fed_vit_aggregator.service import AggregatorService
from fed_vit_autorl.deployment import release
from fed_vit_autorl.deployment.tuf_repository import FILE_NAME
from fed_vit_autorl.federated.protocol.wire import TransportReason, TransportRefused

KNOWN_RELEASES = 64
SMALL_BYTES = 64 * 1024  # is read in place: what lies in the page cache costs less than the turns of a thread
_STATUS = {TransportReason.RATE_LIMITED: 429, TransportReason.STORAGE_FULL: 507, TransportReason.MALFORMED: 400}


def vehicle_app(service: AggregatorService) -> Starlette:
    """The TLS layer lets only enrolled vehicles in; files come with ranges, or from the object store."""

    @lru_cache(maxsize=KNOWN_RELEASES)
    def names(version: int) -> frozenset[str]:
        """Of a release's files, which never change."""
        return frozenset({*service.releases.manifest(version).files, release.MANIFEST, release.SIGNATURE})

    async def file(request: Request) -> Response:
        version, name = request.path_params["version"], request.path_params["name"]
        try:
            if name not in names(version):
                raise HTTPException(404, "no such file")
        except release.ReleaseRefused as error:
            raise HTTPException(404, "no such release") from error
        if service.objects is not None:
            return RedirectResponse(await run_in_threadpool(service.objects.get_url, version, name), 307)
        path = service.releases.folder(version) / name
        if "range" not in request.headers and path.stat().st_size <= SMALL_BYTES:
            return Response(path.read_bytes(), media_type="application/octet-stream")
        return FileResponse(path, media_type="application/octet-stream")

    async def metadata(request: Request) -> Response:
        name = request.path_params["name"]
        if not FILE_NAME.fullmatch(name):
            raise HTTPException(404, "no such metadata")
        try:
            content = (service.keys.repository.folder / name).read_bytes()
        except FileNotFoundError as error:
            raise HTTPException(404, "no such metadata") from error
        return Response(content, media_type="application/json", headers={"Cache-Control": "no-store"})

    async def upload(request: Request) -> Response:
        blocks, path = service.blocks, request.path_params
        try:
            size = blocks.admit(path, request.query_params, request.headers.get("content-length", ""))
            content = await _exactly(request, size)
            await run_in_threadpool(blocks.put, path["digest"], int(path["block"]), content)
        except TransportRefused as refusal:
            service.store.count_refusal(path["vehicle"][:63], refusal.reason)
            return PlainTextResponse(str(refusal), _STATUS.get(refusal.reason, 403), headers={"Retry-After": "1"})
        except OSError as error:
            return PlainTextResponse(str(error), 507)
        return Response(status_code=204)

    return Starlette(
        routes=[
            Route("/v1/releases/{version:int}/{name}", file),
            Route("/v1/metadata/{name}", metadata),
            Route("/v1/updates/{vehicle}/{digest}/{block}", upload, methods=["PUT"]),
        ]
    )


async def _exactly(request: Request, size: int) -> bytes:
    """A body of this many bytes, read no further; raises `TransportRefused`."""
    content = bytearray()
    async for part in request.stream():
        content += part
        if len(content) > size:
            break
    if len(content) != size:
        raise TransportRefused(TransportReason.TOO_LARGE, f"more or less than {size} bytes")
    return bytes(content)
