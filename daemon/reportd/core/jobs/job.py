"""The job, and the queue message that carries it. A message is parsed once, on receipt; a ``Job`` is always valid."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson

from reportd.core.faults import Fault, FaultKind
from reportd.core.jobs.options import NO_OPTIONS, JobOptions, read_options
from reportd.core.jobs.parameters import text_of

MAX_DEPTH = 32
"""Deepest nesting of ``parameters``. Reports are tables; deeper nesting is a mistake or an attack."""

REPORT_TYPE = re.compile(r"[a-z][a-z0-9_]{0,63}")


@dataclass(frozen=True, slots=True)
class Job:
    """One report to render. ``submitted_at`` is in seconds since the epoch."""

    task_id: str
    report_type: str
    parameters: Mapping[str, Any]
    user_id: str
    submitted_at: float
    callback_url: str | None = None
    options: JobOptions = NO_OPTIONS


@dataclass(frozen=True, slots=True)
class StoredJob:
    """The content of a message whose job is too large for the queue. The job itself is in the job store."""

    task_id: str


class BadMessageError(Exception):
    """A message that can never become a job. ``fault`` says why; ``task_id`` is None if it can't be read."""

    def __init__(self, detail: str, task_id: str | None = None) -> None:
        super().__init__(detail)
        self.fault = Fault(FaultKind.MALFORMED_MESSAGE, detail)
        self.task_id = task_id


def to_message(job: Job, max_bytes: int | None = None) -> str:
    """Return the queue message: ``{taskId, reportType, parameters, userId, submittedAt[, callbackUrl]}`` and options.

    A message above ``max_bytes`` (a queue's limit) has ``"parametersStored": true`` in place of the parameters.
    """
    message: dict[str, Any] = {
        "taskId": job.task_id,
        "reportType": job.report_type,
        "parameters": orjson.Fragment(text_of(job.parameters)),
        "userId": job.user_id,
        "submittedAt": timestamp(job.submitted_at),
    }
    if job.callback_url is not None:
        message["callbackUrl"] = job.callback_url
    message |= job.options.fields()
    body = _encoded(message)
    if max_bytes is not None and len(body.encode()) > max_bytes:
        del message["parameters"]
        body = _encoded(message | {"parametersStored": True})
    return body


def _encoded(message: Mapping[str, Any]) -> str:
    # SQS accepts only characters of XML 1.0. JSON encoders leave these two unescaped, and XML excludes them.
    return orjson.dumps(message).decode().replace("\ufffe", "\\ufffe").replace("\uffff", "\\uffff")


def from_message(body: str) -> Job | StoredJob:
    """Parse a queue message of any producer. Unknown fields are ignored.

    Raises BadMessageError naming the field and what is accepted.
    """
    try:
        message = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadMessageError(f"the message is not JSON: {error}") from None
    if not isinstance(message, dict):
        raise BadMessageError(f"the message must be a JSON object, not {type_name(message)}")
    task_id = canonical_uuid(message.get("taskId"))
    if task_id is None:
        raise BadMessageError("taskId must be a UUID")
    if message.get("parametersStored") is True and "parameters" not in message:
        return StoredJob(task_id)
    try:
        return _job(task_id, message)
    except ValueError as error:
        raise BadMessageError(str(error), task_id) from None


def _job(task_id: str, message: Mapping[str, Any]) -> Job:
    user_id = canonical_uuid(message.get("userId"))
    if user_id is None:
        raise ValueError("userId must be a UUID")
    report_type = message.get("reportType")
    if not isinstance(report_type, str) or not REPORT_TYPE.fullmatch(report_type):
        raise ValueError("reportType must be lower-case letters, digits and underscores, a letter first, 64 at most")
    parameters = message.get("parameters")
    if not isinstance(parameters, dict):
        raise ValueError(  # noqa: TRY004 - a fault of the message, not a bug
            f"parameters must be an object, not {type_name(parameters)}"
        )
    if problem := unsafe_json(parameters):
        raise ValueError(f"parameters{problem}")
    submitted_at = _epoch(message.get("submittedAt"))
    if submitted_at is None:
        raise ValueError("submittedAt must be an ISO 8601 time with its offset, or milliseconds since the epoch")
    callback_url = message.get("callbackUrl")
    if not isinstance(callback_url, str | None):
        raise ValueError("callbackUrl must be a string")  # noqa: TRY004 - a fault of the message, not a bug
    if problem := unsafe_json(callback_url):
        raise ValueError(f"callbackUrl{problem}")
    options, problems = read_options(message)
    if problems:
        raise ValueError("; ".join(f"{name} {problem}" for name, problem in problems.items()))
    return Job(task_id, report_type, parameters, user_id, submitted_at, callback_url, options)


def canonical_uuid(value: object) -> str | None:
    """The lower-case hyphenated form (RFC 9562) of a UUID, or None. Braces and ``urn:`` are not accepted."""
    if not isinstance(value, str):
        return None
    try:
        canonical = str(UUID(value))
    except ValueError:
        return None
    return canonical if canonical == value.lower() else None


def unsafe_json(value: Any) -> str:
    """Return why some store or consumer can't take this parsed JSON value; empty when all can.

    Deep nesting breaks recursive consumers, and PostgreSQL stores no NUL. The text starts with the path below the
    value, e.g. ``.rows[3].name must not hold the character NUL``. Does not recurse.
    """
    pending: list[tuple[Any, str, int]] = [(value, "", 1)]
    while pending:
        item, path, depth = pending.pop()
        if isinstance(item, str):
            if "\0" in item:
                return f"{path} must not hold the character NUL"
        elif depth > MAX_DEPTH:
            return f"{path[:80]} is nested deeper than {MAX_DEPTH} levels"
        elif isinstance(item, dict):
            if any("\0" in key for key in item):
                return f"{path} has a name that holds the character NUL"
            pending += [(v, f"{path}.{k[:40]}", depth + 1) for k, v in item.items() if isinstance(v, _HOLDERS)]
        elif isinstance(item, list):
            pending += [(v, f"{path}[{n}]", depth + 1) for n, v in enumerate(item) if isinstance(v, _HOLDERS)]
    return ""


def timestamp(epoch_seconds: float) -> str:
    """Return the time in ISO 8601, in UTC with milliseconds, e.g. ``2026-01-31T09:30:00.250Z``."""
    moment = datetime.fromtimestamp(epoch_seconds, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def type_name(value: object) -> str:
    """Return the JSON name of a parsed value's type."""
    names = {dict: "object", list: "array", str: "string", bool: "boolean", int: "number", float: "number"}
    return names.get(type(value), "null" if value is None else "a missing value")


_HOLDERS = (str, dict, list)  # unsafe_json skips the rest: numbers, true, false and null are always safe
_LAST_EPOCH = 253402300799.0  # 9999-12-31T23:59:59Z, the last moment datetime can hold


def _epoch(value: object) -> float | None:
    seconds = None
    if isinstance(value, str):
        seconds = _iso_epoch(value)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        seconds = value / 1000
    return seconds if seconds is not None and 0 <= seconds <= _LAST_EPOCH else None


def _iso_epoch(text: str) -> float | None:
    try:
        moment = datetime.fromisoformat(text)
        return moment.timestamp() if moment.tzinfo is not None else None
    except ValueError:
        return None
