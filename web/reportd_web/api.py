"""The ``/reports`` calls. Parsing is in ``wire``, errors in ``problems``, every decision in the service."""

from http import HTTPStatus
from typing import Any

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response

from reportd.core.job import canonical_uuid, timestamp
from reportd.core.transitions import IllegalTransitionError
from reportd.ports import UnavailableError
from reportd.service import (
    BusyError,
    GoneError,
    InvalidSubmissionError,
    KeyReusedError,
    NotFinishedError,
    NotFoundError,
    Service,
)
from reportd_web import wire
from reportd_web.problems import ProblemError, invalid

RETRY_SECONDS = 5

_REFUSALS: tuple[tuple[type[Exception], HTTPStatus, int], ...] = (
    (KeyReusedError, HTTPStatus.UNPROCESSABLE_ENTITY, 0),
    (BusyError, HTTPStatus.TOO_MANY_REQUESTS, RETRY_SECONDS),
    (UnavailableError, HTTPStatus.SERVICE_UNAVAILABLE, RETRY_SECONDS),
    (NotFoundError, HTTPStatus.NOT_FOUND, 0),
    (GoneError, HTTPStatus.GONE, 0),
    (NotFinishedError, HTTPStatus.CONFLICT, 0),
    (IllegalTransitionError, HTTPStatus.CONFLICT, 0),
)


def json(document: Any, status: HTTPStatus = HTTPStatus.OK, headers: dict[str, str] | None = None) -> Response:
    return Response(
        orjson.dumps(document),
        int(status),
        {"Cache-Control": "no-store", **(headers or {})},
        media_type="application/json",
    )


def problem_for(error: Exception) -> ProblemError | None:
    """What the service's refusals mean in HTTP."""
    if isinstance(error, InvalidSubmissionError):
        return invalid(*error.problems)
    for kind, status, retry_seconds in _REFUSALS:
        if isinstance(error, kind):
            headers = {"Retry-After": str(retry_seconds)} if retry_seconds else {}
            return ProblemError(status, str(error), headers=headers)
    return None


def _task_id(request: Request) -> str:
    task_id = canonical_uuid(request.path_params["taskId"])
    if task_id is None:
        raise NotFoundError
    return task_id


def reports(service: Service, max_body_bytes: int) -> APIRouter:
    router = APIRouter()

    async def submit(request: Request) -> Response:
        record = await service.submit(await wire.read_submission(request, max_body_bytes))
        task_id = record.job.task_id
        answer = {"message": "report queued", "taskId": task_id}
        return json(answer, HTTPStatus.ACCEPTED, {"Location": f"/reports/{task_id}"})

    async def listing(request: Request) -> Response:
        wanted, limit, before = wire.list_query(request.query_params)
        found = await service.search(wanted, limit + 1, before)
        more = wire.cursor(found[limit - 1]) if len(found) > limit else None
        return json({"reports": [wire.report(r) for r in found[:limit]], "nextCursor": more})

    async def get(request: Request) -> Response:
        wait = wire.wait_seconds(request.query_params)
        return json(wire.report(await service.get(_task_id(request), wait)))

    async def pdf(request: Request) -> Response:
        record, where = await service.pdf(_task_id(request))
        if isinstance(where, str):
            return RedirectResponse(where, HTTPStatus.FOUND, {"Cache-Control": "no-store"})
        job = record.job
        day = timestamp(job.submitted_at)[:10]
        headers = {"ETag": f'"{record.pdf.sha256}"', "Cache-Control": "private"} if record.pdf else {}
        return FileResponse(
            where,
            headers=headers,
            media_type="application/pdf",
            filename=f"{job.report_type}-{day}-{job.task_id[:8]}.pdf",
            content_disposition_type="inline",
        )

    async def cancel(request: Request) -> Response:
        return json(wire.report(await service.cancel(_task_id(request))))

    async def retry(request: Request) -> Response:
        return json(wire.report(await service.retry(_task_id(request))), HTTPStatus.ACCEPTED)

    # The call that must be quick comes first: routes are tried in order.
    router.add_route("/reports/generate-async", submit, methods=["POST"])
    router.add_route("/reports", listing, methods=["GET"])
    router.add_route("/reports/{taskId}", get, methods=["GET"])
    router.add_route("/reports/{taskId}", cancel, methods=["DELETE"])
    router.add_route("/reports/{taskId}/pdf", pdf, methods=["GET", "HEAD"])
    router.add_route("/reports/{taskId}/retry", retry, methods=["POST"])
    return router
