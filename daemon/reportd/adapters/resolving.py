"""A name becomes the addresses that may be connected to: judged by name, resolved once, judged again by address.

Whoever connects must use these very addresses: asked again, the name may resolve to others.
"""

import socket
from collections.abc import Callable
from ipaddress import ip_address

import trio

from reportd import descriptors
from reportd.core.network import Address, NetworkRule, normal_host, plain_address


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
            descriptors.probe()
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
