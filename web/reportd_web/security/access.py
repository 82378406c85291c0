"""Access control: one table with a rule for each call, and the answers to callers who are not admitted.

``api.reports.add_calls`` puts every call behind its rule; a call without a rule can't be added. ``api`` checks which
jobs a tenant may see.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from types import MappingProxyType

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import Scope

from reportd.core.tokens import Role, Token
from reportd.intake.render_tokens import RunningAttempts
from reportd.intake.tokens import Tokens
from reportd_web.http.problems import ProblemError
from reportd_web.security.ended_sessions import EndedLogins
from reportd_web.security.guard import Handler
from reportd_web.security.origin import SAFE_METHODS
from reportd_web.security.sessions import COOKIE, Session, Sessions

LOGIN = "/login"
JWKS = "/.well-known/jwks.json"
CHALLENGE = 'Bearer realm="reportd"'
"""The challenge of every 401 (RFC 6750, section 3)."""

_BEARER = b"bearer "


@dataclass(frozen=True, slots=True)
class Rule:
    """``roles``: any one of them is enough; none means public. ``tenants``: tokens bound to a user may call too; the
    call shows and changes nothing of other users. ``render_token``: that of the task in the path is enough, too.
    """

    roles: tuple[Role, ...]
    tenants: bool = False
    render_token: bool = False


PUBLIC = Rule(())
_ANY = Rule(tuple(Role), tenants=True)
_SUBMIT = Rule((Role.SUBMIT,), tenants=True)
_READ_OWN = Rule((Role.READ,), tenants=True)
_CHANGE_OWN = Rule((Role.SUBMIT, Role.OPERATE), tenants=True)
_READ_ALL = Rule((Role.READ,))
_OPERATE = Rule((Role.OPERATE,))

RULES: Mapping[tuple[str, str], Rule] = MappingProxyType(
    {
        ("POST", "/reports/generate-async"): _SUBMIT,
        ("GET", "/reports"): _READ_OWN,
        ("GET", "/reports/{taskId}"): _READ_OWN,
        ("DELETE", "/reports/{taskId}"): _CHANGE_OWN,
        ("GET", "/reports/{taskId}/pdf"): _READ_OWN,
        ("GET", "/reports/{taskId}/parameters"): Rule((Role.OPERATE,), tenants=True, render_token=True),
        ("POST", "/reports/{taskId}/retry"): _CHANGE_OWN,
        ("GET", "/breakers"): _READ_ALL,
        ("POST", "/breakers/{reportType}/open"): _OPERATE,
        ("POST", "/breakers/{reportType}/close"): _OPERATE,
        ("POST", "/breakers/{reportType}/probe"): _OPERATE,
        ("GET", "/dead-letters"): _READ_ALL,
        ("GET", "/dead-letters/{id}"): _READ_ALL,
        ("POST", "/dead-letters/{id}/requeue"): _OPERATE,
        ("DELETE", "/dead-letters/{id}"): _OPERATE,
        ("GET", "/"): _READ_ALL,
        ("POST", "/types/{reportType}/open"): _OPERATE,
        ("POST", "/types/{reportType}/close"): _OPERATE,
        ("POST", "/types/{reportType}/probe"): _OPERATE,
        ("POST", "/letters/{id}/requeue"): _OPERATE,
        ("POST", "/letters/{id}/drop"): _OPERATE,
        ("GET", "/jobs/{taskId}"): _READ_OWN,
        # It may show what the page kept from the report's user: its errors, or another page.
        ("GET", "/jobs/{taskId}/evidence/{attempt}.jpg"): _OPERATE,
        ("POST", "/jobs/{taskId}/cancel"): _CHANGE_OWN,
        ("POST", "/jobs/{taskId}/retry"): _CHANGE_OWN,
        ("GET", "/status"): _READ_ALL,
        ("GET", "/events"): _READ_ALL,
        ("GET", "/metrics"): _READ_ALL,
        # It names the product's report types and their parameters: not for strangers.
        ("GET", "/openapi.json"): _ANY,
        # Load balancers have no token. The reasons of /readyz are hidden from strangers.
        ("GET", "/healthz"): PUBLIC,
        ("GET", "/readyz"): PUBLIC,
        # The servers of pages have no token of ours. The keys are public.
        ("GET", JWKS): PUBLIC,
        ("GET", LOGIN): PUBLIC,
        ("POST", LOGIN): PUBLIC,
        ("POST", "/logout"): PUBLIC,
    }
)


class Access:
    """Identifies callers. Without tokens anybody may do anything, which the configuration allows on loopback only.

    ``attempts``: judges render tokens; None accepts none.
    """

    def __init__(
        self,
        tokens: Tokens | None = None,
        sessions: Sessions | None = None,
        ended: EndedLogins | None = None,
        attempts: RunningAttempts | None = None,
    ) -> None:
        self.tokens = tokens or Tokens()
        self.sessions = sessions or Sessions(secrets.token_bytes(32))
        self._ended = ended
        self._attempts = attempts

    @property
    def required(self) -> bool:
        """Whether tokens are required."""
        return self.tokens.required

    def guarded(self, method: str, path: str, handler: Handler) -> Handler:
        """Return the handler behind the call's rule. ``path`` is the template, e.g. ``/reports/{taskId}``."""
        rule = RULES.get((method, path))
        if rule is None:
            raise LookupError(f"access.RULES has no rule for {method} {path}: say there who may call it")
        if rule is PUBLIC or not (self.required or rule.render_token):
            return handler

        async def call(request: Request) -> Response:
            if rule.render_token and (token := self._render_token(request.scope)):
                await self._admit_attempt(token, str(request.path_params["taskId"]))
                return await handler(request)
            if not self.required:
                return await handler(request)
            await self._refresh(request.scope)
            refusal = self._admit(request.scope, rule)
            return await handler(request) if refusal is None else refusal

        return call

    async def sees_all(self, scope: Scope) -> bool:
        """Return whether the caller may see all users' jobs and the daemon's state now, also late in a long request."""
        await self._refresh(scope)
        return self.may(scope, "GET", "/")

    def may(self, scope: Scope, method: str, path: str) -> bool:
        """Return whether the caller may also make that call."""
        if not self.required:
            return True
        token = self._caller(scope)
        return token is not None and not _refusal(token, RULES[method, path])

    async def log_out(self, request: Request) -> Token | None:
        """End the browser's session on all nodes. Return its token, if there was a session.

        Raises UnavailableError: then the session has not ended.
        """
        session = self._session(request.scope)
        if session is None or self._ended is None:
            return None
        await self._ended.end(session)
        return session.token

    async def _refresh(self, scope: Scope) -> None:
        """Read which sessions have ended, if the request comes with a cookie."""
        if self._ended is not None and _header(scope, b"authorization") is None and _header(scope, b"cookie"):
            await self._ended.refresh()

    async def _admit_attempt(self, token: str, task_id: str) -> None:
        """Raise ProblemError unless it is the token of the running attempt of that task."""
        if self._attempts is None or not await self._attempts.opens(token, task_id):
            detail = "this render token is not accepted; accepted: that of a running attempt of this report"
            challenge = f'{CHALLENGE}, error="invalid_token"'
            raise ProblemError(HTTPStatus.UNAUTHORIZED, detail, headers={"WWW-Authenticate": challenge})

    def _admit(self, scope: Scope, rule: Rule) -> Response | None:
        """Write the caller into ``scope``. Raise ProblemError, or return a response, when it is not admitted."""
        token = self._caller(scope)
        if token is None:
            return _login_or_401(scope)
        if reason := _refusal(token, rule):
            challenge = f'{CHALLENGE}, error="insufficient_scope", scope="{" ".join(rule.roles)}"'
            raise ProblemError(HTTPStatus.FORBIDDEN, reason, headers={"WWW-Authenticate": challenge})
        scope["reportd.actor"] = token.name
        scope["reportd.tenant"] = token.user_id
        return None

    def _caller(self, scope: Scope) -> Token | None:
        """Return the caller's token: of the Authorization header, or else of the browser's session."""
        if _header(scope, b"authorization") is not None:
            bearer = _bearer(scope)
            return None if bearer is None else self.tokens.find(bearer)
        session = self._session(scope)
        return None if session is None else session.token

    def _render_token(self, scope: Scope) -> str:
        """Return what seems to be the render token of a request: parts with dots between, and no token of the list."""
        token = _bearer(scope) or b""
        return token.decode("latin-1") if b"." in token and self.tokens.find(token) is None else ""

    def _session(self, scope: Scope) -> Session | None:
        cookie = Request(scope).cookies.get(COOKIE)
        session = None if cookie is None else self.sessions.find(cookie, self.tokens.named)
        ended = session is not None and self._ended is not None and self._ended.includes(session)
        return None if ended else session


def may_watch(token: Token) -> bool:
    """Return whether this token may see the status page."""
    return not _refusal(token, _READ_ALL)


def _refusal(token: Token, rule: Rule) -> str:
    """Return why the token may not make the call; empty if it may."""
    if token.roles.isdisjoint(rule.roles):
        return f"this token lacks the role {' or '.join(rule.roles)}"
    if token.user_id is not None and not rule.tenants:
        return "this token is bound to a user, and this call shows the jobs of all users"
    return ""


def _login_or_401(scope: Scope) -> Response:
    """Redirect a browser to the login; answer 401 to programs."""
    header = _header(scope, b"authorization")
    if header is None and scope["method"] in SAFE_METHODS and b"text/html" in (_header(scope, b"accept") or b""):
        return RedirectResponse(LOGIN, HTTPStatus.SEE_OTHER, {"Cache-Control": "no-store"})
    if header is None:
        detail, challenge = "a token is needed: Authorization: Bearer TOKEN", CHALLENGE
    else:
        detail, challenge = "this token is not accepted", f'{CHALLENGE}, error="invalid_token"'
    raise ProblemError(HTTPStatus.UNAUTHORIZED, detail, headers={"WWW-Authenticate": challenge})


def _bearer(scope: Scope) -> bytes | None:
    """Return the token of the Authorization header; None if there is none."""
    header = _header(scope, b"authorization") or b""
    return header[len(_BEARER) :].strip() if header[: len(_BEARER)].lower() == _BEARER else None


def _header(scope: Scope, name: bytes) -> bytes | None:
    return next((value for key, value in scope["headers"] if key == name), None)
