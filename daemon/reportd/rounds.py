"""Work that is done again and again, whatever befalls it."""

from collections.abc import Awaitable, Callable

import structlog
import trio

from reportd.ports import UnavailableError

LEASE_ROUNDS = 3
"""After so many rounds without a sign of the node that does a work for all, another one takes it over."""

log = structlog.get_logger()


async def every(seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    """Do ``work``, rest, and so on."""
    while True:
        try:
            await work()
        except UnavailableError as error:
            log.warning("janitor.waits", part=error.part, error=str(error))
        except Exception:
            # One letter or one row that nobody foresaw must not end the daemon, nor the work on the others.
            log.exception("janitor.failed")
        await trio.sleep(seconds)
