"""The HTTP client of callbacks and alerts: no redirects, no proxies of the environment, no kept connections."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from reportd.system.authorities import trusting

CONNECT_SECONDS = 5.0
"""Limit for one address; a name may have several."""


@asynccontextmanager
async def open_web_client(ca_file: Path | None = None) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client without timeouts, except for connecting: the caller sets the timeout.

    ``ca_file``: PEM file of further authorities.
    """
    # An internal receiver may use the company's own authority.
    trusted = trusting(ca_file)
    # No kept connections: they are known by address here, and several names may share an address.
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    timeout = httpx.Timeout(None, connect=CONNECT_SECONDS)
    async with httpx.AsyncClient(
        verify=trusted, trust_env=False, follow_redirects=False, limits=limits, timeout=timeout
    ) as client:
        yield client
