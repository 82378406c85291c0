"""Makes the snapshot that the status page shows, and keeps the history of the queues' depths."""

import math
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, TypeVar

import trio

from reportd.breakers.manager import Breakers
from reportd.browsers.pool import Pool
from reportd.concurrency.cached import DUTY_FACTOR, Cached
from reportd.concurrency.supervisor import Supervisor
from reportd.core.capacity.scaling import Demand
from reportd.core.status.snapshot import (
    RECENT,
    BrowserView,
    Figures,
    Load,
    Node,
    Part,
    QueueView,
    Series,
    Snapshot,
    TypeView,
    sum_figures,
)
from reportd.maintenance.rescuer import Rescuer
from reportd.ports import DeadLetters, Depth, Fleet, Heartbeat, JobFilter, Jobs, Queue, Record, UnavailableError
from reportd.status.readiness import PATIENCE_SECONDS, Readiness
from reportd.telemetry.heartbeat import all_nodes
from reportd.telemetry.history import History
from reportd.work.bulkheads import Bulkheads
from reportd.work.in_flight import InFlightTasks
from reportd.work.poller import Poller

SNAPSHOT_SECONDS = 0.7
"""The maximum age of a snapshot, so that the page shows a change within a second."""

HEARTBEATS_SECONDS = 2.0

SAMPLE_SECONDS = 5.0
"""Interval of the samples of a queue's depth for its history, if asking for it costs nothing."""

GROUPS = 10
"""The number of causes of dead letters that are listed, newest first."""

MEMORY_STEP_MIB = 10

T = TypeVar("T")


class Status:
    """The state of this node and of the cluster. Made by ``app``; the web interface asks it.

    ``nursery``: where a query that hangs goes on. ``part_trouble``: why an outside part does not work, by its last uses
    and probes.

    ``depth_seconds``: the maximum age of a queue's depth for a snapshot. Without readers, the depth is sampled every
    ``sample_seconds`` for the history, or every ``idle_seconds`` while the queues are empty and this node has no jobs.
    """

    def __init__(
        self,
        *,
        jobs: Jobs,
        depth: Callable[[], Awaitable[Depth]],
        dead: Queue,
        pool: Pool,
        poller: Poller,
        breakers: Breakers,
        bulkheads: Bulkheads,
        in_flight: InFlightTasks,
        history: History,
        fleet: Fleet,
        stop: trio.Event,
        node: str,
        nursery: trio.Nursery,
        supervisor: Supervisor,
        part_trouble: Callable[[str], str] = lambda _part: "",
        template_troubles: Callable[[], Mapping[str, str]] = dict,
        letters: DeadLetters,
        demand: Callable[[Depth], Awaitable[Demand]],
        rescuer: Rescuer,
        depth_seconds: float = 0.0,
        sample_seconds: float = SAMPLE_SECONDS,
        idle_seconds: float = SAMPLE_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._breakers = breakers
        self._template_troubles = template_troubles
        self._bulkheads = bulkheads
        self._pool = pool
        self._in_flight = in_flight
        self._history = history
        self._stop = stop
        self._node = node
        self._supervisor = supervisor
        self._demand = demand
        self._rescuer = rescuer
        self._sample_seconds = sample_seconds
        self._idle_seconds = idle_seconds
        self._clock = clock
        self._started_at = clock()
        self._readiness = Readiness(
            jobs=jobs,
            pool=pool,
            poller=poller,
            breakers=breakers,
            supervisor=supervisor,
            stop=stop,
            part_trouble=part_trouble,
            nursery=nursery,
        )

        def cached(part: str, query: Callable[[], Awaitable[T]], fresh: float, duty_factor: float = 0.0) -> Cached[T]:
            return Cached(
                part, query, nursery, fresh_seconds=fresh, patience_seconds=PATIENCE_SECONDS, duty_factor=duty_factor
            )

        self._depths = {
            "main": cached("queue", depth, depth_seconds),
            "dead": cached("queue", dead.depth, depth_seconds),
        }
        self._counts = cached("database", jobs.counts, 0.0, DUTY_FACTOR)
        self._loads = cached("database", jobs.loads, 0.0, DUTY_FACTOR)
        self._recent = cached("database", partial(jobs.search, JobFilter(), RECENT), 0.0)
        self._letters = cached("database", partial(letters.groups, GROUPS), 0.0, DUTY_FACTOR)
        self._heartbeats = cached("database", fleet.heartbeats, HEARTBEATS_SECONDS)
        self._snapshot = Cached(
            "status",
            self._make_snapshot,
            nursery,
            fresh_seconds=SNAPSHOT_SECONDS,
            patience_seconds=3 * PATIENCE_SECONDS,
        )

    async def parts(self) -> dict[str, tuple[bool, str]]:
        """Return for each part whether it works, and why not: see ``Readiness.parts``."""
        return await self._readiness.parts()

    def here(self) -> Node:
        """Return the state of this node."""
        pool = self._pool.state()
        browsers = tuple(
            BrowserView(browser.pid, browser.jobs, browser.busy, _in_steps(browser.memory_mib), browser.retiring)
            for browser in pool.browsers
        )
        return Node(
            name=self._node,
            since=self._started_at,
            draining=self._stop.is_set(),
            slots=pool.slots,
            busy=pool.busy,
            waiting=pool.waiting,
            stalled=pool.stalled,
            held=len(self._in_flight),
            lost=pool.crashed,
            trouble=pool.trouble,
            resent=self._rescuer.resent,
            resent_at=self._rescuer.resent_at,
            browsers=browsers,
            figures=self._history.figures(),
        )

    async def snapshot(self) -> Snapshot:
        """Return the state of everything, shared by all readers. Unavailable values are left out."""
        return await self._snapshot.get()

    def changed(self) -> None:
        """Make the next snapshot show what a user has just done."""
        for cached in (self._snapshot, self._recent, self._loads, self._counts, self._letters):
            cached.forget()

    async def run(self) -> None:
        """Sample the queues' depths for their history, also without readers."""
        empty, next_sample_at = False, 0.0
        while True:
            if not empty or self._in_flight or trio.current_time() >= next_sample_at:
                next_sample_at = trio.current_time() + self._idle_seconds
                depths = [await self._depth(name) for name in self._depths]
                empty = not any(depth is None or _total(depth) for depth in depths)
            await trio.sleep(self._sample_seconds)

    async def _make_snapshot(self) -> Snapshot:
        results: dict[str, Any] = {}

        async def run(name: str, query: Callable[[], Awaitable[Any]]) -> None:
            results[name] = await query()

        queries: dict[str, Callable[[], Awaitable[Any]]] = {
            "parts": self.parts,
            "main": self._depth_and_demand,
            "dead": partial(self._depth, "dead"),
            "counts": partial(_or_none, self._counts),
            "loads": partial(_or_none, self._loads),
            "recent": partial(_or_none, self._recent),
            "letters": partial(_or_none, self._letters),
            "heartbeats": partial(_or_none, self._heartbeats),
        }
        async with trio.open_nursery() as nursery:
            for name, query in queries.items():
                nursery.start_soon(run, name, query)
        heartbeats: list[Heartbeat] = results["heartbeats"] or []
        nodes = all_nodes(heartbeats, self.here())
        recent: list[Record] | None = results["recent"]
        main, demand = results["main"]
        letters = results["letters"]
        return Snapshot(
            at=self._clock(),
            here=nodes[0],
            parts=tuple(Part(name, ok, detail) for name, (ok, detail) in results["parts"].items()),
            types=self._types(results["loads"], nodes),
            queue=self._queue_view(main, results["dead"]),
            demand=demand,
            letters=None if letters is None else tuple(group.view() for group in letters),
            jobs=results["counts"],
            recent=None if recent is None else tuple(record.view() for record in recent),
            nodes=nodes,
            alone=self._breakers.trouble,
            troubles=self._supervisor.troubles(),
        )

    def _types(self, loads: dict[str, Load] | None, nodes: tuple[Node, ...]) -> tuple[TypeView, ...]:
        open_types = self._breakers.resting()
        present = [node for node in nodes if not node.gone]
        slots = sum(node.slots for node in present)
        figures = nodes[0].figures or {}
        troubles = self._template_troubles()
        views = []
        for breaker in self._breakers.snapshot():
            name = breaker.report_type
            limit = self._bulkheads.limit(name)
            views.append(
                TypeView(
                    breaker=breaker,
                    resting=name in open_types,
                    limit=slots if math.isinf(limit) else min(slots, int(limit) * len(present)),
                    load=None if loads is None else loads.get(name, Load()),
                    figures=sum_figures(nodes, name, figures.get(name, Figures())),
                    trouble=troubles.get(name, ""),
                )
            )
        return tuple(views)

    def _queue_view(self, main: Depth | None, dead: Depth | None) -> QueueView | None:
        if main is None:
            return None
        depths = self._history.depths
        return QueueView(
            visible=Series(main.visible, depths("visible")),
            in_flight=Series(main.in_flight, depths("in_flight")),
            delayed=Series(main.delayed, depths("delayed")),
            held=Series(main.held, depths("held")),
            dead=None if dead is None else Series(_total(dead), depths("dead")),
            oldest_at=main.oldest_at,
            stored_p95_seconds=self._history.stored_p95_seconds(),
        )

    async def _depth_and_demand(self) -> tuple[Depth | None, Demand | None]:
        depth = await self._depth("main")
        return depth, None if depth is None else await self._demand(depth)

    async def _depth(self, name: str) -> Depth | None:
        """Return a queue's depth and add it to the history; None while the queue does not tell."""
        depth = await _or_none(self._depths[name])
        if depth is not None and name == "dead":
            self._history.saw_depth("dead", _total(depth))
        elif depth is not None:
            self._history.saw_depth("visible", depth.visible)
            self._history.saw_depth("in_flight", depth.in_flight)
            self._history.saw_depth("delayed", depth.delayed)
            self._history.saw_depth("held", depth.held)
        return depth


async def _or_none(cached: Cached[T]) -> T | None:
    try:
        return await cached.get()
    except UnavailableError:  # ``parts`` says why
        return None


def _in_steps(mib: float) -> int:
    return round(mib / MEMORY_STEP_MIB) * MEMORY_STEP_MIB


def _total(depth: Depth) -> int:
    return depth.visible + depth.in_flight + depth.delayed + depth.held
