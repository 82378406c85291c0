"""The way in for a browser: a form that takes a token and gives a session, and the way out."""

from http import HTTPStatus

import structlog
from fastapi import FastAPI
from jinja2 import Environment, PackageLoader
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from reportd_web import api
from reportd_web.access import CHALLENGE, LOGIN, Access, may_watch
from reportd_web.attempts import Attempts
from reportd_web.forms import read_form
from reportd_web.sessions import COOKIE, SESSION_SECONDS

log = structlog.get_logger()

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def add_login(app: FastAPI, access: Access) -> None:
    page = Environment(loader=PackageLoader("reportd_web"), autoescape=True).get_template("login.html")
    attempts = Attempts()

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
        if wait_seconds := attempts.wait_seconds(address):
            log.warning("login.too_many", client=address)
            text = f"Too many attempts. The next one is possible in {wait_seconds} s."
            return form(text, HTTPStatus.TOO_MANY_REQUESTS, Retry_After=str(wait_seconds))
        token = access.tokens.find(secret)
        if token is None:
            attempts.failed(address)
            log.warning("login.failed", client=address)
            return form("This is no token that is accepted.", HTTPStatus.UNAUTHORIZED, WWW_Authenticate=CHALLENGE)
        if not may_watch(token):
            text = "The page is not for this token: that takes the role read, and a token bound to no user."
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

    async def log_out(request: Request) -> Response:
        answer = _to(LOGIN)
        answer.delete_cookie(COOKIE, httponly=True, samesite="strict", secure=_is_https(request))
        return answer

    api.add_calls(app, LOGIN, {"GET": show, "POST": log_in})
    api.add_calls(app, "/logout", {"POST": log_out})


def _to(path: str) -> Response:
    return RedirectResponse(path, HTTPStatus.SEE_OTHER, {"Cache-Control": "no-store"})


def _is_https(request: Request) -> bool:
    """As the browser sees it. A client that lies about it harms its own cookie only."""
    return "https" in (request.url.scheme, request.headers.get("x-forwarded-proto"))
