"""Errors as RFC 9457 ``application/problem+json``, each naming the field and what is accepted."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Literal
from urllib.parse import quote

import orjson
from starlette.responses import Response

from reportd.core.jobs.submission import MAX_PROBLEMS, FieldProblem

MEDIA_TYPE = "application/problem+json"

Place = Literal["body", "query", "header"]


class ProblemError(Exception):
    """Ends a request with this answer.

    ``errors``: JSON pointers into ``place``. ``members``: further members of the document (RFC 9457, section 3.2).
    """

    def __init__(
        self,
        status: HTTPStatus,
        detail: str,
        errors: Sequence[FieldProblem] = (),
        *,
        place: Place = "body",
        headers: Mapping[str, str] | None = None,
        members: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.errors = tuple(errors[:MAX_PROBLEMS])
        self.place = place
        self.headers = dict(headers or {})
        self.members = dict(members or {})

    def response(self, path: str) -> Response:
        body: dict[str, object] = {
            "type": "about:blank",
            "title": self.status.phrase,
            "status": int(self.status),
            "detail": self.detail,
            "instance": quote(path, safe="/:@!$&'()*+,;=~"),
        }
        if self.errors:
            body["errors"] = [{"in": self.place, "pointer": e.pointer, "detail": e.detail} for e in self.errors]
        body |= self.members
        headers = {"Cache-Control": "no-store", **self.headers}
        return Response(orjson.dumps(body), int(self.status), headers, media_type=MEDIA_TYPE)


def invalid(*errors: FieldProblem, place: Place = "body") -> ProblemError:
    """Return a 422: well-formed, but not acceptable."""
    names = [error.pointer.removeprefix("/") or f"the {place}" for error in errors[:MAX_PROBLEMS]]
    return ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, f"not acceptable: {', '.join(names)}", errors, place=place)


def bad_header(status: HTTPStatus, name: str, accepted: str, headers: Mapping[str, str] | None = None) -> ProblemError:
    """Return a problem for a header that prevents reading the body."""
    problem = FieldProblem(f"/{name}", accepted)
    return ProblemError(status, f"{name} {accepted}", [problem], place="header", headers=headers)


def bad_body(status: HTTPStatus, accepted: str, headers: Mapping[str, str] | None = None) -> ProblemError:
    """Return a problem for the body as a whole."""
    return ProblemError(status, f"the body {accepted}", [FieldProblem("", accepted)], headers=headers)
