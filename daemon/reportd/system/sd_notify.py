"""What the daemon and systemd tell each other: how it stands (sd_notify(3)), where it listens (sd_listen_fds(3)).

Nothing happens where systemd did not ask.
"""

import atexit
import os
import socket
from functools import cache

import structlog

from reportd.system.log_throttle import ThrottledLog

FIRST_DESCRIPTOR = 3
"""Where the sockets begin that systemd hands over."""

SEND_SECONDS = 1.0
"""When systemd itself hangs, the daemon does not wait for it."""


def notify(*lines: str) -> bool:
    """E.g. ``notify("READY=1", "STATUS=serving")``. False when systemd could not be told, which is logged: what the
    daemon is about to do must not depend on who hears of it.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return True
    if address.startswith("@"):  # in the abstract namespace
        address = "\0" + address[1:]
    try:
        _client().sendto("\n".join(lines).encode(), address)
    except OSError as error:
        _log().warning("systemd.unreachable", error=str(error))
        return False
    return True


@cache
def _client() -> socket.socket:
    """Kept for good: systemd ends a daemon that it doesn't hear of, and there may be no descriptor left for another."""
    client = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    client.settimeout(SEND_SECONDS)
    atexit.register(client.close)
    return client


@cache
def _log() -> ThrottledLog:
    return ThrottledLog(structlog.get_logger())


def watchdog_seconds() -> float | None:
    """How long systemd waits to hear ``WATCHDOG=1`` before it ends the daemon; None when it does not watch it."""
    microseconds, pid = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", "")
    if not (microseconds.isascii() and microseconds.isdigit() and int(microseconds) > 0):
        return None
    return int(microseconds) / 1e6 if pid in ("", str(os.getpid())) else None


def listener() -> socket.socket | None:
    """The TCP socket that systemd listens on for the daemon; None where it does not.

    Raises OSError when it has handed over something else.
    """
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return None
    count = os.environ.get("LISTEN_FDS", "")
    if count != "1":
        raise OSError(f"systemd handed over {count} sockets; accepted: one")
    found = socket.socket(fileno=FIRST_DESCRIPTOR)
    found.set_inheritable(False)
    if found.family not in (socket.AF_INET, socket.AF_INET6) or found.type != socket.SOCK_STREAM:
        found.detach()
        raise OSError("systemd handed over a socket of another kind; accepted: TCP")
    return found
