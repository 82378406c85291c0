"""Tells systemd how the daemon stands, by the protocol of sd_notify(3). Does nothing when systemd did not ask."""

import os
import socket


def notify(*lines: str) -> None:
    """E.g. ``notify("READY=1", "STATUS=serving")``. Raises OSError when systemd's socket can't be reached."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):  # in the abstract namespace
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as client:
        client.sendto("\n".join(lines).encode(), address)
