"""What pages say of how far they are reaches the job store: a second late at most, in few writes, without a delay."""

import pytest
import trio

from reportd.concurrency.nurseries import open_background
from reportd.core.faults import FaultKind
from reportd.ports import UnavailableError
from reportd.work.progress import report_progress
from tests.daemon.node import Node, World, job

pytestmark = pytest.mark.usefixtures("autojump_clock")


def writes(world: World) -> int:
    return world.weather.calls.count("jobs.report_progress")


async def handle(world: World, *numbers: int) -> None:
    node = Node(world)
    messages = await world.received(*map(job, numbers))
    async with open_background() as background:
        background.start_soon(report_progress, world.jobs, node.in_flight)
        async with trio.open_nursery() as nursery:
            for message in messages:
                nursery.start_soon(node.handle, message)


async def test_the_progress_of_all_jobs_is_written_together_every_second() -> None:
    world = World()
    world.renderer.seconds = 0.1
    for number in (1, 2):
        world.renderer.progress[job(number).task_id] = [step / 100 for step in range(1, 51)]
    seen: list[float | None] = []

    async def look() -> None:
        for _ in range(5):
            await trio.sleep(1.05 if not seen else 1.0)
            seen.append(world.record(job(2)).progress)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(look)
        await handle(world, 1, 2)
    assert seen[:4] == pytest.approx([0.1, 0.2, 0.3, 0.4], abs=0.02)
    assert writes(world) <= 5
    assert world.record(job(1)).progress is None


async def test_a_page_that_says_nothing_new_costs_no_write() -> None:
    world = World()
    world.renderer.seconds = 4.0
    world.renderer.progress[job(1).task_id] = [0.5, 0.5]
    await handle(world, 1, 2)
    assert writes(world) == 1


async def test_a_store_that_fails_delays_no_render() -> None:
    world = World()
    world.renderer.seconds = 2.0
    world.renderer.progress[job(1).task_id] = [0.2, 0.4]
    world.weather.fail("jobs.report_progress", *[UnavailableError("jobs", "it is away")] * 9)
    await handle(world, 1)
    assert trio.current_time() == 6.0
    assert world.record(job(1)).pdf is not None
    assert writes(world) >= 3


async def test_a_store_that_is_slow_delays_no_render() -> None:
    world = World()
    world.renderer.seconds = 2.0
    world.renderer.progress[job(1).task_id] = [0.2, 0.4]

    async def slow(call: str, _: str) -> None:
        if call == "jobs.report_progress":
            await trio.sleep(1000.0)

    world.weather.hook = slow
    await handle(world, 1)
    assert trio.current_time() == 6.0
    assert writes(world) == 1


async def test_the_next_attempt_begins_without_progress() -> None:
    world = World()
    world.renderer.seconds = 1.5
    world.renderer.progress[job(1).task_id] = [0.5]
    world.renderer.faults[job(1).task_id] = [FaultKind.TIMEOUT]
    seen: list[float | None] = []
    node = Node(world)

    async def look() -> None:
        while True:
            await trio.sleep(0.5)
            seen.append(world.record(job(1)).progress)

    async with open_background() as background:
        background.start_soon(report_progress, world.jobs, node.in_flight)
        background.start_soon(look)
        await node.handle(*await world.received(job(1)))
        assert seen[-1] == 0.5
        assert world.record(job(1)).progress is None
        await trio.sleep(60.0)
        seen.clear()
        await node.handle(*await world.queue.receive(1, 0.0))
    assert set(seen) == {None, 0.5}
