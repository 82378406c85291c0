"""Puts right what producers do to their messages by mistake, and says what it changed.

Only what has one meaning is touched, and a message is repaired whole or not at all: the outcome is a job that passes
the check of its report type.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Protocol
from uuid import UUID, uuid5

import orjson

from reportd.core.jobs.job import BadMessageError, Job, from_message, timestamp
from reportd.core.repair.envelopes import Change, change, object_in, unwrapped
from reportd.core.repair.parameters import mended

_LAST_MOMENT = 253402300799.0

NAMESPACE = UUID("0b1f6f0e-6f0a-5d54-9d0c-8e2f0a9a1c3d")


class Problem(Protocol):
    """One thing that is wrong with a job. ``pointer``: an RFC 6901 JSON pointer into the message."""

    @property
    def pointer(self) -> str: ...

    @property
    def detail(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Known:
    """The report types. ``names``: each name and alias in its normal form, and the type it is a name of.

    ``check``: what is wrong with a job of that type and with those parameters.
    """

    names: Mapping[str, str]
    check: Callable[[str, Mapping[str, Any]], Sequence[Problem]]

    def problems(self, job: Job) -> str:
        """In words; empty when there is none."""
        return "; ".join(f"{p.pointer}: {p.detail}" for p in self.check(job.report_type, job.parameters))


@dataclass(frozen=True, slots=True)
class Repaired:
    """A job that passes the check of its report type, and what was changed to make it one."""

    job: Job
    changes: tuple[Change, ...]


def repair(body: str, sent_at: float, known: Known) -> Repaired | None:
    """The job that a broken body was meant to be; None when that can't be told, or when nothing is wrong with it.

    ``sent_at`` is when the producer sent it. A task id that is missing is derived from both, so that whoever
    repairs the same message again makes the same job.
    """
    found = unwrapped(body)
    if found is None:
        return None
    message, changes = found
    _rename(message, changes)
    for name, put_right in _FIELDS.items():
        if name in message:
            _replace(message, name, put_right(message[name]), changes)
    _fill(message, changes, uuid5(NAMESPACE, f"{sent_at:.3f}\n{_encodable(body)}"), sent_at)
    try:
        job = from_message(orjson.dumps(message).decode())
    except (BadMessageError, orjson.JSONEncodeError):  # it may be nested deeper than can be written
        return None
    if not isinstance(job, Job):
        return None
    return _fitted(job, changes, known)


def repair_job(job: Job, known: Known) -> Repaired | None:
    """The same for a job whose message was well-formed, but is not what its report type accepts."""
    return _fitted(job, [], known)


def derived_id(body: str, sent_at: float) -> str:
    """A UUID that names this message and no other, whoever derives it."""
    return str(uuid5(NAMESPACE, f"letter\n{sent_at:.3f}\n{_encodable(body)}"))


def normal_name(name: str) -> str:
    """A report type's name without what producers vary: ``Sales-Summary``, ``salesSummary``, ``SALES SUMMARY``."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.strip())
    return re.sub(r"[\s./_-]+", "_", words).lower()


# --- the message's own fields -----------------------------------------------------------------------------------

_NAMES = ("taskId", "reportType", "parameters", "userId", "submittedAt", "callbackUrl", "parametersStored")
_BY_LETTERS = {name.lower(): name for name in _NAMES}


def _rename(message: dict[str, Any], changes: list[Change]) -> None:
    """``task_id``, ``TaskID``, ``task-id`` are taskId, unless that is there, too."""
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
    """In the form that messages have. In blanks or braces, without hyphens, or as a URN it is a UUID, too."""
    try:
        return str(UUID(value.strip())) if isinstance(value, str) else None
    except ValueError:
        return None


def _text(value: Any) -> str | None:
    return value.strip() if isinstance(value, str) else None


def _parameters(value: Any) -> Mapping[str, Any] | None:
    """An object that was encoded by itself."""
    return object_in(value.strip()) if isinstance(value, str) else None


def _moment(value: Any) -> str | int | None:
    """Milliseconds that are a text are a number; a time without an offset is UTC."""
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
    for name, value in (("taskId", str(task_id)), ("submittedAt", timestamp(min(max(0.0, sent_at), _LAST_MOMENT)))):
        if message.get(name) in (None, ""):
            message[name] = value
            changes.append(change(f"/{name}", "was missing", None, value))
    kind = message.get("reportType")
    if isinstance(kind, str) and kind != (lower := normal_name(kind)):
        # The name of a type that is not known stays in the job, so that its error says what was asked for.
        _replace(message, "reportType", lower, changes)


# --- what the report type accepts -------------------------------------------------------------------------------


def _fitted(job: Job, changes: list[Change], known: Known) -> Repaired | None:
    changes = list(changes)
    name = known.names.get(normal_name(job.report_type), job.report_type)
    if name != job.report_type and known.check(job.report_type, job.parameters):
        changes.append(change("/reportType", "put right", job.report_type, name))
        job = replace(job, report_type=name)
    parameters = mended(job.parameters, lambda tried: known.check(job.report_type, tried), changes)
    if parameters is None or not changes:
        return None
    return Repaired(replace(job, parameters=parameters), tuple(changes))


def _encodable(text: str) -> str:
    return text.encode(errors="replace").decode()
