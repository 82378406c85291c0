"""Waiting a little longer: for what must not be cut in the middle, and yet must hold up nobody for ever."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

T = TypeVar("T")


async def with_grace(call: Callable[[], Awaitable[T]], grace_seconds: float) -> T:
    """What ``call`` returns, or raises.

    Who is cancelled waits ``grace_seconds`` longer, and still gets what comes within that. Then the call is cancelled.
    """
    results: list[T] = []
    problem: Exception | None = None
    patience = trio.CancelScope(shield=True)

    async def hear_of_cancellation() -> None:
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            patience.deadline = trio.current_time() + grace_seconds

    async with trio.open_nursery() as nursery:
        nursery.start_soon(hear_of_cancellation)
        with patience:
            try:
                results.append(await call())
            except Exception as error:  # noqa: BLE001 - raised below, outside of the nursery's group
                problem = error
        nursery.cancel_scope.cancel()
    if problem is not None:
        raise problem
    if not results:
        await trio.lowlevel.checkpoint_if_cancelled()
    return results[0]


async def in_thread(work: Callable[[], T], *, grace_seconds: float, limiter: trio.CapacityLimiter | None = None) -> T:
    """The same for a call that blocks, in a thread, which can't be cancelled but is left to itself: a dead disk, or a
    server that stands still, holds up nobody but its thread, which keeps its place in ``limiter``.
    """
    return await with_grace(
        lambda: trio.to_thread.run_sync(work, limiter=limiter, abandon_on_cancel=True), grace_seconds
    )
