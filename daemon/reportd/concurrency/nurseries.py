"""Tasks that serve a block of code and end with it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio


@asynccontextmanager
async def open_background() -> AsyncIterator[trio.Nursery]:
    """A nursery whose tasks are cancelled at the end of the block.

    An exception that is sole_exception leaves the block bare: whoever uses the resource that the tasks serve need not
    know that there are tasks, and catches what was raised, not a group around it.
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
    """The only exception inside groups, cancellation apart; anything else as it is.

    A cancellation that comes together with a failure may be left out: it is raised again at the next checkpoint.
    """
    found: BaseException | None = error
    if isinstance(error, BaseExceptionGroup):
        found = error.split(trio.Cancelled)[1]
    while isinstance(found, BaseExceptionGroup) and len(found.exceptions) == 1:
        found = found.exceptions[0]
    return error if found is None or isinstance(found, BaseExceptionGroup) else found
