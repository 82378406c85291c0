"""What the daemon says of itself: ready or not, part by part, and the snapshot that the status page shows."""

import math
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeVar

import trio

from reportd.breakers.manager import Breakers
from reportd.browsers.pool import Pool
from reportd.concurrency.cached import DUTY_FACTOR, Cached
from reportd.concurrency.supervisor import Supervisor
from reportd.core.capacity.scaling import Demand
from reportd.core.status.snapshot import (
    BACKGROUND,
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
    in_all,
)
from reportd.maintenance.rescuer import Rescuer
from reportd.ports import DeadLetters, Depth, Fleet, Heartbeat, JobFilter, Jobs, Queue, Record, UnavailableError
from reportd.telemetry.heartbeat import all_nodes
from reportd.telemetry.history import History
from reportd.work.bulkheads import Bulkheads
from reportd.work.in_flight import InFlightTasks
from reportd.work.poller import Poller

NOBODY = "00000000-0000-0000-0000-000000000000"

FRESH_SECONDS = 1.0
"""The database is asked whether it answers once in so long, however many ask the daemon whether it is ready."""

PATIENCE_SECONDS = 1.0

SNAPSHOT_SECONDS = 0.7
"""How old a snapshot may be, so that what happens is on the page within a second."""

SIGNS_SECONDS = 2.0

SAMPLE_SECONDS = 5.0
"""How often the depth of a queue goes into its history, if looking costs nothing."""

GROUPS = 10
"""Causes of dead letters that are listed: the last ones."""

MEMORY_STEP_MIB = 10

T = TypeVar("T")


class Status:
    """Made by ``app``; asked by the HTTP face. ``looks``: where a look goes on that hangs. ``ailing``: what ails a part
    from outside, as its last uses and its probes say.

    ``depth_seconds``: how old the depth of a queue may be while somebody looks; while nobody does, it is looked at
    every ``sample_seconds`` for the history, and every ``idle_seconds`` while the queues are empty and this node is
    given nothing.
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
        looks: trio.Nursery,
        troubles: Supervisor,
        ailing: Callable[[str], str] = lambda _part: "",
        letters: DeadLetters,
        demand: Callable[[Depth], Awaitable[Demand]],
        rescuer: Rescuer,
        depth_seconds: float = 0.0,
        sample_seconds: float = SAMPLE_SECONDS,
        idle_seconds: float = SAMPLE_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._poller = poller
        self._breakers = breakers
        self._bulkheads = bulkheads
        self._pool = pool
        self._in_flight = in_flight
        self._history = history
        self._stop = stop
        self._node = node
        self._troubles = troubles
        self._ailing = ailing
        self._demand = demand
        self._rescuer = rescuer
        self._sample_seconds = sample_seconds
        self._idle_seconds = idle_seconds
        self._clock = clock
        self._since = clock()

        def cached(part: str, look: Callable[[], Awaitable[T]], fresh: float, duty_factor: float = 0.0) -> Cached[T]:
            return Cached(
                part, look, looks, fresh_seconds=fresh, patience_seconds=PATIENCE_SECONDS, duty_factor=duty_factor
            )

        self._row = cached("database", partial(jobs.get, NOBODY), FRESH_SECONDS)
        self._depths = {
            "main": cached("queue", depth, depth_seconds),
            "dead": cached("queue", dead.depth, depth_seconds),
        }
        self._counts = cached("database", jobs.counts, 0.0, DUTY_FACTOR)
        self._loads = cached("database", jobs.loads, 0.0, DUTY_FACTOR)
        self._recent = cached("database", partial(jobs.search, JobFilter(), RECENT), 0.0)
        self._letters = cached("database", partial(letters.groups, GROUPS), 0.0, DUTY_FACTOR)
        self._signs = cached("database", fleet.signs, SIGNS_SECONDS)
        self._snapshot = Cached(
            "status", self._look, looks, fresh_seconds=SNAPSHOT_SECONDS, patience_seconds=3 * PATIENCE_SECONDS
        )

    async def parts(self) -> dict[str, tuple[bool, str]]:
        """Per part whether it works, and if not, why. Within PATIENCE_SECONDS, and never raises.

        Asks for one row; of the rest it says how the last use went. So a load balancer may ask all the time.
        """
        pool = self._pool.state()
        stopping = self._stop.is_set()
        taking = self._poller.trouble or self._troubles.trouble("poller") or self._ailing("queue")
        storing, recording = self._ailing("artifacts"), self._ailing("database")
        failing = "; ".join(f"{one.part}: {one.error}" for one in self._troubles.troubles())
        parts = {
            "browsers": (bool(pool.browsers), pool.trouble or f"{len(pool.browsers)} running"),
            "accepting": (not stopping, "draining" if stopping else "yes"),
            "queue": (not taking, taking or "answers"),
            # A node that has lost the others' breakers goes on alone, so this is told and no reason to be taken out.
            "breakers": (True, self._breakers.trouble or "shared, if there is a store to share"),
            BACKGROUND: (not failing, failing or "no trouble"),
            "artifacts": (not storing, storing or "no trouble"),
        }
        try:
            await self._row.get()
            parts["database"] = (not recording, recording or "answers")
        except UnavailableError as error:
            parts["database"] = (False, str(error))
        return parts

    def here(self) -> Node:
        """This node, as it tells of itself."""
        pool = self._pool.state()
        browsers = tuple(
            BrowserView(one.pid, one.jobs, one.busy, _in_steps(one.memory_mib), one.retiring) for one in pool.browsers
        )
        return Node(
            name=self._node,
            since=self._since,
            draining=self._stop.is_set(),
            slots=pool.slots,
            busy=pool.busy,
            waiting=pool.waiting,
            stalled=pool.stalled,
            held=len(self._in_flight),
            lost=pool.lost,
            trouble=pool.trouble,
            resent=self._rescuer.resent,
            resent_at=self._rescuer.resent_at,
            browsers=browsers,
            figures=self._history.figures(),
        )

    async def snapshot(self) -> Snapshot:
        """Everything at once, for any number of people who look; what is away is left out."""
        return await self._snapshot.get()

    def changed(self) -> None:
        """Somebody has done something, and who looks next must see it."""
        for one in (self._snapshot, self._recent, self._loads, self._counts, self._letters):
            one.forget()

    async def run(self) -> None:
        """Keep the history of the queues' depths, also while nobody looks."""
        empty, look_at = False, 0.0
        while True:
            if not empty or self._in_flight or trio.current_time() >= look_at:
                look_at = trio.current_time() + self._idle_seconds
                depths = [await self._depth(name) for name in self._depths]
                empty = not any(depth is None or _in_all(depth) for depth in depths)
            await trio.sleep(self._sample_seconds)

    async def _look(self) -> Snapshot:
        found: dict[str, Any] = {}

        async def find(name: str, look: Callable[[], Awaitable[Any]]) -> None:
            found[name] = await look()

        looks: dict[str, Callable[[], Awaitable[Any]]] = {
            "parts": self.parts,
            "main": self._backlog,
            "dead": partial(self._depth, "dead"),
            "counts": partial(_known, self._counts),
            "loads": partial(_known, self._loads),
            "recent": partial(_known, self._recent),
            "letters": partial(_known, self._letters),
            "signs": partial(_known, self._signs),
        }
        async with trio.open_nursery() as nursery:
            for name, look in looks.items():
                nursery.start_soon(find, name, look)
        signs: list[Heartbeat] = found["signs"] or []
        nodes = all_nodes(signs, self.here())
        recent: list[Record] | None = found["recent"]
        main, demand = found["main"]
        return Snapshot(
            at=self._clock(),
            here=nodes[0],
            parts=tuple(Part(name, ok, detail) for name, (ok, detail) in found["parts"].items()),
            types=self._types(found["loads"], nodes),
            queue=self._queue_view(main, found["dead"]),
            demand=demand,
            letters=None if found["letters"] is None else tuple(group.view() for group in found["letters"]),
            jobs=found["counts"],
            recent=None if recent is None else tuple(record.view() for record in recent),
            nodes=nodes,
            alone=self._breakers.trouble,
            troubles=self._troubles.troubles(),
        )

    def _types(self, loads: dict[str, Load] | None, nodes: tuple[Node, ...]) -> tuple[TypeView, ...]:
        resting = self._breakers.resting()
        there = [node for node in nodes if not node.gone]
        slots = sum(node.slots for node in there)
        figures = nodes[0].figures or {}
        views = []
        for breaker in self._breakers.snapshot():
            name = breaker.report_type
            limit = self._bulkheads.limit(name)
            views.append(
                TypeView(
                    breaker=breaker,
                    resting=name in resting,
                    limit=slots if math.isinf(limit) else min(slots, int(limit) * len(there)),
                    load=None if loads is None else loads.get(name, Load()),
                    figures=in_all(nodes, name, figures.get(name, Figures())),
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
            dead=None if dead is None else Series(_in_all(dead), depths("dead")),
            oldest_at=main.oldest_at,
            stored_p95_seconds=self._history.stored_p95_seconds(),
        )

    async def _backlog(self) -> tuple[Depth | None, Demand | None]:
        depth = await self._depth("main")
        return depth, None if depth is None else await self._demand(depth)

    async def _depth(self, name: str) -> Depth | None:
        depth = await _known(self._depths[name])
        if depth is not None and name == "dead":
            self._history.saw_depth("dead", _in_all(depth))
        elif depth is not None:
            self._history.saw_depth("visible", depth.visible)
            self._history.saw_depth("in_flight", depth.in_flight)
            self._history.saw_depth("delayed", depth.delayed)
            self._history.saw_depth("held", depth.held)
        return depth


async def _known(remembered: Cached[T]) -> T | None:
    try:
        return await remembered.get()
    except UnavailableError:  # the parts say why
        return None


def _in_steps(mib: float) -> int:
    return round(mib / MEMORY_STEP_MIB) * MEMORY_STEP_MIB


def _in_all(depth: Depth) -> int:
    return depth.visible + depth.in_flight + depth.delayed + depth.held
