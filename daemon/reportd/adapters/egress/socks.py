"""The server side of SOCKS5 (RFC 1928), as far as the egress needs it: CONNECT without authentication."""

import struct
from enum import IntEnum
from ipaddress import ip_address

import trio


class Reply(IntEnum):
    """RFC 1928 section 6, REP."""

    SUCCEEDED = 0x00
    NOT_ALLOWED = 0x02
    NETWORK_UNREACHABLE = 0x03
    HOST_UNREACHABLE = 0x04
    REFUSED = 0x05
    COMMAND_NOT_SUPPORTED = 0x07
    ADDRESS_NOT_SUPPORTED = 0x08


_VERSION = 5
_NO_AUTHENTICATION, _NO_METHOD = 0x00, 0xFF
_CONNECT = 0x01
_IPV4, _NAME, _IPV6 = 0x01, 0x03, 0x04


def reply(code: Reply) -> bytes:
    """Return a reply. The bound address is all zero: a client on this machine does not need it."""
    return bytes((_VERSION, code, 0, _IPV4)) + bytes(6)


async def read_request(client: trio.SocketStream) -> tuple[str, int] | None:
    """Return the host and port of the request; None if the client is no SOCKS5 browser, after an error reply."""
    version, methods = await _exactly(client, 2)
    if version != _VERSION:
        return None
    if _NO_AUTHENTICATION not in await _exactly(client, methods):
        await client.send_all(bytes((_VERSION, _NO_METHOD)))
        return None
    await client.send_all(bytes((_VERSION, _NO_AUTHENTICATION)))
    version, command, _, kind = await _exactly(client, 4)
    if version != _VERSION:
        return None
    if kind == _NAME:
        (length,) = await _exactly(client, 1)
        host = (await _exactly(client, length)).decode("ascii", "backslashreplace")
    elif kind in (_IPV4, _IPV6):
        host = str(ip_address(await _exactly(client, 4 if kind == _IPV4 else 16)))
    else:
        await client.send_all(reply(Reply.ADDRESS_NOT_SUPPORTED))
        return None
    (port,) = struct.unpack("!H", await _exactly(client, 2))
    if command != _CONNECT:
        await client.send_all(reply(Reply.COMMAND_NOT_SUPPORTED))
        return None
    return host, port


async def _exactly(client: trio.SocketStream, size: int) -> bytes:
    """Read exactly ``size`` bytes: those after the request belong to the upstream."""
    received = b""
    while len(received) < size:
        data = await client.receive_some(size - len(received))
        if not data:
            raise trio.BrokenResourceError("the client left in the middle of its request")
        received += data
    return received
