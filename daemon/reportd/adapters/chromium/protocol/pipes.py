"""Reading and writing the pipes between the daemon and a browser. Their owner is the browser's process object.

Neither needs a new file descriptor, so a running browser survives when none is left.
"""

import fcntl
import os
from contextlib import suppress

import trio

PIPE_BYTES = 1024 * 1024
"""Size of a DevTools pipe, if the kernel grants it; the default is 64 KiB."""

_READ_BYTES = 256 * 1024


def prepare(*pipes: int) -> None:
    """Make the pipes non-blocking and large, so that HTML and PDFs pass in a few pieces."""
    for pipe in pipes:
        os.set_blocking(pipe, False)
        with suppress(PermissionError):  # the user's limit for pipes is reached (pipe(7)); a small one works, too
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)


async def receive(pipe: int) -> bytes:
    """Return the next bytes; empty at the end."""
    while True:
        await trio.lowlevel.wait_readable(pipe)
        with suppress(BlockingIOError):
            return os.read(pipe, _READ_BYTES)


def send_now(pipe: int, data: memoryview) -> memoryview:
    """Write without waiting. Return what the pipe did not take. Raises BrokenPipeError."""
    with suppress(BlockingIOError):
        return data[os.write(pipe, data) :]
    return data


async def send(pipe: int, data: memoryview) -> None:
    """Write all of it. Raises BrokenPipeError."""
    while data:
        await trio.lowlevel.wait_writable(pipe)
        data = send_now(pipe, data)
