"""A load that is held on a daemon for a while: it is never without work, and never buried in it."""

import itertools
import time
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import httpx
import trio

from reportd.concurrency.nurseries import open_background
from tests.e2e.process import Daemon, submit

LOOK_SECONDS = 1.0
"""A look costs what a small render does."""


class Load:
    """Made by ``open_load``. ``begun``: epoch seconds; ``task_ids``: by report type, in the order of submission."""

    def __init__(self, daemon: Daemon, mix: Sequence[str], doomed: Collection[str]) -> None:
        self.begun = time.time()
        self.task_ids: dict[str, list[str]] = {report_type: [] for report_type in mix}
        self._daemon = daemon
        self._mix = itertools.cycle(mix)
        self._doomed = doomed

    async def run(self, parameters: Any, backlog: int) -> None:
        """For ever. What is doomed does not count as backlog: it may pile up, as it does in earnest."""
        async with self._daemon.client() as client:
            before = await _succeeded(client)
            while True:
                done = await _succeeded(client) - before
                while self._sound() - done < backlog:
                    report_type = next(self._mix)
                    # What is accepted is known.
                    with trio.CancelScope(shield=True):
                        self.task_ids[report_type].append(await submit(client, report_type, parameters))
                await trio.sleep(LOOK_SECONDS)

    def _sound(self) -> int:
        return sum(len(task_ids) for name, task_ids in self.task_ids.items() if name not in self._doomed)

    async def ends(self, report_type: str) -> list[float]:
        """When each that succeeded did, in seconds since the load began."""
        return [
            datetime.fromisoformat(report["finishedAt"]).timestamp() - self.begun
            for report in await self.reports(report_type)
            if report["state"] == "succeeded"
        ]

    async def reports(self, report_type: str) -> list[dict[str, Any]]:
        """All that were submitted by this load, as they are now."""
        wanted, found = set(self.task_ids[report_type]), []
        query: dict[str, str | int] = {"reportType": report_type, "limit": 200}
        async with self._daemon.client() as client:
            while True:
                page = (await client.get("/reports", params=query)).json()
                found += [report for report in page["reports"] if report["taskId"] in wanted]
                if page["nextCursor"] is None:
                    return found
                query["cursor"] = page["nextCursor"]


@asynccontextmanager
async def open_load(
    daemon: Daemon, mix: Sequence[str], parameters: Any, *, backlog: int, doomed: Collection[str] = ()
) -> AsyncIterator[Load]:
    """Submissions of the types in ``mix``, in turn, until the block ends; ``doomed`` are those that can't succeed."""
    load = Load(daemon, mix, doomed)
    async with open_background() as nursery:
        nursery.start_soon(load.run, parameters, backlog)
        yield load


async def _succeeded(client: httpx.AsyncClient) -> int:
    count: int = (await client.get("/status")).json()["jobs"]["succeeded"]
    return count
