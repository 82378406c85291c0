"""A node: the daemon's shell, wired by ``reportd.app`` itself, over fakes that several nodes may share."""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar
from unittest import mock
from uuid import UUID

import trio
from trio.testing import MockClock

from reportd.adapters.jwt_signer import JwtSigner
from reportd.adapters.memory_breakers import MemoryBreakers
from reportd.app.backends import Backends
from reportd.app.intake import open_service as wired_service
from reportd.app.processing import Processing
from reportd.app.upkeep import Upkeep
from reportd.concurrency.nurseries import open_background
from reportd.concurrency.supervisor import Supervisor
from reportd.config import Config
from reportd.config.models import ArtifactStore, QueueOptions
from reportd.config.models import Breaker as BreakerOptions
from reportd.config.models import Triage as TriageOptions
from reportd.config.report_types import ReportType
from reportd.core.capacity.backlog import BacklogPolicy
from reportd.core.jobs.job import Job, to_message
from reportd.core.jobs.submission import Submission
from reportd.core.jobs.transitions import TERMINAL
from reportd.core.repair.message import Known
from reportd.intake.backlog import Backlog
from reportd.intake.service import Service
from reportd.ports import NULL_METER, DeadLetter, Meter, Outgoing, Received, Record
from reportd.status.condition import Condition
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
from tests.fakes.alerts import MemoryAlerts
from tests.fakes.audit import FakeAudit
from tests.fakes.checking import InlineReader
from tests.fakes.evidence import MemoryEvidence
from tests.fakes.fleet import MemoryFleet
from tests.fakes.messenger import FakeMessenger
from tests.fakes.outbox import MemoryOutbox
from tests.fakes.sessions import MemoryEndedSessions
from tests.render_keys import a_key

T = TypeVar("T")

USER = "7c9e6679-7425-40de-944b-e07fc1f90ae7"
PAGE = "http://page.example/"
NEVER_OPENS = BreakerOptions(failure_threshold=1000)
MAX_RECEIVE_COUNT = 1000
AT_ONCE = TriageOptions(max_redrives=0)


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

    What fails is quarantined at once, unless ``triage`` is set otherwise before there are nodes.
    """

    def __init__(self, *, slots: int = 2, spool: Path | None = None, max_receive_count: int | None = None) -> None:
        assert isinstance(trio.lowlevel.current_clock(), MockClock), "nothing here waits in earnest"
        self.weather = Weather()
        self.dead = MemoryQueue(self.weather, "dead")
        self.queue = MemoryQueue(self.weather, max_receive_count=max_receive_count, dead=self.dead)
        self.jobs = MemoryJobs(self.weather)
        self.artifacts = MemoryArtifacts(self.weather)
        self.evidence = MemoryEvidence(self.weather)
        self.slots = slots
        self.spool = spool
        self.renderer = FakeRenderer(slots, self.weather, spool)
        self.types = FakeTypes()
        self.audit = FakeAudit()
        self.letters = MemoryDeadLetters(self.jobs, self.weather)
        self.quarantined: list[DeadLetter] = []
        self.triage = AT_ONCE
        self.signer = JwtSigner("reportd", [a_key("world", "HS256")])
        self._inline = mock.patch.object(trio.to_thread, "run_sync", run_inline)
        self._inlined = 0

    def backends(self) -> Backends:
        """The fakes, as the daemon is given what it has opened."""
        return Backends(
            jobs=self.jobs,
            letters=self.letters,
            audit=self.audit,
            queue=self.queue,
            dead=self.dead,
            artifacts=self.artifacts,
            breaker_store=MemoryBreakers(now),
            outbox=MemoryOutbox(),
            messenger=FakeMessenger(),
            alert_store=MemoryAlerts(),
            fleet=MemoryFleet(),
            ended_sessions=MemoryEndedSessions(),
            evidence=self.evidence,
            session_secret=b"secret",
            scaling_metrics=None,
            conditions={"queue": Condition("queue", self.queue.depth)},
            single_node=False,
        )

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
        """Wait until the job is at its end, and return its record. Look less often after a minute, to save time."""
        begun = trio.current_time()
        while (record := self.jobs.records.get(one.task_id)) is None or record.state not in TERMINAL:
            await trio.sleep(0.5 if trio.current_time() < begun + 60.0 else 5.0)
        return record


class Node:
    """A node's parts, over the fakes of a world. Run by ``open_node`` or, for a single message, by hand."""

    def __init__(
        self,
        world: World,
        prefetch: int = 2,
        name: str = "node",
        *,
        chance: Callable[[], float] = lambda: 0.5,
        timeout_factor: float = 0.0,
        breaker: BreakerOptions = NEVER_OPENS,
        limits: Mapping[str, int] = MappingProxyType({"report": 0}),
        supervisor: Supervisor | None = None,
    ) -> None:
        self.world = world
        supervisor = supervisor or Supervisor()
        config = Config(
            queue=QueueOptions(
                prefetch=prefetch, backoff_seconds=4.0, max_backoff_seconds=60.0, max_receive_count=MAX_RECEIVE_COUNT
            ),
            artifacts=ArtifactStore(retention_days=1.0),
            breaker=breaker,
            triage=world.triage,
            reports={
                report_type: ReportType(url=PAGE, max_concurrency=limit, timeout_p99_factor=timeout_factor)
                for report_type, limit in limits.items()
            },
        )
        backends = world.backends()
        self.processing = Processing(
            config,
            backends,
            node=name,
            renderer=world.renderer,
            slots=lambda: world.slots,
            types=world.types,
            supervisor=supervisor,
            signer=world.signer,
            clock=now,
            chance=chance,
        )
        self.upkeep = Upkeep(
            config,
            backends,
            node=name,
            reader=InlineReader(Known({"report": "report", "old_report": "report"}, world.types.problems)),
            breakers=self.processing.breakers,
            waiters=self.processing.waiters,
            on_quarantined=world.quarantined.append,
            supervisor=supervisor,
            clock=now,
        )
        self.breakers = self.processing.breakers
        self.breakers._ahead = EPOCH  # as the store would have told it
        self.bulkheads = self.processing.bulkheads
        self.in_flight = self.processing.in_flight
        self.waiters = self.processing.waiters
        self.worker = self.processing.worker
        self.poller = self.processing.poller
        self.rescuer = self.upkeep.rescuer
        self.janitor = self.upkeep.janitor
        self.triage = self.upkeep.triage

    async def handle(self, *messages: Received) -> None:
        """Only the worker, on these messages at once."""
        with self.world.without_threads():
            async with trio.open_nursery() as nursery:
                for message in messages:
                    nursery.start_soon(self.worker.handle, message)

    async def settle_visible(self) -> None:
        """Only the dead letters that are visible now."""
        with self.world.without_threads():
            await self.triage.settle_visible()

    async def run(self, stop: trio.Event) -> None:
        """Until ``stop`` is set, and then until everything in flight is settled or given back."""
        with self.world.without_threads():
            async with open_background() as background, trio.open_nursery() as polling:
                self.processing.start_heartbeat(background)
                self.upkeep.start(background)
                polling.start_soon(self.poller.run)
                await stop.wait()
                await self.processing.drain()


@asynccontextmanager
async def open_node(world: World, **options: Any) -> AsyncIterator[Node]:
    """A node that runs for as long as the block; it is cut off at its end, as if it were killed."""
    node = Node(world, **options)
    async with open_background() as nursery:
        nursery.start_soon(node.run, trio.Event())
        yield node


@asynccontextmanager
async def open_service(
    world: World, node: Node | None = None, *, backlog: Backlog | None = None, meter: Meter = NULL_METER
) -> AsyncIterator[Service]:
    """A service by itself, or that of a running node."""
    backends = world.backends()
    async with (
        open_background() as background,
        wired_service(
            Config(),
            backends,
            (node or Node(world)).processing,
            backlog or Backlog(BacklogPolicy(100), jobs=world.jobs, queue=world.queue),
            validator=world.types,
            background=background,
            meter=meter,
            clock=now,
        ) as service,
    ):
        yield service


def submission(key: str | None = None, user_id: str = USER, **parameters: object) -> Submission:
    return Submission("report", parameters, user_id, idempotency_key=key)
