"""Callbacks over HTTP, signed, and only to addresses that passed the check of the rule.

Redirects are not followed. Proxies of the environment are not used: they would resolve the names themselves.
"""

import os
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path

import httpx
import trio

from reportd.adapters.egress.resolving import NotAllowedError, judged_addresses
from reportd.adapters.outbound.client import CONNECT_SECONDS, open_web_client
from reportd.adapters.outbound.standard_webhooks import signed_headers
from reportd.core.pages.network import Address, NetworkRule
from reportd.ports import Callback, DeliveryError

_MAX_ADDRESSES = 4
_MAX_LOOKUPS = 4


class HttpMessenger:
    """Implements ``ports.Messenger``. Made by ``open_messenger``."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        rule: NetworkRule,
        forbidden: Callable[[str, int], bool],
        secret: str,
        clock: Callable[[], float],
    ) -> None:
        self._client = client
        self._rule = rule
        self._forbidden = forbidden
        self._secret = secret
        self._clock = clock
        self._lookups = trio.CapacityLimiter(_MAX_LOOKUPS)

    async def deliver(self, callback: Callback) -> None:
        try:
            url = httpx.URL(callback.url)
        except (httpx.InvalidURL, ValueError):
            raise DeliveryError("the callback URL is no URL", final=True) from None
        addresses = await self._allowed_addresses(url)
        headers = signed_headers(callback.callback_id, self._clock(), callback.body, self._secret)
        headers |= {"Content-Type": "application/json", "User-Agent": "reportd", "Host": url.netloc.decode("ascii")}
        error = DeliveryError("no address")
        for address in addresses[:_MAX_ADDRESSES]:
            try:
                response = await self._post(url, address, headers, callback.body)
            except httpx.ConnectTimeout:
                error = DeliveryError(f"{address}: no connection within {CONNECT_SECONDS:g} s")
            except httpx.ConnectError as problem:
                error = DeliveryError(f"{address}: no connection ({_cause(problem)})")
            except httpx.HTTPError as problem:
                # The texts of the libraries may hold the URL.
                raise DeliveryError(f"the exchange with {address} broke off ({type(problem).__name__})") from None
            else:
                await self._judge_response(url, response)
                return
        raise error

    async def _allowed_addresses(self, url: httpx.URL) -> list[Address]:
        port = url.port or {"http": 80, "https": 443}.get(url.scheme)
        if port is None or not url.host:
            raise DeliveryError("refused: it is not an absolute http or https URL", final=True)
        try:
            return await judged_addresses(self._rule, url.host, port, self._forbidden, self._lookups)
        except NotAllowedError as error:
            raise DeliveryError(f"refused: {error}; see callbacks.allowed_hosts", final=True) from None
        except OSError as error:
            raise DeliveryError(f"the name was not found: {error.strerror}") from None

    async def _post(self, url: httpx.URL, address: Address, headers: dict[str, str], body: bytes) -> httpx.Response:
        request = self._client.build_request(
            "POST",
            url.copy_with(host=str(address), userinfo=b"", fragment=None),
            content=body,
            headers=headers,
            # The certificate must match the name, not the address.
            extensions={"sni_hostname": url.raw_host.decode("ascii")},
        )
        auth = httpx.BasicAuth(url.username, url.password) if url.userinfo else None
        response = await self._client.send(request, stream=True, auth=auth)
        # The body is not read: it may have any size and take any time.
        await response.aclose()
        return response

    async def _judge_response(self, url: httpx.URL, response: httpx.Response) -> None:
        status = response.status_code
        if response.is_success:
            return
        if status == HTTPStatus.GONE:
            raise DeliveryError("the receiver answers 410: it wants no more callbacks", final=True)
        if not response.has_redirect_location:
            raise DeliveryError(f"the receiver answers {status}")
        # Not followed, but checked: a target that is not allowed needs no further attempt.
        await self._allowed_addresses(url.join(response.headers["location"]))
        raise DeliveryError(f"the receiver answers {status}: redirects are not followed, so name their target")


def _cause(error: BaseException) -> str:
    """Return the system's or TLS's reason, in a text without the URL."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            return f"TLS: {cause.reason or 'it failed'}"
        if isinstance(cause, OSError) and cause.errno:
            return os.strerror(cause.errno)
        inner = cause.__cause__ or cause.__context__
        cause = cause.exceptions[0] if isinstance(cause, BaseExceptionGroup) else inner
    return "it failed"


@asynccontextmanager
async def open_messenger(
    allowed_hosts: Iterable[str],
    secret: str,
    forbidden: Callable[[str, int], bool],
    clock: Callable[[], float] = time.time,
    ca_file: Path | None = None,
) -> AsyncIterator[HttpMessenger]:
    """Yield a messenger. ``forbidden(address, port)``: the daemon's own ports, refused even if the hosts allow them.

    ``ca_file``: PEM file of further authorities.
    """
    async with open_web_client(ca_file) as client:
        yield HttpMessenger(client, NetworkRule.of(allowed_hosts), forbidden, secret, clock)
