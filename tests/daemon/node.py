"""A node: the daemon's shell, put together as ``reportd.app`` does it, over fakes that several nodes may share."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from unittest import mock
from uuid import UUID

import trio
from trio.testing import MockClock

from reportd.adapters.memory_breakers import MemoryBreakers
from reportd.breakers.manager import Breakers
from reportd.concurrency.batching import open_batcher
from reportd.concurrency.nurseries import open_background
from reportd.core.breaker.breaker import Policy as BreakerPolicy
from reportd.core.capacity.backlog import BacklogPolicy
from reportd.core.dead_letters.triage import Policy
from reportd.core.jobs.job import Job, to_message
from reportd.core.jobs.retry import RetryPolicy
from reportd.core.jobs.submission import Submission
from reportd.core.jobs.transitions import TERMINAL
from reportd.core.repair.message import Known
from reportd.dead_letters.quarantine import Quarantine
from reportd.dead_letters.triage import Triage
from reportd.intake.backlog import Backlog
from reportd.intake.service import Intake, Service
from reportd.maintenance.janitor import Janitor
from reportd.maintenance.rescuer import Rescuer, keep_renewed
from reportd.ports import SILENT, DeadLetter, Meter, Outgoing, Received, Record
from reportd.work.bulkheads import Bulkheads
from reportd.work.in_flight import Held
from reportd.work.job_waiters import Changes
from reportd.work.poller import Poller, drain, keep_invisible
from reportd.work.settlement import Outcomes
from reportd.work.timeouts import Deadlines
from reportd.work.worker import Worker
from tests.fakes import (
    EPOCH,
    FakeRenderer,
    FakeTypes,
    MemoryArtifacts,
    MemoryDeadLetters,
    MemoryJobs,
    MemoryQueue,
    Weather,
    now,
)
from tests.fakes.audit import FakeAudit
from tests.fakes.checking import InlineReader

T = TypeVar("T")

USER = "7c9e6679-7425-40de-944b-e07fc1f90ae7"
NEVER_OPENS = BreakerPolicy(failure_threshold=1_000_000)
AT_ONCE = Policy(max_redrives=0)
POLICY = RetryPolicy(max_attempts=3, backoff_seconds=4.0, max_backoff_seconds=60.0)


def job(number: int = 1, report_type: str = "report", **parameters: Any) -> Job:
    return Job(str(UUID(int=number)), report_type, parameters, USER, EPOCH)


def message_of(one: Job) -> Outgoing:
    return Outgoing(to_message(one), one.task_id, one.report_type, one.user_id)


async def run_inline(function: Callable[..., T], *args: Any, **_: Any) -> T:
    """Stands in for ``trio.to_thread.run_sync``."""
    await trio.lowlevel.checkpoint()
    return function(*args)


class World:
    """What outlives a node: the stores, the queues, and the renderer's script.

    What fails is quarantined at once, unless another ``policy`` is set before there are nodes.
    """

    def __init__(self, *, slots: int = 2, spool: Path | None = None, max_receive_count: int | None = None) -> None:
        assert isinstance(trio.lowlevel.current_clock(), MockClock), "nothing here waits in earnest"
        self.weather = Weather()
        self.dead = MemoryQueue(self.weather, "dead")
        self.queue = MemoryQueue(self.weather, max_receive_count=max_receive_count, dead=self.dead)
        self.jobs = MemoryJobs(self.weather)
        self.artifacts = MemoryArtifacts(self.weather)
        self.slots = slots
        self.spool = spool
        self.renderer = FakeRenderer(slots, self.weather, spool)
        self.types = FakeTypes()
        self.audit = FakeAudit()
        self.letters = MemoryDeadLetters(self.jobs, self.weather)
        self.quarantined: list[DeadLetter] = []
        self.policy = AT_ONCE
        self._inline = mock.patch.object(trio.to_thread, "run_sync", run_inline)
        self._inlined = 0

    @contextmanager
    def without_threads(self) -> Iterator[None]:
        """A mock clock would leap ahead while a thread runs. For any number of nodes, in any order."""
        self._inlined += 1
        if self._inlined == 1:
            self._inline.start()
        try:
            yield
        finally:
            self._inlined -= 1
            if not self._inlined:
                self._inline.stop()

    async def send(self, *jobs: Job) -> None:
        """As a producer of its own does it: there is no row."""
        await self.queue.send([message_of(one) for one in jobs])

    async def received(self, *jobs: Job) -> list[Received]:
        """The messages of these jobs, as they come off the queue."""
        await self.send(*jobs)
        return await self.queue.receive(len(jobs), 0.0)

    def spooled(self) -> list[Path]:
        """Temporary files of PDFs."""
        return list(self.spool.iterdir()) if self.spool else []

    def record(self, one: Job) -> Record:
        return self.jobs.records[one.task_id]

    async def terminal(self, one: Job) -> Record:
        """The job's record, once it is at its end."""
        while (record := self.jobs.records.get(one.task_id)) is None or record.state not in TERMINAL:
            await trio.sleep(0.5)
        return record


@dataclass
class Node:
    """A node's parts. Made by ``open_node`` or, for a single message, by hand."""

    world: World
    prefetch: int = 2
    name: str = "node"
    held: Held = field(default_factory=Held)
    changes: Changes = field(default_factory=Changes)
    chance: Callable[[], float] = lambda: 0.5
    timeout_factor: float = 0.0
    breaker_policy: BreakerPolicy = NEVER_OPENS
    limits: dict[str, int] = field(default_factory=lambda: {"report": 0})

    def __post_init__(self) -> None:
        world = self.world
        self.breakers = Breakers(MemoryBreakers(now), self.breaker_policy, node=self.name)
        self.breakers._ahead = EPOCH  # as the store would have told it
        self.bulkheads = Bulkheads(self.limits, lambda: world.slots, 2.0, self.breakers, self.prefetch)
        outcomes = Outcomes(
            jobs=world.jobs,
            queue=world.queue,
            dead=world.dead,
            artifacts=world.artifacts,
            changes=self.changes,
            policy=POLICY,
            max_receive_count=1000,
            clock=now,
            chance=self.chance,
        )
        self.worker = Worker(
            jobs=world.jobs,
            artifacts=world.artifacts,
            renderer=world.renderer,
            types=world.types,
            breakers=self.breakers,
            bulkheads=self.bulkheads,
            deadlines=Deadlines(dict.fromkeys(self.limits, self.timeout_factor)),
            held=self.held,
            outcomes=outcomes,
            node=self.name,
            clock=now,
        )
        self.poller = Poller(
            world.queue,
            self.worker.handle,
            world.slots + self.prefetch,
            at_most=self.bulkheads.at_most,
            unsettled=self.bulkheads.unsettled,
        )
        self.breakers.on_change = self.bulkheads.look_again
        self.bulkheads.on_change = self.poller.look_again
        self.rescuer = Rescuer(
            jobs=world.jobs,
            letters=world.letters,
            queue=world.queue,
            dead=world.dead,
            holding=self.breakers.holding,
            clock=now,
        )
        self.janitor = Janitor(
            jobs=world.jobs,
            queue=world.queue,
            artifacts=world.artifacts,
            rescuer=self.rescuer,
            retention_seconds=86400.0,
            node=self.name,
            clock=now,
        )
        self.triage = Triage(
            jobs=world.jobs,
            queue=world.queue,
            dead=world.dead,
            letters=world.letters,
            quarantine=Quarantine(
                jobs=world.jobs,
                letters=world.letters,
                audit=world.audit,
                changes=self.changes,
                node=self.name,
                on_quarantined=world.quarantined.append,
                clock=now,
            ),
            breakers=self.breakers,
            reader=InlineReader(Known({"report": "report", "old_report": "report"}, world.types.problems)),
            audit=world.audit,
            policy=world.policy,
            interval_seconds=5.0,
            node=self.name,
            clock=now,
        )

    async def handle(self, *messages: Received) -> None:
        """Only the worker, on these messages at once."""
        with self.world.without_threads():
            async with trio.open_nursery() as nursery:
                for message in messages:
                    nursery.start_soon(self.worker.handle, message)

    async def sort(self) -> None:
        """Only the dead letters that are visible now."""
        with self.world.without_threads():
            await self.triage.sort()

    async def run(self, stop: trio.Event, drain_seconds: float = 30.0) -> None:
        """Until ``stop`` is set, and then until everything held is settled or given back."""
        with self.world.without_threads():
            async with open_background() as background, trio.open_nursery() as taking:
                background.start_soon(keep_invisible, self.world.queue, self.held)
                background.start_soon(keep_renewed, self.world.jobs, self.held)
                background.start_soon(self.janitor.run)
                background.start_soon(self.triage.run)
                taking.start_soon(self.poller.run)
                await stop.wait()
                self.poller.stop()
                await drain(self.held, drain_seconds)


@asynccontextmanager
async def open_node(world: World, **options: Any) -> AsyncIterator[Node]:
    """A node that runs for as long as the block; it is cut off at its end, as if it were killed."""
    node = Node(world, **options)
    async with open_background() as nursery:
        nursery.start_soon(node.run, trio.Event())
        yield node


@asynccontextmanager
async def open_service(
    world: World, node: Node | None = None, *, backlog: Backlog | None = None, meter: Meter = SILENT
) -> AsyncIterator[Service]:
    """A service by itself, or that of a running node."""
    async with (
        open_background() as background,
        open_batcher(Intake(world.jobs, world.queue, background).accept, 100) as intake,
    ):
        yield Service(
            jobs=world.jobs,
            queue=world.queue,
            artifacts=world.artifacts,
            intake=intake,
            validator=world.types,
            changes=node.changes if node else Changes(),
            held=node.held if node else Held(),
            backlog=backlog or Backlog(BacklogPolicy(100), jobs=world.jobs, queue=world.queue),
            retention_seconds=30 * 86400.0,
            meter=meter,
            clock=now,
        )


def submission(key: str | None = None, user_id: str = USER, **parameters: object) -> Submission:
    return Submission("report", parameters, user_id, idempotency_key=key)
