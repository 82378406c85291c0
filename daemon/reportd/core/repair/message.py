"""Repair the mistakes of producers in their messages, and record each change.

Only unambiguous mistakes are repaired. A message is repaired completely or not at all: the result is a job that passes
the check of its report type.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid5

import orjson

from reportd.core.jobs.job import BadMessageError, Job, from_message, timestamp
from reportd.core.jobs.options import OPTIONS
from reportd.core.jobs.submission import FieldProblem
from reportd.core.repair.envelopes import Change, change, object_in, unwrap
from reportd.core.repair.parameters import repair_parameters

_LAST_MOMENT = 253402300799.0

NAMESPACE = UUID("0b1f6f0e-6f0a-5d54-9d0c-8e2f0a9a1c3d")


@dataclass(frozen=True, slots=True)
class Known:
    """The known report types. ``names``: each name and alias in normal form -> the type's name.

    ``check``: returns the problems of a job with this report type and these parameters.
    """

    names: Mapping[str, str]
    check: Callable[[str, Mapping[str, Any]], Sequence[FieldProblem]]

    def problems(self, job: Job) -> str:
        """Return the problems of a job as one text; empty when there is none."""
        return "; ".join(f"{p.pointer}: {p.detail}" for p in self.check(job.report_type, job.parameters))


@dataclass(frozen=True, slots=True)
class Repaired:
    """A job that passes the check of its report type, and the changes that were needed."""

    job: Job
    changes: tuple[Change, ...]


def repair(body: str, sent_at: float, known: Known) -> Repaired | None:
    """Return the job that a broken body stands for; None when it is ambiguous, or when nothing is wrong with it.

    ``sent_at``: when the producer sent it. A missing task id is derived from body and ``sent_at``, so that every repair
    of the same message gives the same job.
    """
    content = unwrap(body)
    if content is None:
        return None
    message, changes = content
    _rename(message, changes)
    for name, corrected in _FIELDS.items():
        if name in message:
            _replace(message, name, corrected(message[name]), changes)
    _fill(message, changes, uuid5(NAMESPACE, f"{sent_at:.3f}\n{_encodable(body)}"), sent_at)
    try:
        job = from_message(orjson.dumps(message).decode())
    except (BadMessageError, orjson.JSONEncodeError):  # orjson parses deeper nesting than it writes
        return None
    if not isinstance(job, Job):
        return None
    return _fit(job, changes, known)


def repair_job(job: Job, known: Known) -> Repaired | None:
    """Repair a job whose message is well-formed, but which its report type rejects."""
    return _fit(job, [], known)


def derived_id(body: str, sent_at: float) -> str:
    """Return a UUID that is unique to this message and the same on every node."""
    return str(uuid5(NAMESPACE, f"letter\n{sent_at:.3f}\n{_encodable(body)}"))


def normal_name(name: str) -> str:
    """Return a report type's name in normal form.

    ``Sales-Summary``, ``salesSummary`` and ``SALES SUMMARY`` have the same one.
    """
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.strip())
    return re.sub(r"[\s./_-]+", "_", words).lower()


# --- the message's own fields -----------------------------------------------------------------------------------

_NAMES = ("taskId", "reportType", "parameters", "userId", "submittedAt", "callbackUrl", "parametersStored", *OPTIONS)
_BY_LETTERS = {name.lower(): name for name in _NAMES}


def _rename(message: dict[str, Any], changes: list[Change]) -> None:
    """Rename ``task_id``, ``TaskID``, ``task-id`` to taskId, unless the message has that, too."""
    for key in list(message):
        name = _BY_LETTERS.get(re.sub(r"[\s_-]", "", key).lower(), key)
        if name not in message:
            message[name] = message.pop(key)
            changes.append(change("body", "a name put right", key, name))


def _replace(message: dict[str, Any], name: str, value: Any, changes: list[Change]) -> None:
    if value is not None and value != message[name]:
        changes.append(change(f"/{name}", "put right", message[name], value))
        message[name] = value


def _uuid(value: Any) -> str | None:
    """Return a UUID in canonical form. Blanks or braces around it, missing hyphens and a URN are accepted."""
    try:
        return str(UUID(value.strip())) if isinstance(value, str) else None
    except ValueError:
        return None


def _text(value: Any) -> str | None:
    return value.strip() if isinstance(value, str) else None


def _parameters(value: Any) -> Mapping[str, Any] | None:
    """Return the object in parameters that were encoded twice."""
    return object_in(value.strip()) if isinstance(value, str) else None


def _moment(value: Any) -> str | int | None:
    """Return milliseconds as a number, and a time with an offset; without one it is UTC."""
    if not isinstance(value, str):
        return None
    text = value.strip()
    if re.fullmatch(r"\d{12,14}", text, re.ASCII):
        return int(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return text if moment.tzinfo else moment.replace(tzinfo=UTC).isoformat()


_FIELDS: dict[str, Callable[[Any], Any]] = {
    "taskId": _uuid,
    "userId": _uuid,
    "reportType": _text,
    "callbackUrl": _text,
    "parameters": _parameters,
    "submittedAt": _moment,
}


def _fill(message: dict[str, Any], changes: list[Change], task_id: UUID, sent_at: float) -> None:
    for field, value in (("taskId", str(task_id)), ("submittedAt", timestamp(min(max(0.0, sent_at), _LAST_MOMENT)))):
        if message.get(field) in (None, ""):
            message[field] = value
            changes.append(change(f"/{field}", "was missing", None, value))
    report_type = message.get("reportType")
    if isinstance(report_type, str) and report_type != (name := normal_name(report_type)):
        # An unknown type's name stays in the job, so that its error names it.
        _replace(message, "reportType", name, changes)


# --- what the report type accepts -------------------------------------------------------------------------------


def _fit(job: Job, changes: list[Change], known: Known) -> Repaired | None:
    changes = list(changes)
    name = known.names.get(normal_name(job.report_type), job.report_type)
    if name != job.report_type and known.check(job.report_type, job.parameters):
        changes.append(change("/reportType", "put right", job.report_type, name))
        job = replace(job, report_type=name)
    parameters = repair_parameters(job.parameters, lambda candidate: known.check(job.report_type, candidate), changes)
    if parameters is None or not changes:
        return None
    return Repaired(replace(job, parameters=parameters), tuple(changes))


def _encodable(text: str) -> str:
    return text.encode(errors="replace").decode()
