"""The ASGI application: the calls, the status page, and what holds for all of them."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import structlog
from fastapi import FastAPI
from jinja2 import Environment, PackageLoader
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from reportd.core.job import timestamp
from reportd.ports import JobFilter
from reportd.service import Service
from reportd_web import api, wire
from reportd_web.openapi import document
from reportd_web.problems import ProblemError

log = structlog.get_logger()

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)


@dataclass(frozen=True, slots=True)
class Face:
    """What the daemon gives its HTTP face. ``ready``: per part whether it works, and why not."""

    service: Service
    schemas: Mapping[str, Mapping[str, Any]]
    max_body_bytes: int
    ready: Callable[[], Awaitable[dict[str, tuple[bool, str]]]]
    status: Callable[[], Awaitable[dict[str, Any]]]


def create_app(face: Face) -> FastAPI:
    # The interactive documentation pages load scripts from elsewhere; the document itself is enough.
    app = FastAPI(title="reportd", docs_url=None, redoc_url=None, openapi_url=None)
    app.include_router(api.reports(face.service, face.max_body_bytes))
    _add_status(app, face)
    app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"))
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _any_error)
    app.add_middleware(_Guard)
    return app


def _add_status(app: FastAPI, face: Face) -> None:
    pages = Environment(loader=PackageLoader("reportd_web"), autoescape=True)
    pages.filters["moment"] = lambda seconds: timestamp(seconds)[:19].replace("T", " ")
    openapi = document(face.schemas)

    async def healthz(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(_: Request) -> Response:
        parts = await face.ready()
        ready = all(ok for ok, _ in parts.values())
        answer = {"ready": ready, "parts": {n: {"ok": ok, "detail": why} for n, (ok, why) in parts.items()}}
        return api.json(answer, HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE)

    async def status(_: Request) -> Response:
        return api.json(await face.status())

    async def home(_: Request) -> Response:
        recent = await face.service.search(JobFilter(), 25)
        parts = await face.ready()
        troubles = [f"{name}: {why}" for name, (ok, why) in parts.items() if not ok]
        page = pages.get_template("status.html").render(
            status=await face.status(), reports=[wire.report(r) for r in recent], troubles=troubles
        )
        headers = {"Content-Security-Policy": POLICY, "Cache-Control": "no-store"}
        return Response(page, headers=headers, media_type="text/html")

    async def openapi_json(_: Request) -> Response:
        return api.json(openapi)

    for path, endpoint in (
        ("/", home),
        ("/status", status),
        ("/healthz", healthz),
        ("/readyz", readyz),
        ("/openapi.json", openapi_json),
    ):
        app.add_route(path, endpoint, methods=["GET"])


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for nothing else
    status = HTTPStatus(error.status_code)
    return ProblemError(status, f"{request.method} {request.url.path[:200]}", headers=error.headers).response(
        request.url.path
    )


async def _any_error(request: Request, error: Exception) -> Response:
    log.error("http.internal_error", path=request.url.path, exc_info=error)
    detail = "the daemon failed; its log says why"
    return ProblemError(HTTPStatus.INTERNAL_SERVER_ERROR, detail).response(request.url.path)


class _Guard:
    """Around every request: expected refusals become problems, other sites change nothing (I11)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = False

        async def send_marked(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                MutableHeaders(scope=message)["X-Content-Type-Options"] = "nosniff"
            await send(message)

        try:
            if scope["method"] not in SAFE_METHODS and _from_elsewhere(Headers(scope=scope)):
                raise ProblemError(HTTPStatus.FORBIDDEN, "state can't be changed from another site")  # noqa: TRY301
            await self._app(scope, receive, send_marked)
        except Exception as error:
            problem = error if isinstance(error, ProblemError) else api.problem_for(error)
            if problem is None or begun:
                raise
            await problem.response(scope["path"])(scope, receive, send_marked)


def _from_elsewhere(headers: Headers) -> bool:
    """A browser says where a request comes from; what says nothing is no browser (Fetch, section 3.2)."""
    if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        return True
    origin = headers.get("origin")
    return origin is not None and origin.partition("://")[2] != headers.get("host")
