"""Resolves a name to the addresses that may be connected to: checks the name, resolves once, checks each address.

The caller must connect to these addresses: a second lookup may give others.
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
"""An abandoned lookup keeps its thread until the system's resolver gives up, which can take half a minute."""


class LookupThreads(trio.abc.HostnameResolver):
    """Looks names up in threads of its own, so that a dead name server takes no thread that others need.

    Set once per daemon, with ``trio.socket.set_custom_hostname_resolver``.
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
        lookup = partial(socket.getaddrinfo, host, port, family, type, proto, flags)
        return await trio.to_thread.run_sync(lookup, limiter=self._limiter, abandon_on_cancel=True)

    async def getnameinfo(self, sockaddr: Any, flags: int) -> tuple[str, str]:
        lookup = partial(socket.getnameinfo, sockaddr, flags)
        return await trio.to_thread.run_sync(lookup, limiter=self._limiter, abandon_on_cancel=True)


class NotAllowedError(Exception):
    """The rule allows no address; the text is the reason."""


async def judged_addresses(
    rule: NetworkRule,
    host: str,
    port: int,
    forbidden: Callable[[str, int], bool],
    lookups: trio.CapacityLimiter,
) -> list[Address]:
    """Return at least one address. Raises NotAllowedError, or OSError when the name can't be resolved.

    ``forbidden(address, port)``: whether it may not be reached although the rule allows the address. ``lookups``:
    limits the threads that wait for names.
    """
    decision = rule.may_name(host, port)
    if not decision.allowed:
        raise NotAllowedError(decision.reason)
    async with lookups:
        try:
            results = await trio.socket.getaddrinfo(str(normal_host(host)), port, type=socket.SOCK_STREAM)
        except socket.gaierror:
            # The resolver does not report that it had no file descriptor; this raises OSError then.
            file_descriptors.probe()
            raise
    allowed, reason = [], "the name has no address"
    for *_, sockaddr in results:
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
