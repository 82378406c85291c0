"""The ASGI application: the HTTP calls, the pages, and the rules that hold for all of them."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import trio
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from reportd.breakers.operator import BreakerOperator
from reportd.core.status.snapshot import Snapshot, ready
from reportd.dead_letters.service import DeadLetterService
from reportd.intake.service import Service
from reportd.ports import Audit, AuditEntry, EvidenceStore
from reportd_web.api import openapi, reports
from reportd_web.api.breakers import add_breakers
from reportd_web.api.dead_letters import add_dead_letters
from reportd_web.api.render_tokens import add_render_tokens
from reportd_web.http.problems import ProblemError
from reportd_web.http.static import static_files
from reportd_web.pages import dashboard, job, login
from reportd_web.pages.actions import PageActions
from reportd_web.pages.html import Pages
from reportd_web.security.access import Access
from reportd_web.security.body_limit import BodyLimit
from reportd_web.security.guard import LATER, Guard, routing_problem
from reportd_web.security.origin import Hosts
from reportd_web.security.wait_limit import WaitLimit

PROMETHEUS_TEXT = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True)
class WebDependencies:
    """What the daemon gives its web interface.

    ``schemas``: the parameters' JSON Schema of each current report type. ``max_waits``: the most long polls and event
    streams at a time. ``public_url``: the address that people use, or empty.

    ``ready``: for each part whether it works, and why not. ``changed``: the next ``status`` must show a user's action.
    ``note``: adds to the audit record. ``health``: why the event loop does not turn; empty while it does. ``metrics``:
    in Prometheus's text format. ``nursery``: for the work that runs while event streams have readers. ``public_keys``:
    of render tokens, as a JWK Set.
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
    evidence: EvidenceStore
    note: Callable[[AuditEntry], None]
    breakers: BreakerOperator
    health: Callable[[], str]
    metrics: Callable[[], Awaitable[bytes]]
    nursery: trio.Nursery
    public_keys: Callable[[], Mapping[str, Any]] = lambda: {"keys": []}
    access: Access = field(default_factory=Access)


def create_app(dependencies: WebDependencies) -> FastAPI:
    # The interactive documentation pages load scripts from other sites; the document itself is enough. FastAPI would
    # check its telemetry settings on every request.
    app = FastAPI(
        title="reportd",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    service, access = dependencies.service, dependencies.access
    app.state.access = access
    submit = reports.submit_to(service, dependencies.max_body_bytes, BodyLimit(dependencies.max_body_bytes))
    waits = WaitLimit(dependencies.max_waits)
    reports.add_reports(app, service, submit, dependencies.note, waits)
    add_render_tokens(app, service, dependencies.public_keys)
    add_breakers(app, dependencies.breakers, dependencies.max_body_bytes)
    add_dead_letters(app, dependencies.dead_letters)
    _add_health(app, dependencies)
    _add_pages(app, dependencies, waits)
    login.add_login(app, access)
    app.mount("/static", static_files())
    app.add_exception_handler(HTTPException, routing_problem)
    quick = {("POST", reports.SUBMIT): access.guarded("POST", reports.SUBMIT, submit)}
    app.add_middleware(Guard, hosts=None if access.required else Hosts(dependencies.public_url), quick=quick)
    return app


def _add_pages(app: FastAPI, dependencies: WebDependencies, waits: WaitLimit) -> None:
    pages, service, access = Pages(), dependencies.service, dependencies.access
    dashboard.add_dashboard(app, dependencies.status, service, access, pages, dependencies.nursery, waits)
    job.add_jobs(app, service, dependencies.audit, dependencies.evidence, access, pages)
    PageActions(
        service=service,
        breakers=dependencies.breakers,
        letters=dependencies.dead_letters,
        pages=pages,
        note=dependencies.note,
        changed=dependencies.changed,
    ).add_to(app)


def _add_health(app: FastAPI, dependencies: WebDependencies) -> None:

    async def healthz(_: Request) -> Response:
        if trouble := dependencies.health():
            raise ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, trouble, headers=LATER)
        return PlainTextResponse("ok\n", headers={"Cache-Control": "no-store"})

    async def metrics(_: Request) -> Response:
        headers = {"Content-Type": PROMETHEUS_TEXT, "Cache-Control": "no-store"}
        return Response(await dependencies.metrics(), headers=headers)

    async def readyz(request: Request) -> Response:
        parts = await dependencies.ready()
        is_ready = ready(parts)
        # Anybody may ask, and reasons name hosts: only callers who may see the status page get them.
        show_details = await dependencies.access.sees_all(request.scope)
        document = {
            "ready": is_ready,
            "parts": {name: {"ok": ok, "detail": show_details * detail} for name, (ok, detail) in parts.items()},
        }
        return reports.json(document) if is_ready else reports.json(document, HTTPStatus.SERVICE_UNAVAILABLE, LATER)

    async def openapi_json(_: Request) -> Response:
        return reports.json(openapi.document(dependencies.schemas(), secured=dependencies.access.required))

    for path, call in (
        ("/healthz", healthz),
        ("/readyz", readyz),
        ("/metrics", metrics),
        ("/openapi.json", openapi_json),
    ):
        reports.add_calls(app, path, {"GET": call})
