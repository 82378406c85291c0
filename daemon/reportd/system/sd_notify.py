"""Talks to systemd: sends the daemon's state (sd_notify(3)), and takes its socket (sd_listen_fds(3)).

Does nothing without systemd.
"""

import atexit
import os
import socket
from functools import cache

import structlog

from reportd.system.log_throttle import ThrottledLog

FIRST_DESCRIPTOR = 3
"""The first socket that systemd passes (sd_listen_fds(3))."""

SEND_SECONDS = 1.0
"""The daemon does not wait longer than this for a hanging systemd."""


def notify(*lines: str) -> bool:
    """Send lines such as ``"READY=1", "STATUS=serving"``. Return False when that failed, which is logged.

    It does not raise: the daemon's work must not depend on systemd.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return True
    if address.startswith("@"):  # an abstract socket (unix(7))
        address = "\0" + address[1:]
    try:
        _client().sendto("\n".join(lines).encode(), address)
    except OSError as error:
        _log().warning("systemd.unreachable", error=str(error))
        return False
    return True


@cache
def _client() -> socket.socket:
    """Return the one socket. It stays open: systemd ends a silent daemon, and descriptors for a new one may run out."""
    client = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    client.settimeout(SEND_SECONDS)
    atexit.register(client.close)
    return client


@cache
def _log() -> ThrottledLog:
    return ThrottledLog(structlog.get_logger())


def watchdog_seconds() -> float | None:
    """Return how long systemd waits for ``WATCHDOG=1`` before it ends the daemon; None without a watchdog."""
    microseconds, pid = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", "")
    if not (microseconds.isascii() and microseconds.isdigit() and int(microseconds) > 0):
        return None
    return int(microseconds) / 1e6 if pid in ("", str(os.getpid())) else None


def listener() -> socket.socket | None:
    """Return the TCP socket that systemd passed; None without one.

    Raises OSError when systemd passed something else.
    """
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return None
    count = os.environ.get("LISTEN_FDS", "")
    if count != "1":
        raise OSError(f"systemd handed over {count} sockets; accepted: one")
    passed = socket.socket(fileno=FIRST_DESCRIPTOR)
    passed.set_inheritable(False)
    if passed.family not in (socket.AF_INET, socket.AF_INET6) or passed.type != socket.SOCK_STREAM:
        passed.detach()
        raise OSError("systemd handed over a socket of another kind; accepted: TCP")
    return passed
