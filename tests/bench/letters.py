"""A flood of dead letters, while the daemon renders: what was settled long ago, what is no job, what nobody knows."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import trio

from reportd.core.job import Job, to_message
from tests.cloud import ask_sqs
from tests.e2e.process import Daemon

LETTERS = 1000
PATIENCE_SECONDS = 120.0


@asynccontextmanager
async def flooded(daemon: Daemon, server: str, dead_letter_url: str) -> AsyncIterator[None]:
    """``LETTERS`` of them in the dead-letter queue; at the end of the block, waits until there are none."""
    bodies = await _bodies(daemon)
    await trio.to_thread.run_sync(_send, server, dead_letter_url, bodies)
    yield
    with trio.fail_after(PATIENCE_SECONDS):
        while await trio.to_thread.run_sync(_left, server, dead_letter_url):
            await trio.sleep(0.5)


async def _bodies(daemon: Daemon) -> list[str]:
    async with daemon.client() as client:
        settled = (await client.get("/reports?state=succeeded&limit=1")).json()["reports"][0]
    bodies = []
    for number in range(LETTERS):
        job = Job(str(uuid4()), f"type-{number % 7}", {}, str(uuid4()), 1.0e9)
        known = Job(settled["taskId"], settled["reportType"], {}, settled["userId"], 1.0e9)
        bodies.append((to_message(known), f"{{{number}", to_message(job))[number % 3])
    return bodies


def _send(server: str, url: str, bodies: list[str]) -> None:
    for at in range(0, len(bodies), 10):
        entries = [{"Id": str(n), "MessageBody": body} for n, body in enumerate(bodies[at : at + 10])]
        ask_sqs(server, "SendMessageBatch", QueueUrl=url, Entries=entries)


def _left(server: str, url: str) -> int:
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    told = ask_sqs(server, "GetQueueAttributes", QueueUrl=url, AttributeNames=names)["Attributes"]
    return sum(int(told[name]) for name in names)
