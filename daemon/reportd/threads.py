"""Calls that block, in threads of their own, none of which the daemon waits for longer than it says."""

from collections.abc import Callable
from typing import TypeVar

import trio

T = TypeVar("T")


async def in_thread(work: Callable[[], T], *, grace_seconds: float, limiter: trio.CapacityLimiter | None = None) -> T:
    """What ``work`` returns, or raises.

    Who is cancelled waits ``grace_seconds`` longer, and still gets what comes within that. Then the call is left to
    itself: a dead disk, or a server that stands still, holds up nobody but its thread, which keeps its place in
    ``limiter``.
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
                results.append(await trio.to_thread.run_sync(work, limiter=limiter, abandon_on_cancel=True))
            except Exception as error:  # noqa: BLE001 - raised below, outside of the nursery's group
                problem = error
        nursery.cancel_scope.cancel()
    if problem is not None:
        raise problem
    if not results:
        await trio.lowlevel.checkpoint_if_cancelled()
    return results[0]
