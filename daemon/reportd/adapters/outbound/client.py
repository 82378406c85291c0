"""The HTTP client of callbacks and alerts: no redirects, no proxy of the environment's, no connection that is kept."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

CONNECT_SECONDS = 5.0
"""For one address: there may be more."""


@asynccontextmanager
async def open_web_client() -> AsyncIterator[httpx.AsyncClient]:
    """The caller owns the timeout, but for that of connecting."""
    trusted = httpx.create_ssl_context(trust_env=False)
    # What the machine trusts, too: a receiver inside has a certificate of its own authority.
    trusted.load_default_certs()
    # A connection may be made for a name, and is known here by its address, which names may share.
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    timeout = httpx.Timeout(None, connect=CONNECT_SECONDS)
    async with httpx.AsyncClient(
        verify=trusted, trust_env=False, follow_redirects=False, limits=limits, timeout=timeout
    ) as client:
        yield client
