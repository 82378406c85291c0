"""Retries while an outside part is unavailable. For the steps of a job that must not be lost."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog
import trio

from reportd.ports import UnavailableError

T = TypeVar("T")

FIRST_SECONDS = 0.1
LONGEST_SECONDS = 5.0

log = structlog.get_logger()


async def retry_while_unavailable(call: Callable[[], Awaitable[T]]) -> T:
    """Return what ``call`` returns, however long its part is unavailable. Only cancellation ends the retries."""
    delay = FIRST_SECONDS
    while True:
        try:
            return await call()
        except UnavailableError as error:
            log.warning("waiting_for_part", part=error.part, error=str(error), retryInSeconds=delay)
        await trio.sleep(delay)
        delay = min(LONGEST_SECONDS, delay * 2)
