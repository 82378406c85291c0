"""The ASGI application: the calls, the status page, and what holds for all of them."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

import trio
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.staticfiles import StaticFiles

from reportd.breakers.operator import BreakerOperator
from reportd.core.status.snapshot import Snapshot, ready
from reportd.dead_letters.service import DeadLetterService
from reportd.intake.service import Service
from reportd.ports import Audit, AuditEntry
from reportd_web.api import breakers, reports
from reportd_web.api.dead_letters import add_dead_letters
from reportd_web.api.openapi import document
from reportd_web.http.problems import ProblemError
from reportd_web.pages import dashboard, job, login
from reportd_web.pages.actions import PageActions
from reportd_web.pages.html import Pages
from reportd_web.security.access import Access
from reportd_web.security.body_limit import Bodies
from reportd_web.security.guard import LATER, Guard, routing_problem
from reportd_web.security.origin import Hosts
from reportd_web.security.wait_limit import Waits

PROMETHEUS_TEXT = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True)
class WebDependencies:
    """What the daemon gives its HTTP face. ``schemas``: of each report type there is at the moment.

    ``max_waits``: long polls and event streams at once. ``public_url``: where people reach it, or empty.

    ``changed``: somebody has done something that the next ``status`` must show. ``note``: for the audit record.
    ``ready``: per part whether it works, and why not.
    ``health``: why the process does not turn over, empty while it does. ``metrics``: in Prometheus's text format.
    ``nursery``: for what is done as long as somebody reads the events.
    """

    service: Service
    dead_letters: DeadLetterService
    schemas: Callable[[], Mapping[str, Mapping[str, Any]]]
    max_body_bytes: int
    max_waits: int
    public_url: str
    ready: Callable[[], Awaitable[dict[str, tuple[bool, str]]]]
    status: Callable[[], Awaitable[Snapshot]]
    changed: Callable[[], None]
    audit: Audit
    note: Callable[[AuditEntry], None]
    controls: BreakerOperator
    health: Callable[[], str]
    metrics: Callable[[], Awaitable[bytes]]
    nursery: trio.Nursery
    access: Access = field(default_factory=Access)


def create_app(face: WebDependencies) -> FastAPI:
    # The interactive documentation pages load scripts from elsewhere; the document itself is enough. Telemetry
    # would be looked up on every request.
    app = FastAPI(
        title="reportd",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.state.access = face.access
    submit = reports.submit_to(face.service, face.max_body_bytes, Bodies(face.max_body_bytes))
    waits = Waits(face.max_waits)
    reports.add_reports(app, face.service, submit, face.note, waits)
    breakers.add_breakers(app, face.controls, face.max_body_bytes)
    add_dead_letters(app, face.dead_letters)
    _add_health(app, face)
    _add_pages(app, face, waits)
    login.add_login(app, face.access)
    app.mount("/static", _Static(directory=Path(__file__).parent / "static"))
    app.add_exception_handler(HTTPException, routing_problem)
    hosts = None if face.access.required else Hosts(face.public_url)
    app.add_middleware(
        Guard, hosts=hosts, quick={("POST", reports.SUBMIT): face.access.guarded("POST", reports.SUBMIT, submit)}
    )
    return app


def _add_pages(app: FastAPI, face: WebDependencies, waits: Waits) -> None:
    pages = Pages()
    dashboard.add_dashboard(app, face.status, face.service, face.access, pages, face.nursery, waits)
    job.add_jobs(app, face.service, face.audit, face.access, pages)
    PageActions(face.service, face.controls, face.dead_letters, pages, face.note, face.changed).add_to(app)


def _add_health(app: FastAPI, face: WebDependencies) -> None:

    async def healthz(_: Request) -> Response:
        if trouble := face.health():
            raise ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, trouble, headers=LATER)
        return PlainTextResponse("ok\n", headers={"Cache-Control": "no-store"})

    async def metrics(_: Request) -> Response:
        headers = {"Content-Type": PROMETHEUS_TEXT, "Cache-Control": "no-store"}
        return Response(await face.metrics(), headers=headers)

    async def readyz(request: Request) -> Response:
        parts = await face.ready()
        goes = ready(parts)
        # Anybody may ask, and reasons name hosts: those are for whoever may see the page.
        told = await face.access.sees_all(request.scope)
        answer = {"ready": goes, "parts": {n: {"ok": ok, "detail": told * why} for n, (ok, why) in parts.items()}}
        return reports.json(answer) if goes else reports.json(answer, HTTPStatus.SERVICE_UNAVAILABLE, LATER)

    async def openapi_json(_: Request) -> Response:
        return reports.json(document(face.schemas(), secured=face.access.required))

    for path, call in (
        ("/healthz", healthz),
        ("/readyz", readyz),
        ("/metrics", metrics),
        ("/openapi.json", openapi_json),
    ):
        reports.add_calls(app, path, {"GET": call})


class _Static(StaticFiles):
    """Asks again each time, so that a new version of the page never meets the old version of its style."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "no-cache"
        return response
