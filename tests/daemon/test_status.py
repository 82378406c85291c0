"""Readiness: each part with its reason, cheap however often it is asked for, and never late."""

# ruff: noqa: ARG001 - a clock is used by being asked for

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
from trio.testing import MockClock

from reportd.adapters.memory_breakers import MemoryBreakers
from reportd.background import open_background
from reportd.breakers import Breakers
from reportd.history import History
from reportd.pool import PoolSettings, open_pool
from reportd.status import FRESH_SECONDS, PATIENCE_SECONDS, Status
from tests.daemon.node import NEVER_OPENS, Node, World
from tests.fakes import FakeLauncher
from tests.fakes.fleet import MemoryFleet

PARTS = {"browsers", "accepting", "queue", "breakers", "artifacts", "database"}


@asynccontextmanager
async def open_status(world: World, stop: trio.Event) -> AsyncIterator[tuple[Status, Node]]:
    node = Node(world)
    async with open_background() as background, open_pool(FakeLauncher(), PoolSettings()) as pool:
        yield (
            Status(
                jobs=world.jobs,
                queue=world.queue,
                dead=world.dead,
                pool=pool,
                poller=node.poller,
                worker=node.worker,
                breakers=Breakers(MemoryBreakers(), NEVER_OPENS, node="node"),
                bulkheads=node.bulkheads,
                held=node.held,
                history=History({}),
                fleet=MemoryFleet(world.weather),
                stop=stop,
                node="node",
                looks=background,
            ),
            node,
        )


async def test_all_is_well(autojump_clock: MockClock) -> None:
    async with open_status(World(), trio.Event()) as (status, _):
        parts = await status.parts()
    assert parts.keys() == PARTS
    assert all(ok for ok, _ in parts.values())
    assert all(why for _, why in parts.values())


async def test_each_part_says_what_is_wrong_with_it(autojump_clock: MockClock) -> None:
    world, stop = World(), trio.Event()
    async with open_status(world, stop) as (status, node):
        node.poller.trouble = "the queue does not answer"
        node.worker.store_trouble = "the disk is full"
        world.weather.away("jobs", 60.0)
        stop.set()
        parts = await status.parts()
    wrong = {name: why for name, (ok, why) in parts.items() if not ok}
    assert wrong == {
        "accepting": "draining",
        "queue": "the queue does not answer",
        "artifacts": "the disk is full",
        "database": "jobs: it is away",
    }


async def test_the_database_is_asked_once_a_second_however_many_ask(autojump_clock: MockClock) -> None:
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


async def test_a_database_that_hangs_is_told_in_time(autojump_clock: MockClock) -> None:
    world = World()

    async def hang(_call: str, _when: str) -> None:
        await trio.sleep_forever()

    async with open_status(world, trio.Event()) as (status, _):
        world.weather.hook = hang
        begun = trio.current_time()
        ok, why = (await status.parts())["database"]
        assert (ok, why) == (False, "database: no answer for 1.0 s")
        for _ in range(10):  # nor does anybody else wait any longer
            await status.parts()
        assert trio.current_time() - begun <= PATIENCE_SECONDS + 0.001
