"""The pipes between the daemon and a browser, which belong to its process: nobody else opens or closes them.

No descriptor is needed to read or write one, so a browser that runs is not lost where there are none left.
"""

import fcntl
import os
from contextlib import suppress

import trio

PIPE_BYTES = 1024 * 1024
"""Of a DevTools pipe, where the kernel grants it: a pipe has 64 KiB otherwise."""

_READ_BYTES = 256 * 1024


def prepare(*pipes: int) -> None:
    """So that a report's HTML, or its PDF, goes in a few pieces instead of many, and nobody is blocked by it."""
    for pipe in pipes:
        os.set_blocking(pipe, False)
        with suppress(PermissionError):  # this user's pipes have taken what they may (pipe(7)); a small one works, too
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)


async def receive(pipe: int) -> bytes:
    """What comes next; nothing at the end."""
    while True:
        await trio.lowlevel.wait_readable(pipe)
        with suppress(BlockingIOError):
            return os.read(pipe, _READ_BYTES)


def send_now(pipe: int, data: memoryview) -> memoryview:
    """What of it the pipe does not take at once. Raises BrokenPipeError."""
    with suppress(BlockingIOError):
        return data[os.write(pipe, data) :]
    return data


async def send(pipe: int, data: memoryview) -> None:
    """All of it. Raises BrokenPipeError."""
    while data:
        await trio.lowlevel.wait_writable(pipe)
        data = send_now(pipe, data)
