"""Readiness and snapshots: each part with its reason, cheap for frequent requests, and never late."""

from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import trio

from reportd.adapters.memory_breakers import MemoryBreakers
from reportd.breakers.manager import Breakers
from reportd.browsers.pool import PoolSettings, open_pool
from reportd.concurrency.nurseries import open_background
from reportd.concurrency.supervisor import Supervisor
from reportd.core.breaker.breaker import BreakerPolicy
from reportd.core.capacity.scaling import Demand, ScalingPolicy
from reportd.core.jobs.transitions import JobState
from reportd.core.status.snapshot import Figures, Load, Node, Series
from reportd.maintenance.rescuer import Rescuer
from reportd.status.demand import Scaling
from reportd.status.readiness import FRESH_SECONDS, PATIENCE_SECONDS
from reportd.status.status import SAMPLE_SECONDS, SNAPSHOT_SECONDS, Status
from reportd.telemetry.heartbeat import GONE_SECONDS, as_document
from reportd.telemetry.history import History
from reportd.work.in_flight import InFlightTask
from tests.daemon.node import Node as Shell
from tests.daemon.node import World, job
from tests.fakes import EPOCH, FakeLauncher, now
from tests.fakes.fleet import MemoryFleet

pytestmark = pytest.mark.usefixtures("autojump_clock")

PARTS = {"browsers", "accepting", "queue", "breakers", "artifacts", "database", "background"}


@asynccontextmanager
async def open_status(
    world: World,
    stop: trio.Event,
    fleet: MemoryFleet | None = None,
    idle_seconds: float = SAMPLE_SECONDS,
    supervisor: Supervisor | None = None,
    part_trouble: Callable[[str], str] = lambda _part: "",
) -> AsyncIterator[tuple[Status, Shell]]:
    node = Shell(world)
    async with open_background() as background, open_pool(FakeLauncher(), PoolSettings()) as pool:
        yield (
            Status(
                jobs=world.jobs,
                depth=world.queue.depth,
                dead=world.dead,
                pool=pool,
                poller=node.poller,
                breakers=Breakers(MemoryBreakers(), BreakerPolicy(), node="node", report_types=["report"]),
                bulkheads=node.bulkheads,
                in_flight=node.in_flight,
                history=History({}),
                fleet=fleet or MemoryFleet(world.weather),
                stop=stop,
                node="node",
                nursery=background,
                letters=world.letters,
                supervisor=supervisor or Supervisor(now),
                part_trouble=part_trouble,
                demand=Scaling(
                    jobs=world.jobs,
                    slots=lambda: pool.slots,
                    render_seconds=lambda: 3.0,
                    policy=ScalingPolicy(),
                    nursery=background,
                    fresh_seconds=60.0,
                ).demand,
                rescuer=Rescuer(jobs=world.jobs, letters=world.letters, queue=world.queue, dead=world.dead),
                idle_seconds=idle_seconds,
                clock=now,
            ),
            node,
        )


async def test_all_is_well() -> None:
    async with open_status(World(), trio.Event()) as (status, _):
        parts = await status.parts()
    assert parts.keys() == PARTS
    assert all(ok for ok, _ in parts.values())
    assert all(why for _, why in parts.values())


async def test_each_part_says_what_is_wrong_with_it() -> None:
    world, stop = World(), trio.Event()
    async with open_status(world, stop, part_trouble=lambda part: f"{part}: the disk is full") as (status, node):
        node.poller.trouble = "the queue does not answer"
        world.weather.away("jobs", 60.0)
        stop.set()
        parts = await status.parts()
    wrong = {name: why for name, (ok, why) in parts.items() if not ok}
    assert wrong == {
        "accepting": "draining",
        "queue": "the queue does not answer",
        "artifacts": "artifacts: the disk is full",
        "database": "jobs: it is away",
    }


async def test_a_database_that_answers_and_takes_nothing_is_not_well() -> None:
    async with open_status(World(), trio.Event(), part_trouble=lambda part: f"{part}: it is full") as (status, _):
        parts = await status.parts()
    assert {name: why for name, (ok, why) in parts.items() if not ok} == {
        name: f"{name}: it is full" for name in ("queue", "artifacts", "database")
    }


async def test_the_database_is_asked_once_a_second_however_many_ask() -> None:
    world = World()
    async with open_status(world, trio.Event()) as (status, _):
        world.weather.calls.clear()
        seconds = 10
        for _ in range(20 * seconds):
            async with trio.open_nursery() as nursery:
                for _ in range(10):
                    nursery.start_soon(status.parts)
            await trio.sleep(0.05)
        assert world.weather.calls.count("jobs.get") <= seconds / FRESH_SECONDS + 1
        assert set(world.weather.calls) == {"jobs.get"}


async def test_a_database_that_hangs_is_told_in_time() -> None:
    world = World()

    async def hang(_call: str, _when: str) -> None:
        await trio.sleep_forever()

    async with open_status(world, trio.Event()) as (status, _):
        world.weather.hook = hang
        begun = trio.current_time()
        ok, why = (await status.parts())["database"]
        assert (ok, why) == (False, "database: no answer for 1.0 s")
        for _ in range(10):  # another caller does not wait longer either
            await status.parts()
        assert trio.current_time() - begun <= PATIENCE_SECONDS + 0.001


# The snapshot


async def test_a_snapshot_of_all_there_is() -> None:
    world = World()
    async with open_status(world, trio.Event()) as (status, node):
        for one in (job(1), job(2)):
            await world.jobs.add([one])
            await world.send(one)
        await node.handle(*await world.queue.receive(1, 0.0))
        snapshot = await status.snapshot()
    assert snapshot.jobs is not None
    assert (snapshot.jobs[JobState.SUCCEEDED], snapshot.jobs[JobState.QUEUED]) == (1, 1)
    assert snapshot.queue is not None
    assert (snapshot.queue.visible, snapshot.queue.dead) == (Series(1, (1,)), Series(0, (0,)))
    assert [one.state for one in snapshot.recent or ()] == [JobState.QUEUED, JobState.SUCCEEDED]
    assert [(view.name, view.load, view.limit) for view in snapshot.types] == [("report", Load(1, 1, 0, EPOCH), 2)]
    assert [one.name for one in snapshot.nodes] == ["node"]
    assert snapshot.here.slots == 2
    assert snapshot.demand == Demand(1, 0.5, 1.5, 3.0, running=0, nodes_wanted=1)
    assert (snapshot.backlog_seconds, snapshot.live_nodes) == (1.5, 1)
    assert all(part.ok for part in snapshot.parts)


async def test_what_is_away_is_left_out_and_the_rest_is_there_in_time() -> None:
    world = World()

    async def hang(call: str, _when: str) -> None:
        if call.startswith(("jobs", "fleet")):
            await trio.sleep_forever()

    async with open_status(world, trio.Event()) as (status, _):
        world.weather.hook = hang
        begun = trio.current_time()
        snapshot = await status.snapshot()
        assert trio.current_time() - begun <= PATIENCE_SECONDS + 0.001
    assert (snapshot.jobs, snapshot.recent) == (None, None)
    assert all(view.load is None for view in snapshot.types)
    assert snapshot.queue is not None
    assert snapshot.demand == Demand(0, 0.0, 0.0, 3.0, running=None, nodes_wanted=None)
    assert [part.name for part in snapshot.parts if not part.ok] == ["database"]
    assert [one.name for one in snapshot.nodes] == ["node"]


async def test_a_queue_that_is_away() -> None:
    world = World()
    async with open_status(world, trio.Event()) as (status, _):
        world.weather.away("queue", 60.0)
        snapshot = await status.snapshot()
        assert (snapshot.queue, snapshot.demand, snapshot.backlog_seconds) == (None, None, None)
        world.weather.away("queue", 0.0)
        world.weather.away("dead", 60.0)
        await trio.sleep(SNAPSHOT_SECONDS)
        queue = (await status.snapshot()).queue
    assert queue is not None
    assert queue.dead is None


async def test_however_many_look_it_is_looked_once() -> None:
    world = World()
    async with open_status(world, trio.Event()) as (status, _):
        world.weather.calls.clear()
        seconds = 20
        for _ in range(20 * seconds):
            async with trio.open_nursery() as nursery:
                for _ in range(10):
                    nursery.start_soon(status.snapshot)
            await trio.sleep(0.05)
        most = seconds / SNAPSHOT_SECONDS + 1
        assert {call: count for call, count in Counter(world.weather.calls).items() if count > most} == {}


async def test_what_somebody_has_done_is_seen_at_once() -> None:
    world = World()
    async with open_status(world, trio.Event()) as (status, _):
        assert (await status.snapshot()).recent == ()
        await world.jobs.add([job()])
        assert (await status.snapshot()).recent == (), "it is remembered"
        status.changed()
        assert len((await status.snapshot()).recent or ()) == 1


async def test_the_history_of_the_queue_is_kept_while_nobody_looks() -> None:
    world = World()
    async with open_status(world, trio.Event()) as (status, _), open_background() as background:
        background.start_soon(status.run)
        await world.send(job(1), job(2))
        await trio.sleep(90.0)
        await world.queue.delete([message.receipt for message in await world.queue.receive(2, 0.0)])
        await trio.sleep(90.0)
        queue = (await status.snapshot()).queue
    assert queue is not None
    assert (queue.visible.minutes[0], queue.visible.now) == (2, 0)
    assert len(queue.visible.minutes) == 4


async def test_while_there_is_nothing_the_queues_are_looked_at_seldom() -> None:
    world = World()
    async with (
        open_status(world, trio.Event(), idle_seconds=300.0) as (status, node),
        open_background() as background,
    ):
        world.weather.calls.clear()
        background.start_soon(status.run)
        await trio.sleep(299.0)
        assert Counter(world.weather.calls) == {"queue.depth": 1, "dead.depth": 1}
        node.in_flight.add(InFlightTask("task", ["receipt"]))
        await trio.sleep(2 * SAMPLE_SECONDS)
        assert Counter(world.weather.calls)["queue.depth"] >= 2
        await world.send(job(1))
        await trio.sleep(2 * SAMPLE_SECONDS)
        node.in_flight.remove(node.in_flight.all()[0])
        world.weather.calls.clear()
        await trio.sleep(100 * SAMPLE_SECONDS)
        assert Counter(world.weather.calls)["queue.depth"] >= 99


async def test_the_others_are_on_the_page_too() -> None:
    fleet = MemoryFleet()
    other = Node("other", slots=6, figures={"report": Figures(per_minute=10.0)})
    await fleet.report("other", as_document(other))
    async with open_status(World(), trio.Event(), fleet) as (status, _):
        snapshot = await status.snapshot()
        assert [(one.name, one.slots) for one in snapshot.nodes] == [("node", 2), ("other", 6)]
        assert (snapshot.types[0].limit, snapshot.types[0].figures.per_minute) == (8, 10.0)
        await trio.sleep(GONE_SECONDS + 1)
        snapshot = await status.snapshot()
        assert (snapshot.nodes[1].gone, snapshot.types[0].limit, snapshot.slots) == (True, 2, 2)
