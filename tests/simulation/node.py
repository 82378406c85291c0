"""A node of the simulated fleet: the daemon's own parts, wired by ``reportd.app``, over a few fakes.

Only the browser is modelled, which takes a slot for as long as the traffic says, and what is outside of the node.
"""

import random
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import trio

from reportd.adapters.memory_breakers import MemoryBreakers
from reportd.app.backends import Backends
from reportd.app.processing import Processing
from reportd.concurrency.nurseries import open_background
from reportd.concurrency.slots import ResizableSemaphore
from reportd.concurrency.supervisor import Supervisor
from reportd.config import Config
from reportd.config.models import QueueOptions
from reportd.config.report_types import ReportType
from reportd.core.capacity.scaling import Mean, ScalingPolicy
from reportd.core.faults import FaultError, FaultKind
from reportd.core.jobs.job import Job, StoredJob, from_message
from reportd.core.jobs.options import JobOptions
from reportd.core.jobs.submission import FieldProblem
from reportd.ports import OnProgress, Pdf, RenderRequest, Slot, ignore_progress
from reportd.status.demand import Scaling, ScalingMetricsSink
from tests.daemon.node import MAX_RECEIVE_COUNT, PAGE
from tests.fakes import MemoryArtifacts, MemoryDeadLetters, MemoryJobs, now
from tests.fakes.alerts import MemoryAlerts
from tests.fakes.audit import FakeAudit
from tests.fakes.evidence import MemoryEvidence
from tests.fakes.fleet import MemoryFleet
from tests.fakes.messenger import FakeMessenger
from tests.fakes.outbox import MemoryOutbox
from tests.fakes.rendering import pdf_of, request_for
from tests.fakes.sessions import MemoryEndedSessions
from tests.simulation.queue import FleetQueue
from tests.simulation.traffic import POISON, Arrival

SLOTS = 2
TIMEOUT_SECONDS = 60.0


class Shared:
    """What outlives a node: the configuration, the queues and stores, and what is known of each report.

    ``begun``: when a report first got a slot. ``broken``: from when to when one type has a bug. ``faults``: how many
    renders failed by it.
    """

    def __init__(
        self,
        rng: random.Random,
        board: ScalingMetricsSink,
        policy: ScalingPolicy,
        types: Iterable[str],
        broken: tuple[float, float],
    ) -> None:
        self.config = Config(
            queue=QueueOptions(max_receive_count=MAX_RECEIVE_COUNT),
            reports={name: ReportType(url=PAGE) for name in types},
        )
        self.rng = rng
        self.board = board
        self.policy = policy
        self.broken = broken
        self.dead = FleetQueue()
        self.queue = FleetQueue(max_receive_count=MAX_RECEIVE_COUNT, dead=self.dead)
        self.jobs = MemoryJobs()
        self.artifacts = MemoryArtifacts()
        self.backends = Backends(
            jobs=self.jobs,
            letters=MemoryDeadLetters(self.jobs),
            audit=FakeAudit(),
            queue=self.queue,
            dead=self.dead,
            artifacts=self.artifacts,
            breaker_store=MemoryBreakers(now),
            outbox=MemoryOutbox(),
            messenger=FakeMessenger(),
            alert_store=MemoryAlerts(),
            fleet=MemoryFleet(),
            ended_sessions=MemoryEndedSessions(),
            evidence=MemoryEvidence(),
            session_secret=b"secret",
            scaling_metrics=board,
            conditions={},
            single_node=False,
        )
        self.arrivals: dict[str, Arrival] = {}
        self.begun: dict[str, float] = {}
        self.faults = 0


class FleetTypes:
    """Knows every report type, and accepts any parameters."""

    async def message(self, body: str) -> Job | StoredJob:
        return from_message(body)

    async def check(self, report_type: str, parameters: Mapping[str, Any], options: JobOptions) -> list[FieldProblem]:
        del report_type, parameters, options
        return []

    def canonical(self, report_type: str) -> str:
        return report_type

    async def request(self, job: Job) -> RenderRequest:
        return request_for(job.task_id, timeout_seconds=TIMEOUT_SECONDS)


class FleetRenderer:
    """Implements ``ports.Renderer``."""

    def __init__(self, shared: Shared) -> None:
        self.mean = Mean()
        self._shared = shared
        self._places = ResizableSemaphore(SLOTS)

    @property
    def busy(self) -> int:
        return SLOTS - self._places.free

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[Slot]:
        await self._places.acquire()
        try:
            yield self
        finally:
            self._places.release()

    async def render(
        self, request: RenderRequest, *, dedicated_browser: bool, on_progress: OnProgress = ignore_progress
    ) -> Pdf:
        del dedicated_browser, on_progress
        shared, at = self._shared, trio.current_time()
        arrival = shared.arrivals[request.task_id]
        shared.begun.setdefault(request.task_id, at)
        if arrival.report_type == POISON and shared.broken[0] <= at < shared.broken[1]:
            await trio.sleep(TIMEOUT_SECONDS)
            shared.faults += 1
            raise FaultError(FaultKind.TIMEOUT, "as the traffic has it")
        await trio.sleep(arrival.seconds)
        self.mean = self.mean.after(arrival.seconds)
        return pdf_of(request.task_id)


class Node:
    """``run`` lasts until the last message is settled; setting ``stop`` drains the node."""

    def __init__(self, name: str, shared: Shared) -> None:
        self.name = name
        self.stop = trio.Event()
        self.renderer = FleetRenderer(shared)
        self._shared = shared
        self._processing = Processing(
            shared.config,
            shared.backends,
            node=name,
            renderer=self.renderer,
            slots=lambda: SLOTS,
            types=FleetTypes(),
            supervisor=Supervisor(now),
            clock=now,
            chance=shared.rng.random,
        )

    async def run(self) -> None:
        shared = self._shared
        async with open_background() as background, trio.open_nursery() as taking:
            scaling = Scaling(
                jobs=shared.jobs,
                slots=lambda: SLOTS,
                render_seconds=lambda: self.renderer.mean.seconds,
                policy=shared.policy,
                nursery=background,
                fresh_seconds=30.0,
            )
            await background.start(self._processing.breakers.run)
            self._processing.start_heartbeat(background)
            background.start_soon(scaling.publish, shared.queue.depth, shared.board, self.name)
            taking.start_soon(self._processing.poller.run)
            await self.stop.wait()
            await self._processing.drain()
