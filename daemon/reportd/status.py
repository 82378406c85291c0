"""What the daemon says of itself: ready or not, part by part, and its figures."""

import re
import time
from dataclasses import asdict
from functools import partial
from typing import Any

import trio

from reportd.breakers import Breakers
from reportd.core.job import timestamp
from reportd.held import Held
from reportd.poller import Poller
from reportd.pool import Pool
from reportd.ports import Jobs, Queue, UnavailableError
from reportd.remembered import Remembered
from reportd.worker import Worker

NOBODY = "00000000-0000-0000-0000-000000000000"

FRESH_SECONDS = 1.0
"""The database is asked whether it answers once in so long, however many ask the daemon whether it is ready."""

PATIENCE_SECONDS = 1.0


class Status:
    """Made by ``app``; asked by the HTTP face."""

    def __init__(
        self,
        *,
        jobs: Jobs,
        queue: Queue,
        pool: Pool,
        poller: Poller,
        worker: Worker,
        breakers: Breakers,
        held: Held,
        stop: trio.Event,
        node: str,
        looks: trio.Nursery,
    ) -> None:
        self._poller = poller
        self._worker = worker
        self._breakers = breakers
        self._jobs = jobs
        self._row = Remembered(
            "database",
            partial(jobs.get, NOBODY),
            looks,
            fresh_seconds=FRESH_SECONDS,
            patience_seconds=PATIENCE_SECONDS,
        )
        self._queue = queue
        self._pool = pool
        self._held = held
        self._stop = stop
        self._node = node
        self._since = time.time()

    async def parts(self) -> dict[str, tuple[bool, str]]:
        """Per part whether it works, and if not, why. Within PATIENCE_SECONDS, and never raises.

        Asks for one row; of the rest it says how the last use went. So a load balancer may ask all the time.
        """
        pool = self._pool.state()
        stopping = self._stop.is_set()
        parts = {
            "browsers": (bool(pool.browsers), pool.trouble or f"{len(pool.browsers)} running"),
            "accepting": (not stopping, "draining" if stopping else "yes"),
            "queue": (not self._poller.trouble, self._poller.trouble or "answers"),
            # A node that has lost the others' breakers goes on alone, so this is told and no reason to be taken out.
            "breakers": (True, self._breakers.trouble or "shared, if there is a store to share"),
            "artifacts": (not self._worker.store_trouble, self._worker.store_trouble or "no trouble"),
        }
        try:
            await self._row.get()
            parts["database"] = (True, "answers")
        except UnavailableError as error:
            parts["database"] = (False, str(error))
        return parts

    async def snapshot(self) -> dict[str, Any]:
        """Everything at once, as JSON."""
        return {
            "node": self._node,
            "since": timestamp(self._since),
            "held": len(self._held),
            "queue": _camel(asdict(await self._queue.depth())),
            "jobs": {str(state): count for state, count in (await self._jobs.counts()).items()},
            "pool": _camel(asdict(self._pool.state())),
        }


def _camel(value: Any) -> Any:
    """Names as they are on the wire."""
    if isinstance(value, dict):
        return {re.sub("_(.)", lambda found: found[1].upper(), name): _camel(item) for name, item in value.items()}
    return [_camel(item) for item in value] if isinstance(value, list | tuple) else value
