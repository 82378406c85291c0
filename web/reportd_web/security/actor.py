"""Who makes a request: the name for the audit record, and the user whose jobs it may see."""

from starlette.requests import Request
from starlette.types import Scope

LOCAL = "local"
"""The actor when no tokens are required: a user of the same machine."""


def actor(request: Request) -> str:
    """Return the name of the request's token, or LOCAL."""
    name: str = request.scope.get("reportd.actor", LOCAL)
    return name


def tenant(request: Request) -> str | None:
    """Return the only user whose jobs the token may see; None: the jobs of all users."""
    user_id: str | None = request.scope.get("reportd.tenant")
    return user_id


def caller(scope: Scope) -> str:
    """Return the key for limits per caller: the token, or the address when none are used."""
    if (name := scope.get("reportd.actor")) is not None:
        return f"token {name}"
    return scope["client"][0] if scope.get("client") else ""
