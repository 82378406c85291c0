"""What the daemon and its worker processes say to each other: three byte strings at a time, their lengths first."""

import struct
from collections.abc import Sequence

HEAD = struct.Struct(">3I")
"""The lengths of three parts: a JSON document that says what is asked or answered, and two that it is about."""

Frame = tuple[bytes, bytes, bytes]


def packed(parts: Sequence[bytes]) -> bytes:
    """One to three parts; those that are missing are empty."""
    frame = (*parts, b"", b"")[:3]
    return HEAD.pack(*map(len, frame)) + b"".join(frame)


def lengths(head: bytes) -> tuple[int, int, int]:
    one, two, three = HEAD.unpack(head)
    return one, two, three
