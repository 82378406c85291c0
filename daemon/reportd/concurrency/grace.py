"""Delays cancellation for a short, bounded time: for calls that should finish and must not hang a shutdown."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

T = TypeVar("T")


async def with_grace(call: Callable[[], Awaitable[T]], grace_seconds: float) -> T:
    """Return what ``call`` returns, or raise what it raises.

    When the caller is cancelled, the call has ``grace_seconds`` left, and the caller still gets its result. After that
    the call is cancelled.
    """
    results: list[T] = []
    problem: Exception | None = None
    grace = trio.CancelScope(shield=True)

    async def start_grace_when_cancelled() -> None:
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            grace.deadline = trio.current_time() + grace_seconds

    async with trio.open_nursery() as nursery:
        nursery.start_soon(start_grace_when_cancelled)
        with grace:
            try:
                results.append(await call())
            except Exception as error:  # noqa: BLE001 - raised below, outside the nursery's exception group
                problem = error
        nursery.cancel_scope.cancel()
    if problem is not None:
        raise problem
    if not results:
        await trio.lowlevel.checkpoint_if_cancelled()
    return results[0]


async def in_thread(work: Callable[[], T], *, grace_seconds: float, limiter: trio.CapacityLimiter | None = None) -> T:
    """Run ``work`` in a thread, with the same grace.

    A thread can't be cancelled; it is abandoned. So a dead disk or a hanging server blocks only its own thread, which
    keeps its token of ``limiter``.
    """
    return await with_grace(
        lambda: trio.to_thread.run_sync(work, limiter=limiter, abandon_on_cancel=True), grace_seconds
    )
