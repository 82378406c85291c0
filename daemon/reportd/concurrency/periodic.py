"""Work that repeats. ``supervisor`` handles the exceptions it raises."""

from collections.abc import Awaitable, Callable

import structlog
import trio

from reportd.ports import UnavailableError

LEASE_ROUNDS = 3
"""A lease on work for the whole cluster lasts this many rounds; then another node takes the work over."""

log = structlog.get_logger()


async def periodically(seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    """Run ``work`` every ``seconds``, measured from its end, also while a part that it needs is unavailable."""
    while True:
        try:
            await work()
        except UnavailableError as error:
            log.warning("janitor.waits", part=error.part, error=str(error))
        await trio.sleep(seconds)
