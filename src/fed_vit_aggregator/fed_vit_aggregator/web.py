"""HTTPS for people: the page, metrics, enrolment and the actions of an operator."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from functools import partial
from importlib.resources import files
from pathlib import Path

import msgspec
from prometheus_client import generate_latest
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from fed_vit_aggregator.metrics import registry
from fed_vit_aggregator.service import AggregatorService
from fed_vit_aggregator.view import fleet_state
from fed_vit_autorl.deployment.pki import EnrolmentRefused
from fed_vit_autorl.files import write_secret

SESSION = "fleet_session"
MAX_BODY_BYTES = 32 * 1024
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


class Operators:
    """Who may act: whoever shows the token of `<state>/keys/operator.token`, once per browser session."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            write_secret(path, secrets.token_urlsafe(32).encode())
        self._token = path.read_text().strip()
        self._sessions: set[str] = set()

    def log_in(self, token: str) -> str | None:
        """A new session's name, None for a wrong token."""
        if not hmac.compare_digest(token.encode(), self._token.encode()):
            return None
        session = secrets.token_urlsafe(32)
        self._sessions.add(session)
        return session

    def allowed(self, request: Request) -> bool:
        """By session cookie or `Authorization: Bearer <token>`."""
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        return request.cookies.get(SESSION, "") in self._sessions or hmac.compare_digest(
            bearer.encode(), self._token.encode()
        )


def operator_app(service: AggregatorService) -> Starlette:
    """The page, its data, Prometheus metrics, enrolment, and the actions of an operator."""
    operators = Operators(service.settings.folder / "keys" / "operator.token")
    page_text = files("fed_vit_aggregator").joinpath("page.html").read_text(encoding="utf-8")
    collected = registry(service)

    def page(request: Request) -> Response:
        return HTMLResponse(page_text, headers=HEADERS)

    def state(request: Request) -> Response:
        return JSONResponse(fleet_state(service) | {"operator": operators.allowed(request)}, headers=HEADERS)

    def metrics(request: Request) -> Response:
        return PlainTextResponse(generate_latest(collected), media_type="text/plain; version=0.0.4")

    def healthz(request: Request) -> Response:
        healthy = service.healthy
        return PlainTextResponse("ok\n" if healthy else "not connected to the broker\n", 200 if healthy else 503)

    async def log_in(request: Request) -> Response:
        session = operators.log_in(str((await _body(request)).get("token", "")))
        if session is None:
            raise HTTPException(401, "wrong token")
        response = JSONResponse({})
        response.set_cookie(SESSION, session, httponly=True, secure=True, samesite="strict")
        return response

    async def act(request: Request) -> Response:
        if not operators.allowed(request):
            raise HTTPException(401, "log in first")
        body = await _body(request)
        action = ACTIONS.get(request.path_params["action"])
        if action is None:
            raise HTTPException(404, "no such action")
        try:
            await run_in_threadpool(action, service, body)
        except (KeyError, TypeError, ValueError, OSError) as error:
            raise HTTPException(400, f"not done: {error}") from error
        return JSONResponse({})

    async def enrol(request: Request) -> Response:
        body = await _body(request)
        authority = service.keys.authority
        vehicle, claim, signing = (str(body.get(name, "")) for name in ("vehicle", "claim", "request"))
        again = authority.is_revoked(vehicle)
        try:
            certificate = authority.enrol(vehicle, claim, signing.encode())
        except EnrolmentRefused as refusal:
            return JSONResponse({"reason": refusal.reason}, 403)
        if again:
            service.keys.tell_broker(service.settings.broker_folder, service.config.federation.region)
        return JSONResponse(
            {
                "certificate": certificate.decode(),
                "ca": authority.ca_path.read_text(),
                "aggregator": service.keys.messages.public_key().public_bytes_raw().hex(),
                "root": service.keys.repository.root_bytes().decode(),
                "shipped": [key.public_bytes_raw().hex() for key in service.shipped_keys],
            }
        )

    return Starlette(
        routes=[
            Route("/", page),
            Route("/api/state", state),
            Route("/metrics", metrics),
            Route("/healthz", healthz),
            Route("/api/login", log_in, methods=["POST"]),
            Route("/api/actions/{action}", act, methods=["POST"]),
            Route("/v1/enrol", enrol, methods=["POST"]),
        ]
    )


def _pause(service: AggregatorService, body: dict, paused: bool) -> None:
    service.engine.paused = paused


ACTIONS: dict[str, Callable[[AggregatorService, dict], object]] = {
    "start": partial(_pause, paused=False),
    "pause": partial(_pause, paused=True),
    "roll_back": lambda service, body: service.roll_back(int(body["version"])),
}


async def _body(request: Request) -> dict:
    """A small JSON object, bounded before it is read; 415 keeps other sites' forms out."""
    if request.headers.get("content-type", "").partition(";")[0] != "application/json":
        raise HTTPException(415, "send application/json")
    content = b""
    async for part in request.stream():
        content += part
        if len(content) > MAX_BODY_BYTES:
            raise HTTPException(413, "too large")
    try:
        body = msgspec.json.decode(content or b"{}", type=dict)
    except msgspec.MsgspecError as error:
        raise HTTPException(400, "not a JSON object") from error
    return body
