"""Reads ``POST /reports/generate-async``: the headers and the body, which the service then parses."""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import Any

import orjson
import trio
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from reportd.core.jobs.submission import FieldProblem, InvalidSubmissionError, NotJsonError, Submission
from reportd.ports import INLINE_BYTES, TooCostlyError
from reportd_web.http.problems import bad_body, bad_header, invalid

BODY_SECONDS = 15.0
BODY_BYTES_PER_SECOND = 4096
"""A body may take BODY_SECONDS, and longer as long as it comes at this rate: one that drips holds a connection."""

Parser = Callable[[bytes], Awaitable[Submission]]

MANY_PIECES = 4096
LEAST_PIECE_BYTES = 64
"""On average: each piece costs a thirtieth of a millisecond, so a megabyte of single bytes would cost half a minute."""

_LONGEST_LENGTH = 18  # more digits than that are no number of bytes, and int() refuses thousands of them
_KEY = re.compile(rb"[\x21-\x7e]{1,255}")
_CLOSE = {"Connection": "close"}


async def read(
    scope: Scope, receive: Receive, max_body_bytes: int, grown: Callable[[int], None]
) -> tuple[bytes, str | None]:
    """The body, and the Idempotency-Key if there is one.

    ``grown`` hears how much of the body there is by now, and raises when that is too much.
    Raises ProblemError (400, 408, 413 or 415) or ClientDisconnect, or as ``grown`` does.
    """
    headers = dict(scope["headers"])
    key = headers.get(b"idempotency-key")
    if key is not None and not _KEY.fullmatch(key):
        raise bad_header(HTTPStatus.BAD_REQUEST, "Idempotency-Key", "must be 1 to 255 visible ASCII characters")
    _check_encoding(headers)
    announced = headers.get(b"content-length", b"0")
    if announced.isdigit() and (len(announced) > _LONGEST_LENGTH or int(announced) > max_body_bytes):
        raise _too_large(max_body_bytes)
    body = await read_body(receive, max_body_bytes, grown)
    return body, None if key is None else key.decode()


async def understood(body: bytes, key: str | None, parsed: Parser) -> Submission:
    """Raises ProblemError (400 or 422), or UnavailableError as ``parsed`` does."""
    try:
        found = await parsed(body)
    except NotJsonError as error:
        raise _not_json(error) from None
    except InvalidSubmissionError as error:
        raise invalid(*error.problems) from None
    except TooCostlyError as error:
        raise invalid(FieldProblem("", f"can't be read: that {error}")) from None
    return found if key is None else replace(found, idempotency_key=key)


async def read_optional(scope: Scope, receive: Receive, max_body_bytes: int) -> Any:
    """The JSON of a small body that may be left out, which is an empty object. Raises as ``read`` does, but for 422."""
    body = await read_body(receive, min(max_body_bytes, INLINE_BYTES))
    if not body:
        return {}
    _check_encoding(dict(scope["headers"]))
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise _not_json(error) from None


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


def _not_json(error: Exception) -> Exception:
    return bad_body(HTTPStatus.BAD_REQUEST, f"must be JSON in UTF-8: {error}")


def _is_json(content_type: bytes) -> bool:
    """Of its parameters only ``charset`` changes what the bytes mean."""
    if content_type == b"application/json":
        return True
    media_type, *parameters = (part.strip().lower() for part in content_type.split(b";"))
    charsets = [value.strip(b'"') for name, _, value in (p.partition(b"=") for p in parameters) if name == b"charset"]
    return media_type == b"application/json" and all(charset == b"utf-8" for charset in charsets)


async def read_body(receive: Receive, max_body_bytes: int, grown: Callable[[int], None] | None = None) -> bytes:
    """Raises ProblemError (408 or 413) or ClientDisconnect, or as ``grown`` does."""
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
            if grown is not None:
                grown(size)
            pieces.append(piece)
            if len(pieces) > MANY_PIECES and size < len(pieces) * LEAST_PIECE_BYTES:
                accepted = f"must come in pieces of at least {LEAST_PIECE_BYTES} bytes"
                raise bad_body(HTTPStatus.BAD_REQUEST, accepted, _CLOSE)
            if size > BODY_BYTES_PER_SECOND:
                patience.deadline = deadline + size / BODY_BYTES_PER_SECOND
        return b"".join(pieces)
    accepted = f"must come within {BODY_SECONDS:g} s, or at {BODY_BYTES_PER_SECOND} bytes/s"
    raise bad_body(HTTPStatus.REQUEST_TIMEOUT, accepted, _CLOSE)


def _too_large(max_body_bytes: int) -> Exception:
    accepted = f"must be at most {max_body_bytes} bytes (http.max_body_bytes)"
    return bad_body(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, accepted, _CLOSE)
