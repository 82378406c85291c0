"""Handles the lack of file descriptors (EMFILE, ENFILE): a fault of the node, and a temporary one.

Code that needs a descriptor waits for one, or reports its part as unavailable. A job that fails meanwhile is taken to
have failed for that reason: a browser can't explain why a page could not load something.
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
"""Interval of the probe, which costs a few microseconds."""

AFTERMATH_SECONDS = 60.0
"""Failed browser starts are retried after up to 30 s, and then the browser has to start. A job that begins meanwhile
gets its page late, and so has less time for it.
"""

RETRY_SECONDS = 0.1
"""The pause of trio's own servers before they accept again."""

log = structlog.get_logger()


def none_left(error: BaseException) -> bool:
    """Return whether the error means that no descriptor is left."""
    return isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE)


def probe() -> None:
    """Raise an OSError for which ``none_left`` is true, when no descriptor is left."""
    socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).close()


async def once_available(open_it: Callable[[], Awaitable[T]]) -> T:
    """Return what ``open_it`` opens; retry while no descriptor is left. The caller owns the timeout."""
    while True:
        try:
            return await open_it()
        except OSError as error:
            if not none_left(error):
                raise
        await trio.sleep(RETRY_SECONDS)


class Descriptors:
    """Records when the process last ran out of descriptors. ``run`` it in the background."""

    def __init__(self, probe: Callable[[], None] = probe) -> None:
        self._probe = probe
        self._ran_out_at = float("-inf")
        self._log = ThrottledLog(log)

    async def run(self) -> None:
        """Probe until cancelled."""
        while True:
            self._check()
            await trio.sleep(LOOK_SECONDS)

    def felt_since(self, begun: float) -> bool:
        """Return whether descriptors ran out since ``begun`` (trio's time), or up to AFTERMATH_SECONDS before."""
        self._check()
        return self._ran_out_at >= begun - AFTERMATH_SECONDS

    def _check(self) -> None:
        try:
            self._probe()
        except OSError as error:
            if not none_left(error):
                raise
            self._ran_out_at = trio.current_time()
            limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
            self._log.error("descriptors.none_left", error=error.strerror, limit=limit)
