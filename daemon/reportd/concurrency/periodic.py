"""Work that is done again and again. ``supervised`` takes care of what it raises."""

from collections.abc import Awaitable, Callable

import structlog
import trio

from reportd.ports import UnavailableError

LEASE_ROUNDS = 3
"""After so many rounds without a sign of the node that does a work for all, another one takes it over."""

log = structlog.get_logger()


async def periodically(seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    """Do ``work``, rest, and so on, also while something that it needs is away."""
    while True:
        try:
            await work()
        except UnavailableError as error:
            log.warning("janitor.waits", part=error.part, error=str(error))
        await trio.sleep(seconds)
