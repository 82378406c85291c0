"""Reads ``POST /reports/generate-async``. Every job comes through here, so it is parsed by hand, in one go."""

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import orjson
import trio
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from reportd.core.job import canonical_uuid, type_name, unsafe_json
from reportd.service import FieldProblem, Submission
from reportd_web.problems import bad_body, bad_header, invalid
from reportd_web.wire import escaped

FIELDS = frozenset({"reportType", "parameters", "userId", "callbackUrl"})
MAX_URL_LENGTH = 2048

BODY_SECONDS = 15.0
BODY_BYTES_PER_SECOND = 4096
"""A body may take BODY_SECONDS, and longer as long as it comes at this rate: one that drips holds a connection."""

_LONGEST_LENGTH = 18  # more digits than that are no number of bytes, and int() refuses thousands of them
_KEY = re.compile(rb"[\x21-\x7e]{1,255}")
_CLOSE = {"Connection": "close"}
_PLAIN_URL = re.compile(r"[\x21-\x7e]+")


async def read(scope: Scope, receive: Receive, max_body_bytes: int) -> Submission:
    """Raises ProblemError (400, 408, 413, 415 or 422) or ClientDisconnect."""
    headers = dict(scope["headers"])
    key = headers.get(b"idempotency-key")
    if key is not None and not _KEY.fullmatch(key):
        raise bad_header(HTTPStatus.BAD_REQUEST, "Idempotency-Key", "must be 1 to 255 visible ASCII characters")
    _check_encoding(headers)
    announced = headers.get(b"content-length", b"0")
    if announced.isdigit() and (len(announced) > _LONGEST_LENGTH or int(announced) > max_body_bytes):
        raise _too_large(max_body_bytes)
    return _parsed(_loaded(await read_body(receive, max_body_bytes)), None if key is None else key.decode())


async def read_optional(scope: Scope, receive: Receive, max_body_bytes: int) -> Any:
    """The JSON of a body that may be left out, which is an empty object. Raises as ``read`` does, but for 422."""
    body = await read_body(receive, max_body_bytes)
    if not body:
        return {}
    _check_encoding(dict(scope["headers"]))
    return _loaded(body)


def _check_encoding(headers: Mapping[bytes, bytes]) -> None:
    if not _is_json(headers.get(b"content-type", b"")):
        raise bad_header(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "Content-Type",
            "must be application/json, in UTF-8",
            {"Accept": "application/json"},
        )
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise bad_header(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "Content-Encoding",
            "must be identity, or left out",
            {"Accept-Encoding": "identity"},
        )


def _loaded(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise bad_body(HTTPStatus.BAD_REQUEST, f"must be JSON in UTF-8: {error}") from None


def _is_json(content_type: bytes) -> bool:
    """Of its parameters only ``charset`` changes what the bytes mean."""
    if content_type == b"application/json":
        return True
    media_type, *parameters = (part.strip().lower() for part in content_type.split(b";"))
    charsets = [value.strip(b'"') for name, _, value in (p.partition(b"=") for p in parameters) if name == b"charset"]
    return media_type == b"application/json" and all(charset == b"utf-8" for charset in charsets)


async def read_body(receive: Receive, max_body_bytes: int) -> bytes:
    """Raises ProblemError (408 or 413) or ClientDisconnect."""
    pieces, size, more = [], 0, True
    with trio.move_on_after(BODY_SECONDS) as patience:
        deadline = patience.deadline
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            piece, more = message.get("body", b""), message.get("more_body", False)
            size += len(piece)
            if size > max_body_bytes:
                raise _too_large(max_body_bytes)
            pieces.append(piece)
            if size > BODY_BYTES_PER_SECOND:
                patience.deadline = deadline + size / BODY_BYTES_PER_SECOND
        return b"".join(pieces)
    accepted = f"must come within {BODY_SECONDS:g} s, or at {BODY_BYTES_PER_SECOND} bytes/s"
    raise bad_body(HTTPStatus.REQUEST_TIMEOUT, accepted, _CLOSE)


def _too_large(max_body_bytes: int) -> Exception:
    accepted = f"must be at most {max_body_bytes} bytes (http.max_body_bytes)"
    return bad_body(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, accepted, _CLOSE)


def _parsed(document: Any, key: str | None) -> Submission:
    if not isinstance(document, dict):
        raise invalid(FieldProblem("", f"must be an object, not {type_name(document)}"))
    report_type, parameters = document.get("reportType"), document.get("parameters")
    user_id, callback_url = canonical_uuid(document.get("userId")), document.get("callbackUrl")
    if (
        document.keys() <= FIELDS
        and isinstance(report_type, str)
        and isinstance(parameters, dict)
        and user_id is not None
        and (callback_url is None or _is_url(callback_url))
        and not unsafe_json(parameters)
    ):
        return Submission(report_type, parameters, user_id, callback_url, key)
    raise invalid(*_problems(document))


def _problems(document: Mapping[str, Any]) -> list[FieldProblem]:
    problems = [
        FieldProblem(f"/{escaped(name)}", f"is not known; accepted: {', '.join(sorted(FIELDS))}")
        for name in document
        if name not in FIELDS
    ]
    parameters = document.get("parameters")
    if not isinstance(document.get("reportType"), str):
        problems.append(FieldProblem("/reportType", f"must be the name of a report type{_not(document, 'reportType')}"))
    if canonical_uuid(document.get("userId")) is None:
        problems.append(FieldProblem("/userId", "must be a UUID, e.g. 0b9f6c1e-6a0c-4b57-9f2a-2f3c8f1f7f10"))
    if not isinstance(parameters, dict):
        problems.append(FieldProblem("/parameters", f"must be an object{_not(document, 'parameters')}"))
    elif trouble := unsafe_json(parameters):
        problems.append(FieldProblem("/parameters", f"parameters{trouble}"))
    if document.get("callbackUrl") is not None and not _is_url(document["callbackUrl"]):
        problems.append(FieldProblem("/callbackUrl", "must be an absolute http or https URL, in ASCII"))
    return problems


def _not(document: Mapping[str, Any], name: str) -> str:
    return f", not {type_name(document[name])}" if name in document else ", and is missing"


def _is_url(value: object) -> bool:
    """Well-formed, so that nobody who takes it apart meets a surprise. Where it may point is the service's to say."""
    if not isinstance(value, str) or len(value) > MAX_URL_LENGTH or not _PLAIN_URL.fullmatch(value):
        return False
    try:
        parts = urlsplit(value)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
