"""A flood of dead letters, while the daemon renders: what was settled long ago, what is no job, what nobody knows.

They are put into the embedded queue, so that no other server takes part of the machine.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import trio

from reportd.adapters.sql.database import open_database
from reportd.adapters.sql.stores.queue import EmbeddedQueue
from reportd.core.jobs.job import Job, to_message
from reportd.ports import Outgoing
from tests.e2e.process import Daemon

LETTERS = 1000
PATIENCE_SECONDS = 120.0


@asynccontextmanager
async def restarted(daemon: Daemon, letters: int = 0) -> AsyncIterator[None]:
    """With so many letters in its dead-letter queue; at the end of the block, waits until there are none."""
    bodies = await _bodies(daemon, letters)
    assert await daemon.stop() == 0
    async with open_database(f"sqlite:///{daemon.data_dir / 'reportd.db'}") as database:
        dead = EmbeddedQueue(database, "dead", visibility_seconds=60.0)
        await dead.recover()
        await dead.send([Outgoing(body, "", "", "") for body in bodies])
    await daemon.start()
    yield
    async with daemon.client() as client:
        with trio.fail_after(PATIENCE_SECONDS):
            while (await client.get("/status")).json()["queue"]["dead"]:
                await trio.sleep(1.0)


async def _bodies(daemon: Daemon, letters: int) -> list[str]:
    async with daemon.client() as client:
        settled = (await client.get("/reports?state=succeeded&limit=1")).json()["reports"][0]
    bodies = []
    for number in range(letters):
        unknown = Job(str(uuid4()), f"type-{number % 7}", {}, str(uuid4()), 1.0e9)
        known = Job(settled["taskId"], settled["reportType"], {}, settled["userId"], 1.0e9)
        bodies.append((to_message(known), f"{{{number}", to_message(unknown))[number % 3])
    return bodies
