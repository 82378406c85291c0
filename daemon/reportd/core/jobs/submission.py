"""The parser of a submission's body. It is written by hand, in one pass, because every job comes through here."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import orjson

from reportd.core.jobs.job import canonical_uuid, type_name, unsafe_json
from reportd.core.jobs.options import NO_OPTIONS, OPTIONS, JobOptions, read_options

FIELDS = frozenset({"reportType", "parameters", "userId", "callbackUrl", *OPTIONS})
MAX_URL_LENGTH = 2048

MAX_PROBLEMS = 20
"""Problems in one answer. A body can hold more than a person reads or the daemon should list."""

_PLAIN_URL = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """One thing wrong with a request. ``pointer`` is an RFC 6901 JSON pointer into its body."""

    pointer: str
    detail: str


@dataclass(frozen=True, slots=True)
class Submission:
    """A parsed request for a report. With the same ``idempotency_key`` it can be repeated safely."""

    report_type: str
    parameters: Mapping[str, Any]
    user_id: str
    callback_url: str | None = None
    idempotency_key: str | None = None
    options: JobOptions = NO_OPTIONS


class NotJsonError(Exception):
    """The body is not JSON; the text says why."""


class InvalidSubmissionError(Exception):
    """The submission can't become a job; ``problems`` name the fields."""

    def __init__(self, problems: list[FieldProblem]) -> None:
        super().__init__("; ".join(f"{p.pointer}: {p.detail}" for p in problems))
        self.problems = tuple(problems)


def parse(body: bytes) -> Submission:
    """Parse a body. Raises NotJsonError or InvalidSubmissionError. The report type's schema is not checked."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise NotJsonError(str(error)) from None
    if not isinstance(document, dict):
        raise InvalidSubmissionError([FieldProblem("", f"must be an object, not {type_name(document)}")])
    report_type, parameters = document.get("reportType"), document.get("parameters")
    user_id, callback_url = canonical_uuid(document.get("userId")), document.get("callbackUrl")
    options, unreadable = read_options(document)
    if (
        document.keys() <= FIELDS
        and isinstance(report_type, str)
        and isinstance(parameters, dict)
        and user_id is not None
        and (callback_url is None or _is_url(callback_url))
        and not unsafe_json(parameters)
        and not unreadable
    ):
        return Submission(report_type, parameters, user_id, callback_url, options=options)
    raise InvalidSubmissionError(_problems(document, unreadable)[:MAX_PROBLEMS])


def escaped(name: str) -> str:
    """Return a step of a JSON pointer (RFC 6901), escaped and cut to a readable length."""
    return name[:80].replace("~", "~0").replace("/", "~1")


def _problems(document: Mapping[str, Any], unreadable: Mapping[str, str]) -> list[FieldProblem]:
    problems = [
        FieldProblem(f"/{escaped(name)}", f"is not known; accepted: {', '.join(sorted(FIELDS))}")
        for name in document
        if name not in FIELDS
    ]
    parameters = document.get("parameters")
    if not isinstance(document.get("reportType"), str):
        problems.append(
            FieldProblem("/reportType", f"must be the name of a report type{_but_is(document, 'reportType')}")
        )
    if canonical_uuid(document.get("userId")) is None:
        problems.append(FieldProblem("/userId", "must be a UUID, e.g. 0b9f6c1e-6a0c-4b57-9f2a-2f3c8f1f7f10"))
    if not isinstance(parameters, dict):
        problems.append(FieldProblem("/parameters", f"must be an object{_but_is(document, 'parameters')}"))
    elif problem := unsafe_json(parameters):
        problems.append(FieldProblem("/parameters", f"parameters{problem}"))
    if document.get("callbackUrl") is not None and not _is_url(document["callbackUrl"]):
        problems.append(FieldProblem("/callbackUrl", "must be an absolute http or https URL, in ASCII"))
    problems += [FieldProblem(f"/{name}", problem) for name, problem in unreadable.items()]
    return problems


def _but_is(document: Mapping[str, Any], name: str) -> str:
    """Return the end of the sentence "must be ...": the type that the field has, or that it is missing."""
    return f", not {type_name(document[name])}" if name in document else ", and is missing"


def _is_url(value: object) -> bool:
    """Return whether the URL is well-formed, so that later parsing can't fail. The service checks its host."""
    if not isinstance(value, str) or len(value) > MAX_URL_LENGTH or not _PLAIN_URL.fullmatch(value):
        return False
    try:
        parts = urlsplit(value)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
