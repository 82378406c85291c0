"""A name becomes the addresses that may be connected to: judged by name, resolved once, judged again by address.

Whoever connects must use these very addresses: asked again, the name may resolve to others.
"""

import socket
from collections.abc import Callable
from functools import partial
from ipaddress import ip_address
from typing import Any

import trio

from reportd.core.pages.network import Address, NetworkRule, normal_host, plain_address
from reportd.system import file_descriptors

LOOKUP_THREADS = 64
"""A lookup that nobody wants any more keeps its thread until the system's resolver gives up, for half a minute say."""


class LookupThreads(trio.abc.HostnameResolver):
    """Looks names up in threads of its own: a name server that does not answer takes none that others need.

    To be set once a daemon, with ``trio.socket.set_custom_hostname_resolver``.
    """

    def __init__(self) -> None:
        self._limiter = trio.CapacityLimiter(LOOKUP_THREADS)

    async def getaddrinfo(
        self,
        host: bytes | None,
        port: bytes | str | int | None,
        family: int = 0,
        type: int = 0,  # noqa: A002 - the name is trio's
        proto: int = 0,
        flags: int = 0,
    ) -> list[Any]:
        look = partial(socket.getaddrinfo, host, port, family, type, proto, flags)
        return await trio.to_thread.run_sync(look, limiter=self._limiter, abandon_on_cancel=True)

    async def getnameinfo(self, sockaddr: Any, flags: int) -> tuple[str, str]:
        look = partial(socket.getnameinfo, sockaddr, flags)
        return await trio.to_thread.run_sync(look, limiter=self._limiter, abandon_on_cancel=True)


class NotAllowedError(Exception):
    """The rule allows none of it; the text says why."""


async def judged_addresses(
    rule: NetworkRule,
    host: str,
    port: int,
    forbidden: Callable[[str, int], bool],
    lookups: trio.CapacityLimiter,
) -> list[Address]:
    """At least one. Raises NotAllowedError, or OSError when the name can't be resolved.

    ``forbidden(address, port)`` names what must not be reached though the rule allows the address; ``lookups``
    limits how many threads wait for names.
    """
    decision = rule.may_name(host, port)
    if not decision.allowed:
        raise NotAllowedError(decision.reason)
    async with lookups:
        try:
            found = await trio.socket.getaddrinfo(str(normal_host(host)), port, type=socket.SOCK_STREAM)
        except socket.gaierror:
            # The resolver does not say that it could open neither its files nor a socket.
            file_descriptors.probe()
            raise
    allowed, reason = [], "the name has no address"
    for *_, sockaddr in found:
        address = plain_address(ip_address(sockaddr[0]))
        decision = rule.may_address(host, port, address)
        if not decision.allowed:
            reason = decision.reason
        elif forbidden(str(address), port):
            reason = f"{address} port {port} is the daemon's own"
        else:
            allowed.append(address)
    if not allowed:
        raise NotAllowedError(reason)
    return allowed
