"""The fakes as the suites of ``tests/contract`` take them."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from reportd.ports import Queue
from tests.contract.artifacts.artifacts_lab import SMALL_BYTES, ArtifactsLab
from tests.contract.queue.queue_lab import MAX_RECEIVE_COUNT, Clock, QueueLab, Trait
from tests.fakes.artifacts import MemoryArtifacts
from tests.fakes.queue import MemoryQueue
from tests.simulation.queue import FleetQueue


@asynccontextmanager
async def open_memory_lab() -> AsyncIterator[QueueLab]:
    clock = Clock()
    dead = MemoryQueue(part="dead", visibility_seconds=30.0, clock=clock)
    queue = MemoryQueue(visibility_seconds=30.0, max_receive_count=MAX_RECEIVE_COUNT, dead=dead, clock=clock)
    yield _queue_lab(queue, dead, clock, frozenset(Trait))


@asynccontextmanager
async def open_fleet_lab() -> AsyncIterator[QueueLab]:
    clock = Clock()
    dead = FleetQueue(visibility_seconds=30.0, clock=clock)
    queue = FleetQueue(visibility_seconds=30.0, max_receive_count=MAX_RECEIVE_COUNT, dead=dead, clock=clock)
    yield _queue_lab(queue, dead, clock, frozenset(Trait) - {Trait.SKIPS, Trait.FAIR})


def _queue_lab(
    queue: MemoryQueue | FleetQueue, dead: MemoryQueue | FleetQueue, clock: Clock, traits: frozenset[Trait]
) -> QueueLab:
    @asynccontextmanager
    async def node() -> AsyncIterator[Queue]:
        yield queue

    async def pass_time(seconds: float) -> None:
        await clock.advance(seconds)
        queue.wake()

    return QueueLab(
        queue=queue,
        dead=dead,
        max_receive_count=MAX_RECEIVE_COUNT,
        wait_seconds=0.1,
        unsendable="half of a surrogate pair: \ud800",
        pass_time=pass_time,
        node=node,
        traits=traits,
    )


def memory_artifacts_lab() -> ArtifactsLab:
    store = MemoryArtifacts()

    @contextmanager
    def full() -> Iterator[None]:
        store.room_bytes = SMALL_BYTES
        try:
            yield
        finally:
            store.room_bytes = None

    return ArtifactsLab(store, lambda where: store.stored[str(where).removeprefix("memory:")], store.names, full)
