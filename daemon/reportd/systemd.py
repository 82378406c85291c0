"""Tells systemd how the daemon stands, by the protocol of sd_notify(3). Does nothing when systemd did not ask."""

import os
import socket

SEND_SECONDS = 1.0
"""When systemd itself hangs, the daemon does not wait for it."""


def notify(*lines: str) -> None:
    """E.g. ``notify("READY=1", "STATUS=serving")``. Raises OSError when systemd's socket can't be reached."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):  # in the abstract namespace
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as client:
        client.settimeout(SEND_SECONDS)
        client.sendto("\n".join(lines).encode(), address)


def watchdog_seconds() -> float | None:
    """How long systemd waits to hear ``WATCHDOG=1`` before it ends the daemon; None when it does not watch it."""
    microseconds, pid = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", "")
    if not (microseconds.isascii() and microseconds.isdigit() and int(microseconds) > 0):
        return None
    return int(microseconds) / 1e6 if pid in ("", str(os.getpid())) else None
