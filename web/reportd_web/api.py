"""The ``/reports`` calls. Parsing is in ``submission`` and ``wire``, every decision in the service."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import orjson
import trio
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from reportd.background import open_background
from reportd.core.job import timestamp
from reportd.ports import Record
from reportd.service import Service
from reportd_web import submission, wire
from reportd_web.guard import Handler
from reportd_web.pdf import PdfFile, cancel_when_gone, is_fresh

SUBMIT = "/reports/generate-async"


def json(document: Any, status: HTTPStatus = HTTPStatus.OK, headers: Mapping[str, str] | None = None) -> Response:
    return Response(
        orjson.dumps(document),
        int(status),
        {"Cache-Control": "no-store", **(headers or {})},
        media_type="application/json",
    )


def add_calls(app: FastAPI, path: str, calls: Mapping[str, Handler]) -> None:
    """One route for all methods of a path, so that a 405 can name them all."""

    async def call(request: Request) -> Response:
        return await calls["GET" if request.method == "HEAD" else request.method](request)

    app.add_route(path, call, methods=list(calls))


def submit_to(service: Service, max_body_bytes: int) -> Handler:
    async def submit(request: Request) -> Response:
        record = await service.submit(await submission.read(request.scope, request.receive, max_body_bytes))
        task_id = record.job.task_id
        answer = {"message": "report queued", "taskId": task_id}
        return json(answer, HTTPStatus.ACCEPTED, {"Location": f"/reports/{task_id}"})

    return submit


def add_reports(app: FastAPI, service: Service, submit: Handler) -> None:
    async def listing(request: Request) -> Response:
        wanted, limit, before = wire.list_query(request.query_params)
        found = await service.search(wanted, limit + 1, before)
        more = wire.cursor(found[limit - 1]) if len(found) > limit else None
        return json({"reports": [wire.report(r) for r in found[:limit]], "nextCursor": more})

    async def get(request: Request) -> Response:
        wait_seconds = wire.wait_seconds(request.query_params)
        task_id = _task_id(request)
        record = await _finished(service, task_id, wait_seconds, request) if wait_seconds else None
        record = record or await service.get(task_id)
        return json(wire.report(record) | {"callback": wire.callback(await service.callback(record))})

    async def pdf(request: Request) -> Response:
        record, where = await service.pdf(_task_id(request))
        if isinstance(where, str):
            return RedirectResponse(where, HTTPStatus.FOUND, {"Cache-Control": "no-store"})
        etag = f'"{record.pdf.sha256}"' if record.pdf else ""
        headers = {"Cache-Control": "private, no-cache"}
        if is_fresh(request.headers, etag):
            return Response(status_code=HTTPStatus.NOT_MODIFIED, headers={"ETag": etag, **headers})
        job = record.job
        name = f"{job.report_type}-{timestamp(job.submitted_at)[:10]}-{job.task_id[:8]}.pdf"
        return PdfFile(where, etag, {"Content-Disposition": f'inline; filename="{name}"', **headers})

    async def cancel(request: Request) -> Response:
        return json(wire.report(await service.cancel(_task_id(request))))

    async def retry(request: Request) -> Response:
        record = await service.retry(_task_id(request))
        return json(wire.report(record), HTTPStatus.ACCEPTED, {"Location": f"/reports/{record.job.task_id}"})

    add_calls(app, SUBMIT, {"POST": submit})
    add_calls(app, "/reports", {"GET": listing})
    add_calls(app, "/reports/{taskId:uuid}", {"GET": get, "DELETE": cancel})
    add_calls(app, "/reports/{taskId:uuid}/pdf", {"GET": pdf})
    add_calls(app, "/reports/{taskId:uuid}/retry", {"POST": retry})


def _task_id(request: Request) -> str:
    return str(request.path_params["taskId"])


async def _finished(service: Service, task_id: str, wait_seconds: float, request: Request) -> Record | None:
    """The job at its end, or when the time is over; None when the client has gone or the server stops."""
    async with open_background() as nursery:
        nursery.start_soon(cancel_when_gone, request.receive, nursery.cancel_scope)
        if (stop := request.scope.get("reportd.stop")) is not None:
            nursery.start_soon(_cancel_at, stop, nursery.cancel_scope)
        return await service.get(task_id, wait_seconds)
    return None


async def _cancel_at(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()
