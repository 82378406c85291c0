"""Errors as RFC 9457 ``application/problem+json``, each naming the field and what is accepted."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus

import orjson
from starlette.responses import Response

from reportd.service import FieldProblem

MEDIA_TYPE = "application/problem+json"


class ProblemError(Exception):
    """Ends a request with this answer."""

    def __init__(
        self,
        status: HTTPStatus,
        detail: str,
        errors: Sequence[FieldProblem] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.errors = tuple(errors)
        self.headers = dict(headers or {})

    def response(self, path: str) -> Response:
        body: dict[str, object] = {
            "type": "about:blank",
            "title": self.status.phrase,
            "status": int(self.status),
            "detail": self.detail,
            "instance": path,
        }
        if self.errors:
            body["errors"] = [{"pointer": e.pointer, "detail": e.detail} for e in self.errors]
        return Response(orjson.dumps(body), int(self.status), self.headers, media_type=MEDIA_TYPE)


def invalid(*errors: FieldProblem) -> ProblemError:
    """422: well-formed, but not acceptable."""
    names = ", ".join(e.pointer.removeprefix("/") or "the body" for e in errors)
    return ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, f"not acceptable: {names}", errors)
