"""The journal of systemd: events with a priority and their fields, by its own protocol.

A job's story is then ``journalctl REPORTD_TASK_ID=…``, and all trouble ``journalctl -u reportd -p warning``. The
protocol is systemd's "Native Journal Protocol": a datagram of fields, each NAME=value, or NAME and a length where the
value has several lines.
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
"""Those of syslog(3), by structlog's names."""

SHOWN = ("event", "level", "timestamp", "exception")
"""What the message does not repeat behind the event: the journal has it anyway, or it follows on lines of its own."""


def reaches(descriptor: int) -> bool:
    """Whether what is written there goes to the journal: systemd says which file that is (systemd.exec(5))."""
    try:
        found = os.fstat(descriptor)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


class Journal:
    """The last processor of structlog. What the journal does not take, it leaves to stderr, with its priority."""

    def __init__(self, address: str = SOCKET) -> None:
        self._address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)

    def __call__(self, _logger: Any, _name: str, event: structlog.typing.EventDict) -> str:
        try:
            self._socket.sendto(encoded(fields(event)), self._address)
        except OSError:  # it is not there, is busy, or the datagram is too large
            return prefixed(event["level"], message(event))
        raise structlog.DropEvent

    def close(self) -> None:
        self._socket.close()


def prefixed(level: str, text: str) -> str:
    """As lines of a stream that goes to the journal (sd-daemon(3))."""
    return "\n".join(f"<{PRIORITIES.get(level, 6)}>{line}" for line in text.splitlines() or [""])


def message(event: Mapping[str, Any]) -> str:
    """For people: the event, and what it is about."""
    details = [f"{name}={_value(value)}" for name, value in event.items() if name not in SHOWN]
    exception = event.get("exception")
    return " ".join([str(event["event"]), *details]) + (f"\n{exception}" if exception else "")


def fields(event: Mapping[str, Any]) -> dict[str, str]:
    """For machines: every value is a field of its own, such as REPORTD_TASK_ID."""
    own = {_name(name): _text(value) for name, value in event.items() if name not in ("level", "timestamp")}
    return {
        "MESSAGE": message(event),
        "PRIORITY": str(PRIORITIES.get(event["level"], 6)),
        "SYSLOG_IDENTIFIER": "reportd",
        **own,
    }


def encoded(named: Mapping[str, str]) -> bytes:
    parts = []
    for name, text in named.items():
        value = text.encode(errors="replace")
        if b"\n" in value:
            parts.append(name.encode() + b"\n" + struct.pack("<Q", len(value)) + value + b"\n")
        else:
            parts.append(name.encode() + b"=" + value + b"\n")
    return b"".join(parts)


def _name(name: str) -> str:
    """taskId is REPORTD_TASK_ID. The journal takes capitals, digits and underscores, 64 at most."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[^A-Za-z0-9]+", "_", name)
    return f"REPORTD_{words.upper()}"[:64]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)


def _value(value: Any) -> str:
    text = _text(value)
    # What a page or a client has said must not look like a line or a field of ours.
    return text if re.fullmatch(r"[!#-~]+", text) else json.dumps(text, ensure_ascii=False)
