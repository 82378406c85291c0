"""How deep the queue is, with what waits for a breaker set apart: who counts work, for whatever purpose, asks here.

Messages behind an open breaker can't be worked on, so they call for no node and no browser, and nobody is told in how
many minutes they will be done.
"""

from collections.abc import Callable

import trio

from reportd.concurrency.cached import DUTY_FACTOR, Cached
from reportd.core.status.queue_depth import Counts, oldest_at, set_apart
from reportd.ports import Depth, Jobs, Queue, UnavailableError

FRESH_SECONDS = 1.0
PATIENCE_SECONDS = 1.0


class WorkableQueue:
    """``holding``: the report types whose breaker is open. ``looks``: where a look at the database goes on that hangs.

    While no breaker is open, or the database is away, it is the queue's own depth.
    """

    def __init__(self, queue: Queue, jobs: Jobs, holding: Callable[[], frozenset[str]], looks: trio.Nursery) -> None:
        self._queue = queue
        self._holding = holding
        self._loads = Cached(
            "database",
            jobs.loads,
            looks,
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
        counts = set_apart(Counts(depth.visible, depth.in_flight, depth.delayed), loads, holding)
        oldest = oldest_at(depth.oldest_at, loads, holding) if counts.visible else None
        return Depth(counts.visible, counts.in_flight, counts.delayed, oldest, counts.held)
