"""The HTTP client of callbacks and alerts: no redirects, no proxies of the environment, no kept connections."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

CONNECT_SECONDS = 5.0
"""Limit for one address; a name may have several."""


@asynccontextmanager
async def open_web_client() -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client without timeouts, except for connecting: the caller sets the timeout."""
    trusted = httpx.create_ssl_context(trust_env=False)
    # Also trust the machine's certificates: an internal receiver may use the company's own authority.
    trusted.load_default_certs()
    # No kept connections: they are known by address here, and several names may share an address.
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    timeout = httpx.Timeout(None, connect=CONNECT_SECONDS)
    async with httpx.AsyncClient(
        verify=trusted, trust_env=False, follow_redirects=False, limits=limits, timeout=timeout
    ) as client:
        yield client
