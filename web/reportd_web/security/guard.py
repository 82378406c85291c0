"""Wraps every request: refuses those of other sites (I11), and turns exceptions into problem documents."""

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from reportd.breakers.operator import InapplicableCommandError, UnknownReportTypeError
from reportd.core.capacity.backlog import Limit
from reportd.core.jobs.submission import FieldProblem, InvalidSubmissionError
from reportd.core.jobs.transitions import IllegalTransitionError
from reportd.intake.backlog import BusyError
from reportd.intake.errors import (
    GoneError,
    KeyReusedError,
    MissingPdfError,
    NotFinishedError,
    NotFoundError,
    StillQueuedError,
)
from reportd.ports import UnavailableError
from reportd_web.http.problems import ProblemError, bad_header, invalid
from reportd_web.security.origin import SAFE_METHODS, Hosts, from_elsewhere

log = structlog.get_logger()

Handler = Callable[[Request], Awaitable[Response]]

RETRY_SECONDS = 5
LATER = {"Retry-After": str(RETRY_SECONDS)}

HELD_RETRY_SECONDS = 60
"""Jobs held by a breaker wait until it closes, which takes longer than RETRY_SECONDS."""

_FIELDS = {Limit.REPORT_TYPE: "/reportType", Limit.USER: "/userId"}

_REFUSALS: dict[type[Exception], HTTPStatus] = {
    GoneError: HTTPStatus.GONE,
    IllegalTransitionError: HTTPStatus.CONFLICT,
    MissingPdfError: HTTPStatus.NOT_FOUND,
    InapplicableCommandError: HTTPStatus.CONFLICT,
    NotFinishedError: HTTPStatus.CONFLICT,
    NotFoundError: HTTPStatus.NOT_FOUND,
    StillQueuedError: HTTPStatus.CONFLICT,
    UnavailableError: HTTPStatus.SERVICE_UNAVAILABLE,
    UnknownReportTypeError: HTTPStatus.NOT_FOUND,
}

# No other site may embed or read an answer. CORP does not affect links and downloads.
_ALWAYS = [(b"x-content-type-options", b"nosniff"), (b"cross-origin-resource-policy", b"same-origin")]


class Guard:
    """The outermost of the application's own layers: only bugs of the frameworks escape it.

    ``quick``: calls, by method and path, that skip the framework. A request passes each of its layers again whenever it
    waits, which costs the busiest call a tenth of its time.
    ``hosts``: the hosts that requests may name; None: any.
    """

    def __init__(self, app: ASGIApp, hosts: Hosts | None, quick: Mapping[tuple[str, str], Handler]) -> None:
        self._app = app
        self._hosts = hosts
        self._quick = quick

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def marking_send(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                message["headers"] = [*message["headers"], *_ALWAYS]
            await send(message)

        path = scope["path"]
        try:
            if scope["method"] not in SAFE_METHODS:
                _refuse_other_sites(scope)
            if self._hosts is not None:
                _refuse_misdirected(scope, self._hosts)
            if path[-1:] == "/" and path.strip("/"):
                # A slash at the end does not matter. A redirect would make clients drop the body.
                path = path.rstrip("/")
                scope = {**scope, "path": path}
            if quick := self._quick.get((scope["method"], path)):
                response = await quick(Request(scope, receive))
                await response(scope, receive, marking_send)
            else:
                await self._app(scope, receive, marking_send)
        except ClientDisconnect:
            pass
        except Exception as error:  # noqa: BLE001 - it is logged, and the client gets an answer
            problem = problem_for(error) or _bug(scope, error)
            # The server cuts off a response that has begun, so that it does not look complete.
            if not begun:
                await problem.response(path)(scope, receive, marking_send)


def _refuse_other_sites(scope: Scope) -> None:
    address = scope["server"][0] if scope.get("server") else ""
    if from_elsewhere(dict(scope["headers"]), address):
        raise ProblemError(HTTPStatus.FORBIDDEN, "state can't be changed from another site")


def _refuse_misdirected(scope: Scope, hosts: Hosts) -> None:
    host = next((value for name, value in scope["headers"] if name == b"host"), None)
    # Browsers always send a Host; the health checks of some load balancers do not.
    if host is not None and not hosts.include(host):
        accepted = (
            f"must be an address, {', '.join(hosts.names)}; http.public_url or tokens (auth.tokens_file) admit others"
        )
        raise bad_header(HTTPStatus.MISDIRECTED_REQUEST, "Host", accepted)


def _bug(scope: Scope, error: Exception) -> ProblemError:
    log.error("http.internal_error", method=scope["method"], path=scope["path"], exc_info=error)
    return ProblemError(HTTPStatus.INTERNAL_SERVER_ERROR, "the daemon failed; its log says why")


def problem_for(error: Exception) -> ProblemError | None:
    """Return the problem for an expected exception; None for a bug."""
    if isinstance(error, ProblemError):
        return error
    if isinstance(error, InvalidSubmissionError):
        return invalid(*error.problems)
    if isinstance(error, KeyReusedError):
        problem = FieldProblem("/Idempotency-Key", "must be a new one for a new request")
        return ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, str(error), [problem], place="header")
    if isinstance(error, BusyError):
        return _busy(error)
    for kind, status in _REFUSALS.items():
        if isinstance(error, kind):
            later = status is HTTPStatus.SERVICE_UNAVAILABLE
            return ProblemError(status, str(error), headers=LATER if later else None)
    return None


def _busy(error: BusyError) -> ProblemError:
    """Return a 429 with the limit that was hit and what is accepted."""
    refusal = error.refused
    pointer = _FIELDS.get(refusal.limit)
    detail = f"must be another one while {refusal.accepted} or more of its jobs wait"
    return ProblemError(
        HTTPStatus.TOO_MANY_REQUESTS,
        str(error),
        [FieldProblem(pointer, detail)] if pointer else (),
        headers={"Retry-After": str(HELD_RETRY_SECONDS)} if refusal.held else LATER,
        members={"limit": refusal.limit, "waiting": refusal.waiting, "accepted": refusal.accepted},
    )


async def routing_problem(request: Request, error: Exception, hint: str = "/openapi.json lists the calls") -> Response:
    """Answer the router's own errors: unknown path, or unknown method of a path. ``hint``: where there is something."""
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for nothing else
    status = HTTPStatus(error.status_code)
    headers = dict(error.headers or {})
    if "Allow" in headers:
        headers["Allow"] = ", ".join(sorted(headers["Allow"].split(", ")))
        detail = f"{request.method} is not possible here; accepted: {headers['Allow']}"
    else:
        detail = f"there is nothing at this path; {hint}"
    return ProblemError(status, detail, headers=headers).response(request.url.path)
