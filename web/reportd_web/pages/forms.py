"""Reads the forms of our pages."""

from http import HTTPStatus
from urllib.parse import parse_qs

from starlette.requests import Request

from reportd_web.api.submission import read_body
from reportd_web.http.problems import bad_header

MAX_FORM_BYTES = 4096
_FORM = "application/x-www-form-urlencoded"


async def read_form(request: Request) -> dict[str, str]:
    """Return the last value of each field. Raises ProblemError (400, 408, 413, 415)."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
        raise bad_header(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Content-Type", f"must be {_FORM}", {"Accept": _FORM})
    body = await read_body(request.receive, MAX_FORM_BYTES)
    pairs = parse_qs(body.decode("ascii", "replace"))
    return {name: values[-1] for name, values in pairs.items()}
