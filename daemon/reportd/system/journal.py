"""Writes events to systemd's journal, with their priority and fields.

``journalctl REPORTD_TASK_ID=…`` then shows all events of a job, and ``journalctl -u reportd -p warning`` all trouble.
The protocol is systemd's "Native Journal Protocol": a datagram of fields, each NAME=value, or NAME and a length for a
value of several lines.
"""

import json
import os
import re
import socket
import struct
from collections.abc import Mapping
from typing import Any

import structlog

SOCKET = "/run/systemd/journal/socket"

PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
"""Priorities of syslog(3), by structlog's names."""

SHOWN = ("event", "level", "timestamp", "exception")
"""Keys that the message does not list after the event: the journal has them, or they follow on lines of their own."""


def reaches(descriptor: int) -> bool:
    """Return whether the descriptor is connected to the journal: systemd names its file (systemd.exec(5))."""
    try:
        status = os.fstat(descriptor)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


class Journal:
    """The last processor of structlog. Events that the journal does not take go to stderr, with their priority."""

    def __init__(self, address: str = SOCKET) -> None:
        self._address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)

    def __call__(self, _logger: Any, _name: str, event: structlog.typing.EventDict) -> str:
        try:
            self._socket.sendto(encoded(fields(event)), self._address)
        except OSError:  # the journal is absent or busy, or the datagram is too large
            return prefixed(event["level"], message(event))
        raise structlog.DropEvent

    def close(self) -> None:
        self._socket.close()


def prefixed(level: str, text: str) -> str:
    """Return the lines for a stream that goes to the journal (sd-daemon(3))."""
    return "\n".join(f"<{PRIORITIES.get(level, 6)}>{line}" for line in text.splitlines() or [""])


def message(event: Mapping[str, Any]) -> str:
    """Return the line for people: the event and its values."""
    details = [f"{name}={_value(value)}" for name, value in event.items() if name not in SHOWN]
    exception = event.get("exception")
    return " ".join([str(event["event"]), *details]) + (f"\n{exception}" if exception else "")


def fields(event: Mapping[str, Any]) -> dict[str, str]:
    """Return the journal fields of an event: MESSAGE, PRIORITY, SYSLOG_IDENTIFIER, and one per value, such as
    REPORTD_TASK_ID.
    """
    own = {_name(name): _text(value) for name, value in event.items() if name not in ("level", "timestamp")}
    return {
        "MESSAGE": message(event),
        "PRIORITY": str(PRIORITIES.get(event["level"], 6)),
        "SYSLOG_IDENTIFIER": "reportd",
        **own,
    }


def encoded(named: Mapping[str, str]) -> bytes:
    """Return the datagram for these fields."""
    parts = []
    for name, text in named.items():
        value = text.encode(errors="replace")
        if b"\n" in value:
            parts.append(name.encode() + b"\n" + struct.pack("<Q", len(value)) + value + b"\n")
        else:
            parts.append(name.encode() + b"=" + value + b"\n")
    return b"".join(parts)


def _name(name: str) -> str:
    """Return the journal's name: taskId is REPORTD_TASK_ID. It allows 64 capitals, digits and underscores."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[^A-Za-z0-9]+", "_", name)
    return f"REPORTD_{words.upper()}"[:64]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)


def _value(value: Any) -> str:
    text = _text(value)
    # Text of a page or a client must not look like a line or a field of ours.
    return text if re.fullmatch(r"[!#-~]+", text) else json.dumps(text, ensure_ascii=False)
