"""Connects to one of the addresses that passed the check."""

import errno
import os
import socket
from contextlib import ExitStack

import trio

from reportd.adapters.egress.socks import Reply
from reportd.core.pages.network import Address
from reportd.system.file_descriptors import none_left

CONNECT_SECONDS = 10.0
"""Limit for one address."""

_REPLY_OF_ERRNO = {errno.ECONNREFUSED: Reply.REFUSED, errno.ENETUNREACH: Reply.NETWORK_UNREACHABLE}


class ConnectFailedError(Exception):
    """The connection was refused or failed. ``code`` is the SOCKS reply."""

    def __init__(self, code: Reply, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


async def connect(addresses: list[Address], port: int) -> trio.SocketStream:
    """Connect to the first address that answers.

    Raises ConnectFailedError with the error of the last address; OSError when no file descriptor is left.
    """
    failure = ConnectFailedError(Reply.HOST_UNREACHABLE, "no address")
    for address in addresses:
        with ExitStack() as undo:
            try:
                family = socket.AF_INET6 if address.version == 6 else socket.AF_INET  # noqa: PLR2004
                sock = trio.socket.socket(family, socket.SOCK_STREAM)
                undo.callback(sock.close)
                with trio.fail_after(CONNECT_SECONDS):
                    await sock.connect((str(address), port))
            except trio.TooSlowError:
                failure = ConnectFailedError(Reply.HOST_UNREACHABLE, f"{address}: no answer in {CONNECT_SECONDS:g} s")
            except OSError as error:
                if none_left(error):
                    raise
                code = _REPLY_OF_ERRNO.get(error.errno or 0, Reply.HOST_UNREACHABLE)
                reason = os.strerror(error.errno) if error.errno else str(error)
                failure = ConnectFailedError(code, f"{address}: {reason}")
            else:
                undo.pop_all()
                return trio.SocketStream(sock)
    raise failure
