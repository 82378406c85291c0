"""Converts between HTTP and the daemon's values: JSON out, query parameters in. Names are camelCase on the wire."""

import base64
import binascii
import math
import re
import struct
from collections.abc import Callable
from enum import StrEnum
from typing import Any

import orjson
from starlette.datastructures import QueryParams

from reportd.core.jobs.job import canonical_uuid, timestamp
from reportd.core.jobs.submission import FieldProblem, escaped
from reportd.core.jobs.transitions import JobState
from reportd.intake.service import MAX_WAIT_SECONDS
from reportd.ports import CallbackStatus, JobFilter, Record
from reportd_web.http.problems import invalid

MAX_LIMIT = 200
DEFAULT_LIMIT = 50
_NUMBER = re.compile(r"[0-9]{1,3}(\.[0-9]{1,400})?(e-[0-9]{1,3})?")
Position = tuple[float, str]
"""The last row of a page: its time, and its id. The next page begins after it."""

_LIST_QUERY = frozenset({"state", "reportType", "userId", "limit", "cursor"})


class FeedFormat(StrEnum):
    """The form of ``GET /events``: the whole snapshot as JSON, or the changed sections of the page as HTML."""

    JSON = "json"
    HTML = "html"


def report(record: Record) -> dict[str, Any]:
    """Return a job as clients see it."""
    job, error, pdf = record.job, record.error, record.pdf
    url = f"/reports/{job.task_id}/pdf"
    return {
        "taskId": job.task_id,
        "reportType": job.report_type,
        "userId": job.user_id,
        "state": record.state,
        "attempts": record.tally.attempts,
        "deferrals": record.tally.deferrals,
        "progress": record.progress,
        "edition": record.edition or None,
        "submittedAt": timestamp(job.submitted_at),
        "startedAt": None if record.started_at is None else timestamp(record.started_at),
        "finishedAt": None if record.finished_at is None else timestamp(record.finished_at),
        "error": None if error is None else {"kind": error.kind, "detail": error.detail},
        "pdf": None if pdf is None else {"url": url, "bytes": pdf.size_bytes, "sha256": pdf.sha256},
        "warnings": [
            {"kind": one.kind, "what": one.what, "why": one.why, "count": one.count} for one in record.warnings
        ],
    }


def callback(status: CallbackStatus | None) -> dict[str, Any] | None:
    """Return the state of a job's callback."""
    if status is None:
        return None
    return {
        "state": status.outcome or "pending",
        "attempts": status.attempts,
        "nextAt": None if status.next_at is None else timestamp(status.next_at),
        "error": status.error or None,
    }


def callback_body(record: Record) -> bytes:
    """Return the body of the callback of a finished job."""
    ended_at = record.job.submitted_at if record.finished_at is None else record.finished_at
    return orjson.dumps({"type": f"report.{record.state}", "timestamp": timestamp(ended_at), "data": report(record)})


def wait_seconds(query: QueryParams) -> float:
    """Return the time to wait, 0 without one. Raises ProblemError (422)."""
    only(query, frozenset({"wait"}))
    text = query.get("wait", "0")
    if not _NUMBER.fullmatch(text) or float(text) > MAX_WAIT_SECONDS:
        problem = FieldProblem("/wait", f"must be a number of seconds from 0 to {MAX_WAIT_SECONDS:g}")
        raise invalid(problem, place="query")
    return float(text)


def list_query(query: QueryParams) -> tuple[JobFilter, int, Position | None]:
    """Return the filter, the limit, and the position after which the list begins. Raises ProblemError (422)."""
    only(query, _LIST_QUERY)
    problems = []
    state, user_id, limit = query.get("state"), query.get("userId"), limit_of(query)
    if state is not None and state not in set(JobState):
        problems.append(FieldProblem("/state", f"must be one of {', '.join(JobState)}"))
    if user_id is not None and canonical_uuid(user_id) is None:
        problems.append(FieldProblem("/userId", "must be a UUID"))
    if isinstance(limit, FieldProblem):
        problems.append(limit)
    if "\0" in query.get("reportType", ""):
        problems.append(FieldProblem("/reportType", "must be the name of a report type"))
    before = cursor_of(query)
    if isinstance(before, FieldProblem):
        problems.append(before)
    if problems or isinstance(limit, FieldProblem) or isinstance(before, FieldProblem):
        raise invalid(*problems, place="query")
    jobs = JobFilter(None if state is None else JobState(state), query.get("reportType"), canonical_uuid(user_id))
    return jobs, limit, before


def limit_of(query: QueryParams) -> int | FieldProblem:
    """Return the number of rows that ``limit`` asks for."""
    text = query.get("limit", str(DEFAULT_LIMIT))
    if not re.fullmatch(r"[0-9]{1,3}", text) or not 1 <= int(text) <= MAX_LIMIT:
        return FieldProblem("/limit", f"must be a whole number from 1 to {MAX_LIMIT}")
    return int(text)


def cursor_of(
    query: QueryParams, known_id: Callable[[str], str | None] = canonical_uuid
) -> Position | FieldProblem | None:
    """Return the position of ``cursor``; None without one. ``known_id`` returns an id, or None if it is not valid."""
    if "cursor" not in query:
        return None
    position = position_of(query["cursor"], known_id)
    return FieldProblem("/cursor", "must be the nextCursor of an earlier answer") if position is None else position


def cursor(at: float, row_id: str) -> str:
    """Return the cursor of the page after this row."""
    return base64.urlsafe_b64encode(struct.pack(">d", at) + row_id.encode()).decode().rstrip("=")


def position_of(text: str, known_id: Callable[[str], str | None] = canonical_uuid) -> Position | None:
    """Return the position of a cursor; None when it is not valid."""
    try:
        packed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        (at,), row_id = struct.unpack(">d", packed[:8]), known_id(packed[8:].decode())
    except (binascii.Error, struct.error, ValueError):
        return None
    return None if row_id is None or math.isnan(at) else (at, row_id)


def only(query: QueryParams, known: frozenset[str]) -> None:
    """Raise ProblemError (422) for unknown or repeated parameters: a misspelt filter must not match everything."""
    accepted = ", ".join(sorted(known))
    problems = [
        FieldProblem(f"/{escaped(name)}", f"is no known parameter; accepted: {accepted}")
        for name in sorted(set(query) - known)
    ]
    problems += [
        FieldProblem(f"/{escaped(name)}", "must be given once at most")
        for name in known
        if len(query.getlist(name)) > 1
    ]
    if problems:
        raise invalid(*problems, place="query")
