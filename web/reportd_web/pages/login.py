"""Login and logout of browsers: a form takes a token and gives a session."""

from collections.abc import Callable
from http import HTTPStatus

import structlog
from fastapi import FastAPI
from jinja2 import Environment, PackageLoader
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from reportd.ports import UnavailableError
from reportd_web.api import reports
from reportd_web.pages.forms import read_form
from reportd_web.security.access import CHALLENGE, LOGIN, Access, may_watch
from reportd_web.security.guard import LATER, Handler
from reportd_web.security.login_throttle import LoginThrottle
from reportd_web.security.sessions import COOKIE, SESSION_SECONDS

log = structlog.get_logger()

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def add_login(app: FastAPI, access: Access) -> None:
    page = Environment(loader=PackageLoader("reportd_web"), autoescape=True).get_template("login.html")
    throttle = LoginThrottle()

    def form(trouble: str = "", status: HTTPStatus = HTTPStatus.OK, **headers: str) -> Response:
        headers = {**_HEADERS, **{name.replace("_", "-"): value for name, value in headers.items()}}
        return Response(page.render(trouble=trouble), status, headers, media_type="text/html")

    async def show(_: Request) -> Response:
        return form() if access.required else _to("/")

    async def log_in(request: Request) -> Response:
        if not access.required:
            return _to("/")
        secret = (await read_form(request)).get("token", "").strip().encode()
        address = request.client.host if request.client else ""
        # Checked first, so that failures of others never block a valid login. A token is too long to guess.
        token = access.tokens.find(secret)
        if token is None and (wait_seconds := throttle.wait_seconds(address)):
            log.warning("login.too_many", client=address)
            text = f"This token is not accepted. You can try again in {wait_seconds} s."
            return form(text, HTTPStatus.TOO_MANY_REQUESTS, Retry_After=str(wait_seconds))
        if token is None:
            throttle.failed(address)
            log.warning("login.failed", client=address)
            return form("This token is not accepted.", HTTPStatus.UNAUTHORIZED, WWW_Authenticate=CHALLENGE)
        if not may_watch(token):
            text = "This token may not see the page: it needs the role read, and must not be bound to a user."
            return form(text, HTTPStatus.FORBIDDEN)
        log.info("login.done", client=address, actor=token.name)
        answer = _to("/")
        answer.set_cookie(
            COOKIE,
            access.sessions.issue(token),
            max_age=SESSION_SECONDS,
            httponly=True,
            samesite="strict",
            secure=_is_https(request),
        )
        return answer

    reports.add_calls(app, LOGIN, {"GET": show, "POST": log_in})
    reports.add_calls(app, "/logout", {"POST": _log_out(access, form)})


def _log_out(access: Access, form: Callable[..., Response]) -> Handler:
    async def log_out(request: Request) -> Response:
        try:
            token = await access.log_out(request)
        except UnavailableError as error:
            log.warning("login.not_ended", error=str(error))
            text = "You are still logged in: the database is unavailable, so the session could not be ended. Try again."
            return form(text, HTTPStatus.SERVICE_UNAVAILABLE, **LATER)
        if token is not None:
            log.info("login.ended", actor=token.name)
        answer = _to(LOGIN)
        answer.delete_cookie(COOKIE, httponly=True, samesite="strict", secure=_is_https(request))
        return answer

    return log_out


def _to(path: str) -> Response:
    return RedirectResponse(path, HTTPStatus.SEE_OTHER, {"Cache-Control": "no-store"})


def _is_https(request: Request) -> bool:
    """Return whether the browser uses HTTPS. A client that lies about it harms only its own cookie."""
    return "https" in (request.url.scheme, request.headers.get("x-forwarded-proto"))
