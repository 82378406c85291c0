"""The ``/reports`` calls. Parsing is in ``wire``, errors in ``problems``, every decision in the service."""

import math
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response

from reportd.core.job import canonical_uuid
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


def json(document: Any, status: HTTPStatus = HTTPStatus.OK, headers: dict[str, str] | None = None) -> Response:
    return Response(
        orjson.dumps(document),
        int(status),
        {"Cache-Control": "no-store", **(headers or {})},
        media_type="application/json",
    )


def problem_for(error: Exception) -> ProblemError | None:
    """What the service's refusals mean in HTTP."""
    match error:
        case InvalidSubmissionError():
            return invalid(*error.problems)
        case KeyReusedError():
            detail = "this Idempotency-Key was used by the same user for a different request"
            return ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, detail)
        case BusyError():
            wait = {"Retry-After": str(math.ceil(error.retry_after_seconds))}
            return ProblemError(HTTPStatus.TOO_MANY_REQUESTS, str(error), headers=wait)
        case UnavailableError():
            wait = {"Retry-After": str(RETRY_SECONDS)}
            return ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, str(error), headers=wait)
        case NotFoundError():
            return ProblemError(HTTPStatus.NOT_FOUND, "there is no such report")
        case GoneError():
            return ProblemError(HTTPStatus.GONE, "the PDF is past its retention")
        case NotFinishedError() | IllegalTransitionError():
            return ProblemError(HTTPStatus.CONFLICT, str(error))
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
        day = wire.timestamp(job.submitted_at)[:10]
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
