"""Between HTTP and the daemon's values: bodies in, JSON out. camelCase on the wire."""

import base64
import binascii
import math
import re
import struct
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import orjson
from starlette.requests import Request

from reportd.core.job import canonical_uuid, timestamp, type_name, unsafe_json
from reportd.core.transitions import State
from reportd.ports import JobFilter, Record
from reportd.service import MAX_WAIT_SECONDS, FieldProblem, Submission
from reportd_web.problems import ProblemError, invalid

_FIELDS = frozenset({"reportType", "parameters", "userId", "callbackUrl"})
_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_MAX_LIMIT = 200
_LIST_QUERY = frozenset({"state", "reportType", "userId", "limit", "cursor"})


async def read_submission(request: Request, max_body_bytes: int) -> Submission:
    """Raises ProblemError: 400, 413, 415 or 422."""
    key = request.headers.get("idempotency-key")
    if key is not None and not _KEY.fullmatch(key):
        raise ProblemError(HTTPStatus.BAD_REQUEST, "Idempotency-Key must be 1 to 255 visible ASCII characters")
    media_type, _, parameters = request.headers.get("content-type", "").partition(";")
    charset = parameters.strip().lower().removeprefix("charset=").strip('"')
    if media_type.strip().lower() != "application/json" or charset not in ("", "utf-8"):
        raise ProblemError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Content-Type must be application/json in UTF-8")
    body = await _read(request, max_body_bytes)
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ProblemError(HTTPStatus.BAD_REQUEST, f"the body is not JSON: {error}") from None
    return _submission(document, key)


async def _read(request: Request, max_body_bytes: int) -> bytes:
    too_large = ProblemError(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        f"the body is larger than {max_body_bytes} bytes",
        headers={"Connection": "close"},
    )
    announced = request.headers.get("content-length", "0")
    if announced.isdigit() and int(announced) > max_body_bytes:
        raise too_large
    pieces, size = [], 0
    async for piece in request.stream():
        size += len(piece)
        if size > max_body_bytes:
            raise too_large
        pieces.append(piece)
    return b"".join(pieces)


def _submission(document: Any, key: str | None) -> Submission:
    if not isinstance(document, dict):
        raise invalid(FieldProblem("", f"must be an object, not {type_name(document)}"))
    problems = [
        FieldProblem(f"/{_escaped(name)}", f"is not known; accepted: {', '.join(sorted(_FIELDS))}")
        for name in document
        if name not in _FIELDS
    ]
    report_type, user_id = document.get("reportType"), canonical_uuid(document.get("userId"))
    parameters, callback_url = document.get("parameters"), document.get("callbackUrl")
    if not isinstance(report_type, str):
        problems.append(FieldProblem("/reportType", "must be the name of a report type"))
    if user_id is None:
        problems.append(FieldProblem("/userId", "must be a UUID, e.g. 0b9f6c1e-6a0c-4b57-9f2a-2f3c8f1f7f10"))
    if not isinstance(parameters, dict):
        problems.append(FieldProblem("/parameters", "must be an object"))
    elif trouble := unsafe_json(parameters):
        problems.append(FieldProblem("/parameters", f"parameters{trouble}"))
    if not isinstance(callback_url, str | None):
        problems.append(FieldProblem("/callbackUrl", "must be a URL"))
    if problems:
        raise invalid(*problems)
    return Submission(str(report_type), document["parameters"], str(user_id), callback_url, key)


def report(record: Record) -> dict[str, Any]:
    """A job as clients see it."""
    job, error, pdf = record.job, record.error, record.pdf
    url = f"/reports/{job.task_id}/pdf"
    return {
        "taskId": job.task_id,
        "reportType": job.report_type,
        "userId": job.user_id,
        "state": record.state,
        "attempts": record.tally.attempts,
        "deferrals": record.tally.deferrals,
        "submittedAt": timestamp(job.submitted_at),
        "startedAt": None if record.started_at is None else timestamp(record.started_at),
        "finishedAt": None if record.finished_at is None else timestamp(record.finished_at),
        "error": None if error is None else {"kind": error.kind, "detail": error.detail},
        "pdf": None if pdf is None else {"url": url, "bytes": pdf.size_bytes, "sha256": pdf.sha256},
    }


def wait_seconds(query: Mapping[str, str]) -> float:
    only(query, frozenset({"wait"}))
    text = query.get("wait", "0")
    if not re.fullmatch(r"\d{1,2}(\.\d{1,3})?", text) or float(text) > MAX_WAIT_SECONDS:
        raise invalid(FieldProblem("/wait", f"must be a number of seconds from 0 to {MAX_WAIT_SECONDS:g}"))
    return float(text)


def list_query(query: Mapping[str, str]) -> tuple[JobFilter, int, tuple[float, str] | None]:
    only(query, _LIST_QUERY)
    problems = []
    state, user_id, limit = query.get("state"), query.get("userId"), query.get("limit", "50")
    if state is not None and state not in set(State):
        problems.append(FieldProblem("/state", f"must be one of {', '.join(State)}"))
    if user_id is not None and canonical_uuid(user_id) is None:
        problems.append(FieldProblem("/userId", "must be a UUID"))
    if not re.fullmatch(r"[0-9]{1,3}", limit) or not 1 <= int(limit) <= _MAX_LIMIT:
        problems.append(FieldProblem("/limit", f"must be a whole number from 1 to {_MAX_LIMIT}"))
    if "\0" in query.get("reportType", ""):
        problems.append(FieldProblem("/reportType", "must be the name of a report type"))
    before = None
    if "cursor" in query:
        before = _before(query["cursor"])
        if before is None:
            problems.append(FieldProblem("/cursor", "must be a nextCursor of an earlier answer"))
    if problems:
        raise invalid(*problems)
    wanted = JobFilter(None if state is None else State(state), query.get("reportType"), canonical_uuid(user_id))
    return wanted, int(limit), before


def cursor(record: Record) -> str:
    packed = struct.pack(">d", record.job.submitted_at) + record.job.task_id.encode()
    return base64.urlsafe_b64encode(packed).decode().rstrip("=")


def _before(text: str) -> tuple[float, str] | None:
    try:
        packed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        (submitted_at,) = struct.unpack(">d", packed[:8])
        task_id = canonical_uuid(packed[8:].decode())
    except (binascii.Error, struct.error, ValueError):
        return None
    return None if task_id is None or math.isnan(submitted_at) else (submitted_at, task_id)


def only(query: Mapping[str, str], known: frozenset[str]) -> None:
    if unknown := sorted(set(query) - known):
        accepted = ", ".join(sorted(known))
        raise invalid(*(FieldProblem(f"/{n}", f"is no known parameter; accepted: {accepted}") for n in unknown))


def _escaped(name: str) -> str:
    return name[:80].replace("~", "~0").replace("/", "~1")
