"""Who may make which call: one table of rules, and what is answered to those who may not.

``api.add_calls`` puts every call behind its rule; one that has none can't be added. Which jobs a tenant may know of
is asked where the job is known, in ``api``.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from types import MappingProxyType

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import Scope

from reportd.core.access import Role, Token
from reportd.intake.tokens import Tokens
from reportd_web.http.problems import ProblemError
from reportd_web.security.ended_sessions import EndedLogins
from reportd_web.security.guard import Handler
from reportd_web.security.origin import SAFE_METHODS
from reportd_web.security.sessions import COOKIE, Session, Sessions

LOGIN = "/login"
CHALLENGE = 'Bearer realm="reportd"'
"""What every 401 says of how to be let in (RFC 6750, section 3)."""

_BEARER = b"bearer "


@dataclass(frozen=True, slots=True)
class Rule:
    """``roles``: any of them will do; none: it is public. ``tenants``: tokens bound to a user may call, too,
    because nothing of another user's can be seen or done there.
    """

    roles: tuple[Role, ...]
    tenants: bool = False


PUBLIC = Rule(())
_ANY = Rule(tuple(Role), tenants=True)
_ORDER = Rule((Role.SUBMIT,), tenants=True)
_LOOK = Rule((Role.READ,), tenants=True)
_SETTLE = Rule((Role.SUBMIT, Role.OPERATE), tenants=True)
_WATCH = Rule((Role.READ,))
_OPERATE = Rule((Role.OPERATE,))

RULES: Mapping[tuple[str, str], Rule] = MappingProxyType(
    {
        ("POST", "/reports/generate-async"): _ORDER,
        ("GET", "/reports"): _LOOK,
        ("GET", "/reports/{taskId}"): _LOOK,
        ("DELETE", "/reports/{taskId}"): _SETTLE,
        ("GET", "/reports/{taskId}/pdf"): _LOOK,
        ("POST", "/reports/{taskId}/retry"): _SETTLE,
        ("GET", "/breakers"): _WATCH,
        ("POST", "/breakers/{reportType}/open"): _OPERATE,
        ("POST", "/breakers/{reportType}/close"): _OPERATE,
        ("POST", "/breakers/{reportType}/probe"): _OPERATE,
        ("GET", "/dead-letters"): _WATCH,
        ("GET", "/dead-letters/{id}"): _WATCH,
        ("POST", "/dead-letters/{id}/requeue"): _OPERATE,
        ("DELETE", "/dead-letters/{id}"): _OPERATE,
        ("GET", "/"): _WATCH,
        ("POST", "/types/{reportType}/open"): _OPERATE,
        ("POST", "/types/{reportType}/close"): _OPERATE,
        ("POST", "/types/{reportType}/probe"): _OPERATE,
        ("POST", "/letters/{id}/requeue"): _OPERATE,
        ("POST", "/letters/{id}/drop"): _OPERATE,
        ("GET", "/jobs/{taskId}"): _LOOK,
        ("POST", "/jobs/{taskId}/cancel"): _SETTLE,
        ("POST", "/jobs/{taskId}/retry"): _SETTLE,
        ("GET", "/status"): _WATCH,
        ("GET", "/events"): _WATCH,
        ("GET", "/metrics"): _WATCH,
        # Names the product's report types and their parameters, which is nothing for strangers.
        ("GET", "/openapi.json"): _ANY,
        # Load balancers have no token. What is wrong with a part is kept from strangers all the same.
        ("GET", "/healthz"): PUBLIC,
        ("GET", "/readyz"): PUBLIC,
        ("GET", LOGIN): PUBLIC,
        ("POST", LOGIN): PUBLIC,
        ("POST", "/logout"): PUBLIC,
    }
)


class Access:
    """Knows who calls. Without tokens anybody may do anything, which the configuration allows on loopback only."""

    def __init__(
        self, tokens: Tokens | None = None, sessions: Sessions | None = None, ended: EndedLogins | None = None
    ) -> None:
        self.tokens = tokens or Tokens()
        self.sessions = sessions or Sessions(secrets.token_bytes(32))
        self._ended = ended

    @property
    def required(self) -> bool:
        """Whether tokens are asked for."""
        return self.tokens.required

    def guarded(self, method: str, path: str, handler: Handler) -> Handler:
        """The call, behind its rule. ``path`` is the template, e.g. ``/reports/{taskId}``."""
        rule = RULES.get((method, path))
        if rule is None:
            raise LookupError(f"access.RULES has no rule for {method} {path}: say there who may call it")
        if rule is PUBLIC or not self.required:
            return handler

        async def call(request: Request) -> Response:
            await self._refresh(request.scope)
            refusal = self._admit(request.scope, rule)
            return await handler(request) if refusal is None else refusal

        return call

    async def sees_all(self, scope: Scope) -> bool:
        """Whether the caller may know of everybody's jobs, and how the daemon is; now, however long ago he came."""
        await self._refresh(scope)
        return self.may(scope, "GET", "/")

    def may(self, scope: Scope, method: str, path: str) -> bool:
        """Whether the caller may make that call, too."""
        if not self.required:
            return True
        token = self._caller(scope)
        return token is not None and _trouble(token, RULES[method, path]) == ""

    async def log_out(self, request: Request) -> Token | None:
        """End the session that the browser shows, on all nodes. Whose it was, if there was one.

        Raises UnavailableError: then it has not ended.
        """
        session = self._session(request.scope)
        if session is None or self._ended is None:
            return None
        await self._ended.end(session)
        return session.token

    async def _refresh(self, scope: Scope) -> None:
        """Learn which sessions have ended, where that matters."""
        if self._ended is not None and _header(scope, b"authorization") is None and _header(scope, b"cookie"):
            await self._ended.refresh()

    def _admit(self, scope: Scope, rule: Rule) -> Response | None:
        """Write into ``scope`` who calls. Raises ProblemError, or answers, for those who may not."""
        token = self._caller(scope)
        if token is None:
            return _unknown(scope)
        if trouble := _trouble(token, rule):
            challenge = f'{CHALLENGE}, error="insufficient_scope", scope="{" ".join(rule.roles)}"'
            raise ProblemError(HTTPStatus.FORBIDDEN, trouble, headers={"WWW-Authenticate": challenge})
        scope["reportd.actor"] = token.name
        scope["reportd.tenant"] = token.user_id
        return None

    def _caller(self, scope: Scope) -> Token | None:
        """By the token sent along, or else by the browser's cookie."""
        given = _header(scope, b"authorization")
        if given is not None:
            is_bearer = given[: len(_BEARER)].lower() == _BEARER
            return self.tokens.find(given[len(_BEARER) :].strip()) if is_bearer else None
        session = self._session(scope)
        return None if session is None else session.token

    def _session(self, scope: Scope) -> Session | None:
        cookie = Request(scope).cookies.get(COOKIE)
        session = None if cookie is None else self.sessions.find(cookie, self.tokens.named)
        ended = session is not None and self._ended is not None and self._ended.includes(session)
        return None if ended else session


def may_watch(token: Token) -> bool:
    """Whether the status page is for this token."""
    return not _trouble(token, _WATCH)


def _trouble(token: Token, rule: Rule) -> str:
    """Why it may not; empty if it may."""
    if token.roles.isdisjoint(rule.roles):
        return f"this token lacks the role {' or '.join(rule.roles)}"
    if token.user_id is not None and not rule.tenants:
        return "this token is bound to a user, and here everybody's jobs are seen"
    return ""


def _unknown(scope: Scope) -> Response:
    """To somebody with a browser, the way to the login; to programs, what is missing."""
    given = _header(scope, b"authorization")
    if given is None and scope["method"] in SAFE_METHODS and b"text/html" in (_header(scope, b"accept") or b""):
        return RedirectResponse(LOGIN, HTTPStatus.SEE_OTHER, {"Cache-Control": "no-store"})
    if given is None:
        detail, challenge = "a token is needed: Authorization: Bearer TOKEN", CHALLENGE
    else:
        detail, challenge = "this is no token that is accepted", f'{CHALLENGE}, error="invalid_token"'
    raise ProblemError(HTTPStatus.UNAUTHORIZED, detail, headers={"WWW-Authenticate": challenge})


def _header(scope: Scope, name: bytes) -> bytes | None:
    return next((value for key, value in scope["headers"] if key == name), None)
