"""The frames between daemon and worker processes: three byte strings, preceded by their lengths."""

import struct
from collections.abc import Sequence

HEAD = struct.Struct(">3I")
"""The lengths of the three parts: a JSON document with request or answer, and two byte strings that belong to it."""

Frame = tuple[bytes, bytes, bytes]


def packed(parts: Sequence[bytes]) -> bytes:
    """Return the frame of one to three parts; missing ones are empty."""
    frame = (*parts, b"", b"")[:3]
    return HEAD.pack(*map(len, frame)) + b"".join(frame)


def lengths(head: bytes) -> tuple[int, int, int]:
    first, second, third = HEAD.unpack(head)
    return first, second, third
