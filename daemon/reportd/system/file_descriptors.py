"""File descriptors, when the process or the machine has none left (EMFILE, ENFILE): the node's trouble, and it passes.

Whoever needs one waits for it, or says that its part is away. A job that failed meanwhile failed for that reason as far
as anybody can tell: what a page could not load, its browser can't explain.
"""

import errno
import resource
import socket
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog
import trio

from reportd.system.log_throttle import ThrottledLog

T = TypeVar("T")

LOOK_SECONDS = 0.25
"""How often it is looked whether there are any. A look costs a few microseconds."""

AFTERMATH_SECONDS = 60.0
"""Browsers that could not be started are tried again after up to 30 s, and then have to start: what begins meanwhile
gets a page late, and has the less time for it."""

RETRY_SECONDS = 0.1
"""As trio's own servers wait before they accept again."""

log = structlog.get_logger()


def none_left(error: BaseException) -> bool:
    """Whether this is what the error says."""
    return isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE)


def probe() -> None:
    """Raises OSError, for which ``none_left`` is true, when there is none."""
    socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).close()


async def once_available(open_it: Callable[[], Awaitable[T]]) -> T:
    """What ``open_it`` opens, again and again while there is no descriptor for it. The caller owns the timeout."""
    while True:
        try:
            return await open_it()
        except OSError as error:
            if not none_left(error):
                raise
        await trio.sleep(RETRY_SECONDS)


class Descriptors:
    """Watches whether there are any. ``run`` in the background."""

    def __init__(self, probe: Callable[[], None] = probe) -> None:
        self._probe = probe
        self._ran_out_at = float("-inf")
        self._log = ThrottledLog(log)

    async def run(self) -> None:
        """For as long as the daemon runs."""
        while True:
            self._look()
            await trio.sleep(LOOK_SECONDS)

    def felt_since(self, begun: float) -> bool:
        """Whether there was none at a moment since then, in trio's time, or so shortly before that it is still felt."""
        self._look()
        return self._ran_out_at >= begun - AFTERMATH_SECONDS

    def _look(self) -> None:
        try:
            self._probe()
        except OSError as error:
            if not none_left(error):
                raise
            self._ran_out_at = trio.current_time()
            limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
            self._log.error("descriptors.none_left", error=error.strerror, limit=limit)
