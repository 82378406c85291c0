"""A fleet of nodes on trio's mock clock: it is given traffic and trouble, and tells how it fared.

What is real: the nodes' poller, worker, bulkheads, manager, heartbeat, drain and figures, and with them all of
``core``. What is modelled: the browsers, the queue, the database, and the group that starts and ends machines. Two
things are coarser than in the daemon, so that a day takes a minute: a node looks at the breakers of the others every
few seconds, and one triage serves all.
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

from reportd.breakers import manager
from reportd.breakers.manager import Breakers
from reportd.concurrency.nurseries import open_background
from reportd.core.breaker.breaker import BreakerPolicy
from reportd.core.capacity.scaling import ScalingPolicy
from reportd.core.dead_letters.triage import TriagePolicy
from reportd.core.jobs.job import Job, to_message
from reportd.core.jobs.transitions import TERMINAL, JobEvent, JobState
from reportd.core.repair.message import Known
from reportd.dead_letters.quarantine import Quarantine
from reportd.dead_letters.triage import Triage
from reportd.ports import Outgoing
from reportd.work.job_waiters import JobWaiters
from tests.daemon.node import USER, run_inline
from tests.fakes import EPOCH, MemoryDeadLetters, now
from tests.fakes.audit import FakeAudit
from tests.fakes.checking import InlineReader
from tests.simulation.group import MINUTE, Blackboard, Group, GroupPolicy
from tests.simulation.node import SLOTS, Node, Shared
from tests.simulation.traffic import POISON, Arrival

REFRESH_SECONDS = 5.0
"""How often a node looks at the breakers of the others; the daemon does so twice a second."""

NOTICE_SECONDS = 60.0
"""How long the group takes to see that a node is gone."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Of one minute: messages that wait, nodes in service, nodes that were desired, slots that were busy."""

    at: float
    backlog: int
    nodes: int
    desired: int
    busy: int


@dataclass(frozen=True)
class Scenario:
    """``losses``: when a node dies, with all it works on. ``broken``: while one report type has a bug. ``nodes``: how
    many there are at the beginning. ``marks``: what the plot points out.
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
    """``waits``: when a report came, and how long until it was first given a slot. Those of the type with a bug are
    left out, for its breaker makes them wait; ``faults`` is how many slots it was given in vain.

    ``given_back``: how many renders were cut off by the end of a node's drain. ``stored_twice``: how many PDFs were.
    ``states``: how many jobs ended how; ``node_seconds``: of all machines, from their start to their end.
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
        """Within which that share of those who came in that time had a slot; 0 when nobody came."""
        waits = sorted(wait for at, wait in self.waits if since <= at < until)
        return waits[min(len(waits) - 1, int(share * len(waits)))] if waits else 0.0


def run(scenario: Scenario, policy: ScalingPolicy, group: GroupPolicy, seed: int = 0) -> Outcome:
    """The same for the same arguments."""
    with _deterministic(seed), _quiet():
        return trio.run(_run, scenario, policy, group, seed, clock=MockClock(autojump_threshold=0))


@contextmanager
def _deterministic(seed: int) -> Iterator[None]:
    """trio shuffles the tasks that are ready, so that nobody relies on their order."""
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
        self._shared = Shared(rng, self._board, policy, scenario.broken)
        self._types = sorted({arrival.report_type for arrival in scenario.traffic})
        self._in_service: dict[str, tuple[Node, trio.CancelScope]] = {}
        self._coming = 0
        self._machines = 0

    async def live(self) -> None:
        """Until the traffic is over and every job is settled, at most twice as long as it lasts."""
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
        letters, audit = MemoryDeadLetters(shared.jobs), FakeAudit()
        triage = Triage(
            jobs=shared.jobs,
            queue=shared.queue,
            dead=shared.dead,
            letters=letters,
            quarantine=Quarantine(
                jobs=shared.jobs, letters=letters, audit=audit, waiters=JobWaiters(), node="triage", clock=now
            ),
            breakers=Breakers(shared.breakers, BreakerPolicy(), node="triage", report_types=self._types),
            reader=InlineReader(Known({name: name for name in self._types}, lambda _, __: [])),
            audit=audit,
            policy=TriagePolicy(),
            interval_seconds=5.0,
            node="triage",
            clock=now,
        )
        await triage.run()

    # --- machines -------------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Once a minute, as the group does."""
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
        node, life = Node(name, self._shared, self._types), trio.CancelScope()
        self._in_service[name] = node, life
        self.outcome.most_nodes = max(self.outcome.most_nodes, len(self._in_service))
        try:
            with life:
                await node.run()
        finally:
            self._in_service.pop(name, None)
            self.outcome.node_seconds += trio.current_time() - begun

    def _scale_in(self) -> None:
        """The lifecycle hook waits until the node has drained; it counts as in service no more."""
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
    """Of a fleet that has in every minute just the machines that the work of this minute fills, in fractions of one and
    as if they were there at once, but never fewer than the least.
    """
    return MINUTE * sum(ideal_nodes(scenario, least))


def ideal_nodes(scenario: Scenario, least: int) -> list[float]:
    """The same, minute by minute."""
    work = [0.0] * math.ceil(scenario.seconds / MINUTE)
    for arrival in scenario.traffic:
        work[int(arrival.at / MINUTE)] += arrival.seconds
    return [max(float(least), seconds / (SLOTS * MINUTE)) for seconds in work]
