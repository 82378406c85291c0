"""What the server of a page asks the daemon: the keys of render tokens, and the parameters that one opens."""

from collections.abc import Callable, Mapping
from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from reportd.intake.service import Service
from reportd_web.api import reports
from reportd_web.security.access import JWKS

KEYS_SECONDS = 300
"""How long a client may keep the public keys. One that meets an unknown key asks earlier."""


def add_render_tokens(app: FastAPI, service: Service, public_keys: Callable[[], Mapping[str, Any]]) -> None:
    """``public_keys``: a JWK Set."""

    async def parameters(request: Request) -> Response:
        text = await service.parameters(await reports.own_task(service, request))
        # Exactly this text is what parametersSha256 of the token is the hash of.
        return Response(text, headers={"Cache-Control": "no-store"}, media_type="application/json")

    async def jwks(_: Request) -> Response:
        return reports.json(public_keys(), headers={"Cache-Control": f"public, max-age={KEYS_SECONDS}"})

    reports.add_calls(app, "/reports/{taskId:uuid}/parameters", {"GET": parameters})
    reports.add_calls(app, JWKS, {"GET": jwks})
