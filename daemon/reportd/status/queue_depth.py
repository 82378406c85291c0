"""The queue's depth, with the messages behind open breakers counted apart. All code that counts work asks here.

Messages behind an open breaker can't be worked on: they need no node and no browser, and nobody can say when they will
be done.
"""

from collections.abc import Callable

import trio

from reportd.concurrency.cached import DUTY_FACTOR, Cached
from reportd.core.status.queue_depth import Counts, oldest_workable_at, separate_held
from reportd.ports import Depth, Jobs, Queue, UnavailableError

FRESH_SECONDS = 1.0
PATIENCE_SECONDS = 1.0


class WorkableQueue:
    """``holding``: the report types whose breaker is open. ``nursery``: where a query that hangs goes on.

    While no breaker is open, or the database is unavailable, the depth is the queue's own.
    """

    def __init__(self, queue: Queue, jobs: Jobs, holding: Callable[[], frozenset[str]], nursery: trio.Nursery) -> None:
        self._queue = queue
        self._holding = holding
        self._loads = Cached(
            "database",
            jobs.loads,
            nursery,
            fresh_seconds=FRESH_SECONDS,
            patience_seconds=PATIENCE_SECONDS,
            duty_factor=DUTY_FACTOR,
        )

    async def depth(self) -> Depth:
        depth = await self._queue.depth()
        holding = self._holding()
        if not holding:
            return depth
        try:
            loads = await self._loads.get()
        except UnavailableError:
            return depth
        counts = separate_held(Counts(depth.visible, depth.in_flight, depth.delayed), loads, holding)
        oldest = oldest_workable_at(depth.oldest_at, loads, holding) if counts.visible else None
        return Depth(counts.visible, counts.in_flight, counts.delayed, oldest, counts.held)
