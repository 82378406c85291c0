"""Who makes a request: the name that goes into the audit record."""

from starlette.requests import Request

LOCAL = "local"
"""Whoever may reach a daemon that asks for no tokens: a user of its own machine."""


def actor(request: Request) -> str:
    """The name of the token that the request came with, or LOCAL."""
    name: str = request.scope.get("reportd.actor", LOCAL)
    return name
