"""A node of the simulated fleet: the daemon's own parts, put together as ``reportd.app`` does it, over a few fakes.

Modelled are only the browser, which takes a slot for as long as the traffic says, and what is outside of the node.
"""

import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import trio

from reportd.adapters.memory_breakers import MemoryBreakers
from reportd.breakers.manager import Breakers
from reportd.concurrency.nurseries import open_background
from reportd.concurrency.slots import ResizableSemaphore
from reportd.core.breaker.breaker import BreakerPolicy
from reportd.core.capacity.scaling import Mean, ScalingPolicy
from reportd.core.faults import FaultError, FaultKind
from reportd.core.jobs.job import Job, StoredJob, from_message
from reportd.core.jobs.retry import RetryPolicy
from reportd.core.jobs.submission import FieldProblem
from reportd.ports import Pdf, RenderRequest, Slot
from reportd.status.demand import Scaling, ScalingMetricsSink
from reportd.work.bulkheads import Bulkheads
from reportd.work.heartbeat import extend_visibility
from reportd.work.in_flight import InFlightTasks
from reportd.work.job_waiters import JobWaiters
from reportd.work.poller import Poller, drain
from reportd.work.settlement import MessageSettler
from reportd.work.timeouts import LearnedTimeouts
from reportd.work.worker import Worker
from tests.fakes import MemoryArtifacts, MemoryJobs, now
from tests.fakes.rendering import pdf_of, request_for
from tests.simulation.queue import FleetQueue
from tests.simulation.traffic import POISON, Arrival

SLOTS = 2
PREFETCH = 2
TIMEOUT_SECONDS = 60.0
DRAIN_SECONDS = 30.0


class Shared:
    """What outlives a node: queues, job store, the breakers' store, and what is known of each report.

    ``begun``: when a report was first given a slot; ``broken``: from when to when the type with the bug is so, and
    ``faults``: how often that showed.
    """

    def __init__(
        self, rng: random.Random, board: ScalingMetricsSink, policy: ScalingPolicy, broken: tuple[float, float]
    ) -> None:
        self.rng = rng
        self.board = board
        self.policy = policy
        self.broken = broken
        self.dead = FleetQueue()
        self.queue = FleetQueue(max_receive_count=1000, dead=self.dead)
        self.jobs = MemoryJobs()
        self.artifacts = MemoryArtifacts()
        self.breakers = MemoryBreakers(now)
        self.arrivals: dict[str, Arrival] = {}
        self.begun: dict[str, float] = {}
        self.faults = 0


class FleetTypes:
    """Every report type is known, and anything will do for its parameters."""

    async def message(self, body: str) -> Job | StoredJob:
        return from_message(body)

    async def check(self, report_type: str, parameters: Mapping[str, Any]) -> list[FieldProblem]:
        del report_type, parameters
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

    async def render(self, request: RenderRequest, *, alone: bool) -> Pdf:
        del alone
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
    """``run`` is its life, up to the last message; ``stop`` lets it drain."""

    def __init__(self, name: str, shared: Shared, types: list[str]) -> None:
        self.name = name
        self.stop = trio.Event()
        self.renderer = FleetRenderer(shared)
        self._shared = shared
        self._in_flight = InFlightTasks()
        self._breakers = Breakers(
            shared.breakers,
            BreakerPolicy(),
            node=name,
            report_types=types,
            returns_per_second=lambda: 10.0 * SLOTS,
            chance=shared.rng.random,
        )
        bulkheads = Bulkheads(dict.fromkeys(types, 0), lambda: SLOTS, 2.0, self._breakers, PREFETCH)
        settler = MessageSettler(
            jobs=shared.jobs,
            queue=shared.queue,
            dead=shared.dead,
            artifacts=shared.artifacts,
            waiters=JobWaiters(),
            policy=RetryPolicy(),
            max_receive_count=1000,
            clock=now,
            chance=shared.rng.random,
        )
        worker = Worker(
            jobs=shared.jobs,
            artifacts=shared.artifacts,
            renderer=self.renderer,
            types=FleetTypes(),
            breakers=self._breakers,
            bulkheads=bulkheads,
            timeouts=LearnedTimeouts({}),
            in_flight=self._in_flight,
            settler=settler,
            node=name,
            clock=now,
        )
        self._poller = Poller(shared.queue, worker.handle, SLOTS + PREFETCH, at_most=bulkheads.at_most)
        self._breakers.on_change = bulkheads.look_again
        bulkheads.on_change = self._poller.look_again

    async def run(self) -> None:
        shared = self._shared
        async with open_background() as background, trio.open_nursery() as taking:
            scaling = Scaling(
                jobs=shared.jobs,
                slots=lambda: SLOTS,
                render_seconds=lambda: self.renderer.mean.seconds,
                policy=shared.policy,
                looks=background,
                fresh_seconds=30.0,
            )
            await background.start(self._breakers.run)
            background.start_soon(extend_visibility, shared.queue, self._in_flight)
            background.start_soon(scaling.publish, shared.queue.depth, shared.board, self.name)
            taking.start_soon(self._poller.run)
            await self.stop.wait()
            self._poller.stop()
            await drain(self._in_flight, DRAIN_SECONDS)
