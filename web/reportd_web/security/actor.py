"""Who makes a request: the name that goes into the audit record, and the user whose jobs it is about."""

from starlette.requests import Request
from starlette.types import Scope

LOCAL = "local"
"""Whoever may reach a daemon that asks for no tokens: a user of its own machine."""


def actor(request: Request) -> str:
    """The name of the token that the request came with, or LOCAL."""
    name: str = request.scope.get("reportd.actor", LOCAL)
    return name


def tenant(request: Request) -> str | None:
    """The user that the token is bound to, who may know of no other's jobs; None: of everybody's."""
    user_id: str | None = request.scope.get("reportd.tenant")
    return user_id


def caller(scope: Scope) -> str:
    """By whom what is scarce is counted: by token, or by address where none are used."""
    if (name := scope.get("reportd.actor")) is not None:
        return f"token {name}"
    return scope["client"][0] if scope.get("client") else ""
