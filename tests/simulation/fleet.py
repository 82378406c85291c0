"""A fleet of nodes on trio's mock clock, under given traffic and faults.

Real: the nodes' poller, worker, bulkheads, breakers, heartbeat, drain and figures, and with them all of ``core``.
Modelled: the browsers, the queue, the database, and the group that starts and ends machines. Three things are
coarser than in the daemon, so that a day takes a minute: a node refreshes its breakers and renews its jobs less often,
and one triage serves all nodes.
"""

import logging
import math
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from unittest import mock

import structlog
import trio
from trio.testing import MockClock

from reportd.app.upkeep import Upkeep
from reportd.breakers import manager
from reportd.breakers.manager import Breakers
from reportd.concurrency.nurseries import open_background
from reportd.concurrency.supervisor import Supervisor
from reportd.core.breaker.breaker import BreakerPolicy
from reportd.core.capacity.scaling import ScalingPolicy
from reportd.core.jobs.job import Job, to_message
from reportd.core.jobs.transitions import TERMINAL, JobEvent, JobState
from reportd.core.repair.message import Known
from reportd.ports import Outgoing
from reportd.work import heartbeat
from reportd.work.job_waiters import JobWaiters
from tests.daemon.node import USER, run_inline
from tests.fakes import EPOCH, now
from tests.fakes.checking import InlineReader
from tests.simulation.group import MINUTE, Blackboard, Group, GroupPolicy
from tests.simulation.node import SLOTS, Node, Shared
from tests.simulation.traffic import POISON, Arrival

REFRESH_SECONDS = 5.0
"""How often a node refreshes its breakers; the daemon does so twice a second."""

RENEW_SECONDS = 30.0
"""How often a node renews its jobs; the daemon does so every five seconds."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One minute: visible messages, nodes in service, desired nodes, busy slots."""

    at: float
    backlog: int
    nodes: int
    desired: int
    busy: int


@dataclass(frozen=True)
class Scenario:
    """``losses``: when a node dies with its work. ``broken``: from when to when one report type has a bug. ``nodes``:
    how many there are at the beginning. ``marks``: what the plot points out.
    """

    name: str
    seconds: float
    traffic: Sequence[Arrival]
    losses: Sequence[float] = ()
    broken: tuple[float, float] = (0.0, 0.0)
    nodes: int = 1
    marks: Sequence[tuple[float, float, str]] = ()


@dataclass
class Outcome:
    """``waits``: when a report came, and how long until its first slot. The type with a bug is left out, because its
    breaker makes it wait; ``faults``: how many slots it used in vain.

    ``given_back``: renders that the end of a node's drain cut off. ``stored_twice``: PDFs that were.
    ``states``: how many jobs ended how. ``node_seconds``: of all machines, from their start to their end.
    """

    samples: list[Sample] = field(default_factory=list)
    waits: list[tuple[float, float]] = field(default_factory=list)
    states: dict[JobState, int] = field(default_factory=dict)
    unfinished: int = 0
    stored_twice: int = 0
    node_seconds: float = 0.0
    scaled_in: int = 0
    given_back: int = 0
    faults: int = 0
    lost: int = 0
    most_nodes: int = 0

    def wait_seconds(self, share: float, since: float = 0.0, until: float = math.inf) -> float:
        """Return the wait within which that share of the reports of that time got a slot; 0 without reports."""
        waits = sorted(wait for at, wait in self.waits if since <= at < until)
        return waits[min(len(waits) - 1, int(share * len(waits)))] if waits else 0.0


def run(scenario: Scenario, policy: ScalingPolicy, group: GroupPolicy, seed: int = 0) -> Outcome:
    """Run the scenario. The same arguments give the same outcome."""
    with _deterministic(seed), _quiet():
        return trio.run(_run, scenario, policy, group, seed, clock=MockClock(autojump_threshold=0))


@contextmanager
def _deterministic(seed: int) -> Iterator[None]:
    """Fix the order of ready tasks, which trio shuffles so that nobody relies on it."""
    inside = trio._core._run
    state = inside._r.getstate()
    with mock.patch.object(inside, "_ALLOW_DETERMINISTIC_SCHEDULING", new=True):
        inside._r.seed(seed)
        yield
    inside._r.setstate(state)


@contextmanager
def _quiet() -> Iterator[None]:
    with (
        mock.patch.object(trio.to_thread, "run_sync", run_inline),
        mock.patch.object(manager, "REFRESH_SECONDS", REFRESH_SECONDS),
        mock.patch.object(heartbeat, "RENEW_SECONDS", RENEW_SECONDS),
    ):
        before = structlog.get_config()
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
        try:
            yield
        finally:
            structlog.configure(**before)


async def _run(scenario: Scenario, policy: ScalingPolicy, group: GroupPolicy, seed: int) -> Outcome:
    async with open_background() as nursery:
        fleet = _Fleet(scenario, policy, group, random.Random(seed), nursery)
        await fleet.live()
        return fleet.outcome


class _Fleet:
    def __init__(
        self, scenario: Scenario, policy: ScalingPolicy, group: GroupPolicy, rng: random.Random, nursery: trio.Nursery
    ) -> None:
        self.outcome = Outcome()
        self._scenario = scenario
        self._rng = rng
        self._nursery = nursery
        self._board = Blackboard()
        self._group = Group(group, scenario.nodes)
        types = sorted({arrival.report_type for arrival in scenario.traffic})
        self._shared = Shared(rng, self._board, policy, types, scenario.broken)
        self._in_service: dict[str, tuple[Node, trio.CancelScope]] = {}
        self._coming = 0
        self._machines = 0

    async def live(self) -> None:
        """Run until the traffic is over and every job is settled, at most for twice the scenario's time."""
        for _ in range(self._scenario.nodes):
            self._start(0.0)
        self._nursery.start_soon(self._triage)
        for at in self._scenario.losses:
            self._nursery.start_soon(self._lose, at)
        self._nursery.start_soon(self._watch)
        await self._send()
        with trio.move_on_after(self._scenario.seconds):
            while self._unfinished():
                await trio.sleep(MINUTE)
        self._tell()

    async def _send(self) -> None:
        queue = self._shared.queue
        for arrival in self._scenario.traffic:
            await trio.sleep_until(arrival.at)
            self._shared.arrivals[arrival.task_id] = arrival
            job = Job(arrival.task_id, arrival.report_type, {}, USER, EPOCH + arrival.at)
            await queue.send([Outgoing(to_message(job), job.task_id, job.report_type, job.user_id)])
        await trio.sleep_until(self._scenario.seconds)

    async def _triage(self) -> None:
        shared = self._shared
        upkeep = Upkeep(
            shared.config,
            shared.backends,
            node="triage",
            reader=InlineReader(Known({name: name for name in shared.config.reports}, lambda _, __: [])),
            breakers=Breakers(
                shared.backends.breaker_store, BreakerPolicy(), node="triage", report_types=shared.config.reports
            ),
            waiters=JobWaiters(),
            on_quarantined=lambda _: None,
            supervisor=Supervisor(now),
            clock=now,
        )
        await upkeep.triage.run()

    # --- machines -------------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Sample and scale once a minute, as the group does."""
        while True:
            await trio.sleep(MINUTE)
            depth = await self._shared.queue.depth()
            desired = self._group.decide(self._board.read(), len(self._in_service))
            busy = sum(node.renderer.busy for node, _ in self._in_service.values())
            sample = Sample(trio.current_time(), depth.visible, len(self._in_service), desired, busy)
            self.outcome.samples.append(sample)
            for _ in range(desired - len(self._in_service) - self._coming):
                self._start(self._group.boot_seconds(self._rng))
            for _ in range(len(self._in_service) - desired):
                self._scale_in()

    def _start(self, boot_seconds: float) -> None:
        self._machines += 1
        self._coming += 1
        self._nursery.start_soon(self._machine, f"node-{self._machines:04}", boot_seconds)

    async def _machine(self, name: str, boot_seconds: float) -> None:
        begun = trio.current_time()
        await trio.sleep(boot_seconds)
        self._coming -= 1
        node, life = Node(name, self._shared), trio.CancelScope()
        self._in_service[name] = node, life
        self.outcome.most_nodes = max(self.outcome.most_nodes, len(self._in_service))
        try:
            with life:
                await node.run()
        finally:
            self._in_service.pop(name, None)
            self.outcome.node_seconds += trio.current_time() - begun

    def _scale_in(self) -> None:
        """Let a node drain. It is no longer in service; the lifecycle hook waits for the drain."""
        name = self._rng.choice(sorted(self._in_service))
        node, _ = self._in_service.pop(name)
        node.stop.set()
        self.outcome.scaled_in += 1

    async def _lose(self, at: float) -> None:
        await trio.sleep_until(at)
        if not self._in_service:
            return
        name = self._rng.choice(sorted(self._in_service))
        _, life = self._in_service[name]
        life.cancel()
        self.outcome.lost += 1

    # --- what became of it ----------------------------------------------------------------------------------

    def _unfinished(self) -> int:
        records = self._shared.jobs.records
        return len(self._scenario.traffic) - sum(record.state in TERMINAL for record in records.values())

    def _tell(self) -> None:
        shared, outcome = self._shared, self.outcome
        outcome.unfinished = self._unfinished()
        for record in shared.jobs.records.values():
            outcome.states[record.state] = outcome.states.get(record.state, 0) + 1
        outcome.waits = [
            (arrival.at, shared.begun.get(arrival.task_id, trio.current_time()) - arrival.at)
            for arrival in self._scenario.traffic
            if arrival.report_type != POISON
        ]
        outcome.faults = shared.faults
        outcome.given_back = sum(event is JobEvent.RELEASED for _, event, _ in shared.jobs.moves)
        outcome.stored_twice = len(shared.artifacts.puts) - len(set(shared.artifacts.puts))


def ideal_node_seconds(scenario: Scenario, least: int) -> float:
    """Return the machine time of an ideal fleet: in every minute exactly as many machines, in fractions, as the work of
    that minute fills, without a start-up time, and at least ``least``.
    """
    return MINUTE * sum(ideal_nodes(scenario, least))


def ideal_nodes(scenario: Scenario, least: int) -> list[float]:
    """Return the machines of the ideal fleet, minute by minute."""
    work = [0.0] * math.ceil(scenario.seconds / MINUTE)
    for arrival in scenario.traffic:
        work[int(arrival.at / MINUTE)] += arrival.seconds
    return [max(float(least), seconds / (SLOTS * MINUTE)) for seconds in work]
