"""What the queue suite needs of an implementation, and what it may not have."""

import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Any

import pytest

from reportd.adapters.sql.database import open_database
from reportd.adapters.sql.stores.queue import EmbeddedQueue
from reportd.ports import Outgoing, Queue, Received


class Trait(Enum):
    """What one queue can do and another can't."""

    SKIPS = "leaves report types where they are"
    FAIR = "serves a user who comes late before the rest of another's heap"
    DELAYS = "delays a single message"
    STALE_RECEIPTS = "knows that a receipt is no longer the message's newest"
    OLDEST = "tells the age of its oldest message"
    PROMPT = "wakes a waiting receiver at once"
    CLEAN_CANCEL = "hands nothing to a receiver that has gone"
    NODES = "is shared by several nodes"


@dataclass(frozen=True)
class QueueLab:
    """A queue under test. Durations in seconds.

    ``pass_time`` lets them pass, by the clock of the queue or for real; ``wait_seconds`` is the shortest wait that a
    receive knows; ``unsendable``, a body that the queue refuses; ``node`` opens the same queue from another node.
    """

    queue: Queue
    dead: Queue
    max_receive_count: int
    wait_seconds: float
    unsendable: str
    pass_time: Callable[[float], Awaitable[None]]
    node: Callable[[], AbstractAsyncContextManager[Queue]]
    traits: frozenset[Trait]

    def needs(self, *traits: Trait) -> None:
        for trait in traits:
            if trait not in self.traits:
                pytest.skip(f"no queue that {trait.value}")


class Clock:
    """The real time, and how far it has been moved ahead."""

    def __init__(self) -> None:
        self._ahead_seconds = 0.0

    def __call__(self) -> float:
        return time.time() + self._ahead_seconds

    async def advance(self, seconds: float) -> None:
        self._ahead_seconds += seconds


MAX_RECEIVE_COUNT = 3


@asynccontextmanager
async def open_embedded(url: str) -> AsyncIterator[QueueLab]:
    """The embedded queue, on a migrated database."""
    clock = Clock()

    @asynccontextmanager
    async def open_pair() -> AsyncIterator[tuple[EmbeddedQueue, EmbeddedQueue]]:
        async with open_database(url) as database:
            dead = EmbeddedQueue(database, "dead", visibility_seconds=30.0, clock=clock)
            main = EmbeddedQueue(
                database,
                "main",
                visibility_seconds=30.0,
                max_receive_count=MAX_RECEIVE_COUNT,
                dead=dead,
                clock=clock,
            )
            await main.recover()
            await dead.recover()
            yield main, dead

    @asynccontextmanager
    async def node() -> AsyncIterator[Queue]:
        async with open_pair() as (main, _):
            yield main

    async with open_pair() as (main, dead):
        one_process = {Trait.NODES} if url.startswith("sqlite") else set()
        yield QueueLab(
            queue=main,
            dead=dead,
            max_receive_count=MAX_RECEIVE_COUNT,
            wait_seconds=0.1,
            unsendable="half of a surrogate pair: \ud800",
            pass_time=clock.advance,
            node=node,
            traits=frozenset(Trait) - one_process,
        )


def message(body: str = "{}", **fields: Any) -> Outgoing:
    """A message of a job and a user that nothing else is known of."""
    return Outgoing(**{"body": body, "task_id": new_id(), "report_type": "sales", "group": new_id()} | fields)


def new_id() -> str:
    return str(uuid.uuid4())


async def sent(queue: Queue, *messages: Outgoing) -> None:
    """Send and see that each was taken."""
    assert await queue.send(messages) == [None] * len(messages)


async def take(queue: Queue, count: int, wait_seconds: float) -> list[Received]:
    """Receive until there are so many or no more come: a queue may hand out fewer at once than it has."""
    taken: list[Received] = []
    while len(taken) < count:
        more = await queue.receive(min(10, count - len(taken)), wait_seconds)
        if not more:
            break
        taken += more
    return taken


async def take_one(lab: QueueLab) -> Received:
    [received] = await take(lab.queue, 1, lab.wait_seconds)
    return received


async def is_empty(lab: QueueLab, queue: Queue | None = None) -> bool:
    """Nothing is visible. What comes all the same is held from then on."""
    return not await (queue or lab.queue).receive(10, 0.0)
