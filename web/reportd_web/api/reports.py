"""The ``/reports`` calls. ``submission`` and ``wire`` parse, and the service decides."""

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import Any

import orjson
import trio
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from reportd.concurrency.nurseries import open_background
from reportd.core.jobs.disposition import content_disposition
from reportd.core.jobs.submission import FieldProblem
from reportd.core.jobs.transitions import TERMINAL
from reportd.intake.errors import NotFoundError
from reportd.intake.service import Service
from reportd.ports import AuditEntry, Record
from reportd_web.api import submission, wire
from reportd_web.http.pdf import PdfFile, cancel_when_gone, is_fresh
from reportd_web.http.problems import Place, ProblemError
from reportd_web.security.access import Access
from reportd_web.security.actor import actor, tenant
from reportd_web.security.body_limit import BodyLimit
from reportd_web.security.guard import Handler
from reportd_web.security.wait_limit import WaitLimit

SUBMIT = "/reports/generate-async"


def json(document: Any, status: HTTPStatus = HTTPStatus.OK, headers: Mapping[str, str] | None = None) -> Response:
    return Response(
        orjson.dumps(document),
        int(status),
        {"Cache-Control": "no-store", **(headers or {})},
        media_type="application/json",
    )


def add_calls(app: FastAPI, path: str, calls: Mapping[str, Handler]) -> None:
    """Add one route for all methods of a path, so that a 405 can name them all. Each call gets its access rule."""
    access: Access = app.state.access
    template = re.sub(r":\w+}", "}", path)
    guarded = {method: access.guarded(method, template, handler) for method, handler in calls.items()}

    async def call(request: Request) -> Response:
        return await guarded["GET" if request.method == "HEAD" else request.method](request)

    app.add_route(path, call, methods=list(calls))


def submit_to(service: Service, max_body_bytes: int, bodies: BodyLimit) -> Handler:
    async def submit(request: Request) -> Response:
        with bodies.admit(request.scope) as count_bytes:
            body, key = await submission.read(request.scope, request.receive, max_body_bytes, count_bytes)
            with service.within_time_limit():
                parsed = await submission.parse(body, key, service.parse)
                _check_user(request, parsed.user_id, "body")
                record = await service.submit(parsed)
        task_id = record.job.task_id
        location = {"Location": f"/reports/{task_id}"}
        if record.state in TERMINAL:
            # The same key was used before, and its job has ended.
            ended = {"message": f"report {record.state}", "taskId": task_id}
            return json(wire.report(record) | ended, headers=location)
        return json({"message": "report queued", "taskId": task_id}, HTTPStatus.ACCEPTED, location)

    return submit


def add_reports(
    app: FastAPI, service: Service, submit: Handler, note: Callable[[AuditEntry], None], waits: WaitLimit
) -> None:
    """``note``: adds to the audit record."""

    async def listing(request: Request) -> Response:
        jobs, limit, before = wire.list_query(request.query_params)
        if (user_id := tenant(request)) is not None:
            _check_user(request, jobs.user_id or user_id, "query")
            jobs = replace(jobs, user_id=user_id)
        records = await service.search(jobs, limit + 1, before)
        last = records[limit - 1].job if len(records) > limit else None
        cursor = None if last is None else wire.cursor(last.submitted_at, last.task_id)
        return json({"reports": [wire.report(record) for record in records[:limit]], "nextCursor": cursor})

    async def get(request: Request) -> Response:
        wait_seconds = wire.wait_seconds(request.query_params)
        task_id = await own_task(service, request)
        record = None
        if wait_seconds:
            with waits.admit(request.scope):
                record = await _finished(service, task_id, wait_seconds, request)
        record = record or await service.get(task_id)
        more = {"options": record.job.options.fields(), "callback": wire.callback(await service.callback(record))}
        return json(wire.report(record) | more)

    async def pdf(request: Request) -> Response:
        record, location = await service.pdf(await own_task(service, request))
        if isinstance(location, str):
            return RedirectResponse(location, HTTPStatus.FOUND, {"Cache-Control": "no-store"})
        etag = f'"{record.pdf.sha256}"' if record.pdf else ""
        headers = {"Cache-Control": "private, no-cache"}
        if is_fresh(request.headers, etag):
            return Response(status_code=HTTPStatus.NOT_MODIFIED, headers={"ETag": etag, **headers})
        headers["Content-Disposition"] = content_disposition(record.job)
        return PdfFile(location, etag, headers, service.missing_pdf_error(record))

    async def cancel(request: Request) -> Response:
        return json(wire.report(await cancel_own(service, note, request)))

    async def retry(request: Request) -> Response:
        record = await retry_own(service, note, request)
        return json(wire.report(record), HTTPStatus.ACCEPTED, {"Location": f"/reports/{record.job.task_id}"})

    add_calls(app, SUBMIT, {"POST": submit})
    add_calls(app, "/reports", {"GET": listing})
    add_calls(app, "/reports/{taskId:uuid}", {"GET": get, "DELETE": cancel})
    add_calls(app, "/reports/{taskId:uuid}/pdf", {"GET": pdf})
    add_calls(app, "/reports/{taskId:uuid}/retry", {"POST": retry})


async def own_task(service: Service, request: Request) -> str:
    """Return the task id of the path. Raises NotFoundError when the task is not the tenant's."""
    task_id = str(request.path_params["taskId"])
    user_id = tenant(request)
    if user_id is not None and (await service.get(task_id)).job.user_id != user_id:
        raise NotFoundError
    return task_id


async def cancel_own(service: Service, note: Callable[[AuditEntry], None], request: Request) -> Record:
    """Cancel the task of the path, and record who did."""
    record = await service.cancel(await own_task(service, request))
    note(AuditEntry(time.time(), actor(request), "job.cancelled", record.job.task_id))
    return record


async def retry_own(service: Service, note: Callable[[AuditEntry], None], request: Request) -> Record:
    """Retry the task of the path, and record who did."""
    record = await service.retry(await own_task(service, request))
    note(AuditEntry(time.time(), actor(request), "job.retried", record.job.task_id))
    return record


def _check_user(request: Request, user_id: str, place: Place) -> None:
    """Raise ProblemError (403) when a tenant names another user."""
    own = tenant(request)
    if own is not None and user_id != own:
        problem = FieldProblem("/userId", f"must be {own}, the user whom this token is bound to")
        raise ProblemError(HTTPStatus.FORBIDDEN, "userId is another user's", [problem], place=place)


async def _finished(service: Service, task_id: str, wait_seconds: float, request: Request) -> Record | None:
    """Return the job when it has ended or the time is over; None when the client has gone or the server stops."""
    async with open_background() as nursery:
        nursery.start_soon(cancel_when_gone, request.receive, nursery.cancel_scope)
        if (stop := request.scope.get("reportd.stop")) is not None:
            nursery.start_soon(cancel_at, stop, nursery.cancel_scope)
        return await service.get(task_id, wait_seconds)
    return None


async def cancel_at(event: trio.Event, scope: trio.CancelScope) -> None:
    """Cancel the scope when the server stops."""
    await event.wait()
    scope.cancel()
