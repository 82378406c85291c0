"""Reads headers and bodies of requests. The service parses the body of ``POST /reports/generate-async``."""

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
"""A body may take BODY_SECONDS, or longer at this rate: a slower one would hold a connection."""

Parser = Callable[[bytes], Awaitable[Submission]]

MANY_PIECES = 4096
LEAST_PIECE_BYTES = 64
"""The least average after MANY_PIECES. A piece costs 1/30 ms, so a megabyte of single bytes would cost 30 s."""

_MAX_LENGTH_DIGITS = 18  # a longer Content-Length is invalid, and int() refuses thousands of digits
_KEY = re.compile(rb"[\x21-\x7e]{1,255}")
_CLOSE = {"Connection": "close"}


async def read(
    scope: Scope, receive: Receive, max_body_bytes: int, count_bytes: Callable[[int], None]
) -> tuple[bytes, str | None]:
    """Return the body, and the Idempotency-Key if there is one.

    ``count_bytes`` gets the size so far after each piece, and may raise.
    Raises ProblemError (400, 408, 413 or 415) or ClientDisconnect, or as ``count_bytes`` does.
    """
    headers = dict(scope["headers"])
    key = headers.get(b"idempotency-key")
    if key is not None and not _KEY.fullmatch(key):
        raise bad_header(HTTPStatus.BAD_REQUEST, "Idempotency-Key", "must be 1 to 255 visible ASCII characters")
    _check_encoding(headers)
    announced = headers.get(b"content-length", b"0")
    if announced.isdigit() and (len(announced) > _MAX_LENGTH_DIGITS or int(announced) > max_body_bytes):
        raise _too_large(max_body_bytes)
    body = await read_body(receive, max_body_bytes, count_bytes)
    return body, None if key is None else key.decode()


async def parse(body: bytes, key: str | None, parser: Parser) -> Submission:
    """Return the submission. Raises ProblemError (400 or 422), or UnavailableError as ``parser`` does."""
    try:
        parsed = await parser(body)
    except NotJsonError as error:
        raise _not_json(error) from None
    except InvalidSubmissionError as error:
        raise invalid(*error.problems) from None
    except TooCostlyError as error:
        raise invalid(FieldProblem("", f"can't be read: that {error}")) from None
    return parsed if key is None else replace(parsed, idempotency_key=key)


async def read_optional(scope: Scope, receive: Receive, max_body_bytes: int) -> Any:
    """Return the JSON of a small, optional body; an empty object without one. Raises as ``read`` does."""
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
    """Return whether it means JSON in UTF-8. Parameters other than ``charset`` do not change the bytes' meaning."""
    if content_type == b"application/json":
        return True
    media_type, *parameters = (part.strip().lower() for part in content_type.split(b";"))
    charsets = [value.strip(b'"') for name, _, value in (p.partition(b"=") for p in parameters) if name == b"charset"]
    return media_type == b"application/json" and all(charset == b"utf-8" for charset in charsets)


async def read_body(receive: Receive, max_body_bytes: int, count_bytes: Callable[[int], None] | None = None) -> bytes:
    """Return the body. Raises ProblemError (400, 408 or 413) or ClientDisconnect, or as ``count_bytes`` does."""
    pieces, size, more = [], 0, True
    with trio.move_on_after(BODY_SECONDS) as timeout:
        deadline = timeout.deadline
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            piece, more = message.get("body", b""), message.get("more_body", False)
            size += len(piece)
            if size > max_body_bytes:
                raise _too_large(max_body_bytes)
            if count_bytes is not None:
                count_bytes(size)
            pieces.append(piece)
            if len(pieces) > MANY_PIECES and size < len(pieces) * LEAST_PIECE_BYTES:
                accepted = f"must come in pieces of at least {LEAST_PIECE_BYTES} bytes"
                raise bad_body(HTTPStatus.BAD_REQUEST, accepted, _CLOSE)
            if size > BODY_BYTES_PER_SECOND:
                timeout.deadline = deadline + size / BODY_BYTES_PER_SECOND
        return b"".join(pieces)
    accepted = f"must come within {BODY_SECONDS:g} s, or at {BODY_BYTES_PER_SECOND} bytes/s"
    raise bad_body(HTTPStatus.REQUEST_TIMEOUT, accepted, _CLOSE)


def _too_large(max_body_bytes: int) -> Exception:
    accepted = f"must be at most {max_body_bytes} bytes (http.max_body_bytes)"
    return bad_body(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, accepted, _CLOSE)
