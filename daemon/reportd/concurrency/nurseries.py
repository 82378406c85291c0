"""Background tasks that serve a block of code and end with it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio


@asynccontextmanager
async def open_background() -> AsyncIterator[trio.Nursery]:
    """Open a nursery whose tasks are cancelled at the end of the block.

    A single exception leaves the block without a group around it, so that the block's user need not know about the
    tasks.
    """
    try:
        async with trio.open_nursery() as nursery:
            try:
                yield nursery
            finally:
                nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        raise sole_exception(group) from None


def sole_exception(error: BaseException) -> BaseException:
    """Return the only exception inside nested groups, cancellations aside; otherwise return ``error`` itself.

    A cancellation beside a failure may be dropped: trio raises it again at the next checkpoint.
    """
    inner: BaseException | None = error
    if isinstance(error, BaseExceptionGroup):
        inner = error.split(trio.Cancelled)[1]
    while isinstance(inner, BaseExceptionGroup) and len(inner.exceptions) == 1:
        inner = inner.exceptions[0]
    return error if inner is None or isinstance(inner, BaseExceptionGroup) else inner
