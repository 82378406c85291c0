"""Readiness, part by part: what ``/readyz`` answers."""

from collections.abc import Callable
from functools import partial

import trio

from reportd.breakers.manager import Breakers
from reportd.browsers.pool import Pool
from reportd.concurrency.cached import Cached
from reportd.concurrency.supervisor import Supervisor
from reportd.core.status.snapshot import BACKGROUND
from reportd.ports import Jobs, UnavailableError
from reportd.work.poller import Poller

NO_TASK = "00000000-0000-0000-0000-000000000000"

FRESH_SECONDS = 1.0
"""The database is queried at most once in this time, however often readiness is asked for."""

PATIENCE_SECONDS = 1.0


class Readiness:
    """Made by ``Status``. ``part_trouble``: why an outside part does not work, by its last uses and probes.

    ``nursery``: where a database query that hangs goes on.
    """

    def __init__(
        self,
        *,
        jobs: Jobs,
        pool: Pool,
        poller: Poller,
        breakers: Breakers,
        supervisor: Supervisor,
        stop: trio.Event,
        part_trouble: Callable[[str], str],
        nursery: trio.Nursery,
    ) -> None:
        self._pool = pool
        self._poller = poller
        self._breakers = breakers
        self._supervisor = supervisor
        self._stop = stop
        self._part_trouble = part_trouble
        self._row = Cached(
            "database",
            partial(jobs.get, NO_TASK),
            nursery,
            fresh_seconds=FRESH_SECONDS,
            patience_seconds=PATIENCE_SECONDS,
        )

    async def parts(self) -> dict[str, tuple[bool, str]]:
        """Return for each part whether it works, and why not. Never raises, and takes at most PATIENCE_SECONDS.

        It reads one row of the database, and reports how the last use of the other parts went. So a load balancer may
        call it often.
        """
        pool = self._pool.state()
        stopping = self._stop.is_set()
        queue = self._poller.trouble or self._supervisor.trouble("poller") or self._part_trouble("queue")
        artifacts, database = self._part_trouble("artifacts"), self._part_trouble("database")
        background = "; ".join(f"{trouble.part}: {trouble.error}" for trouble in self._supervisor.troubles())
        parts = {
            "browsers": (bool(pool.browsers), pool.trouble or f"{len(pool.browsers)} running"),
            "accepting": (not stopping, "draining" if stopping else "yes"),
            "queue": (not queue, queue or "answers"),
            # A node without the shared breakers goes on alone, so this is shown and does not make it unready.
            "breakers": (True, self._breakers.trouble or "shared, if there is a store to share"),
            BACKGROUND: (not background, background or "no trouble"),
            "artifacts": (not artifacts, artifacts or "no trouble"),
        }
        try:
            await self._row.get()
            parts["database"] = (not database, database or "answers")
        except UnavailableError as error:
            parts["database"] = (False, str(error))
        return parts
