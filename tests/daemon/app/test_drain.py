"""A node that is told to stop (I9): jobs not begun go back at once, running jobs get ``drain_seconds``."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from reportd.core.jobs.transitions import JobState
from reportd.ports import Outgoing
from reportd.work.in_flight import Revocation
from reportd.work.settlement import SETTLE_SECONDS
from tests.daemon.node import Node, World, job, open_node

pytestmark = pytest.mark.usefixtures("autojump_clock")

DRAIN_SECONDS = 30.0


@asynccontextmanager
async def stopping(world: World, *, after_seconds: float, prefetch: int = 2) -> AsyncIterator[Node]:
    """Open a node that was told to stop. The end of the block waits for the node, which must outlast the block."""
    node, stop = Node(world, prefetch=prefetch), trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(node.run, stop)
        await trio.sleep(after_seconds)
        stop.set()
        yield node


async def test_jobs_that_end_in_time_are_finished_and_nothing_else_is_begun() -> None:
    world = World(slots=2)
    world.renderer.seconds = 10.0
    jobs = [job(number) for number in range(1, 9)]
    await world.send(*jobs)
    async with stopping(world, after_seconds=5.0) as node:
        assert len(node.in_flight) == 4
        await trio.sleep(0.5)
        # Prefetched messages are visible to other nodes while the running jobs still render.
        assert len(node.in_flight) == 2
        assert len(world.queue.in_flight) == 2
    assert trio.current_time() == 10.0
    assert [record.state for record in world.jobs.records.values()] == [JobState.SUCCEEDED] * 2
    assert len(world.renderer.rendered) == 2
    assert [message.visible for message in world.queue.messages] == [True] * 6


async def test_what_is_not_done_in_time_goes_back_and_has_used_no_attempt() -> None:
    world = World(slots=2)
    world.renderer.seconds = 1000.0
    jobs = [job(1), job(2), job(3)]
    await world.send(*jobs)
    async with stopping(world, after_seconds=5.0) as node:
        await trio.sleep(DRAIN_SECONDS - 0.5)
        assert len(node.in_flight) == 2
    assert trio.current_time() == 5.0 + DRAIN_SECONDS
    assert [message.visible for message in world.queue.messages] == [True] * 3
    assert len(world.jobs.records) == 2
    for task_id, record in world.jobs.records.items():
        assert (record.state, record.error, record.tally.attempts) == (JobState.QUEUED, None, 0)
        assert [attempt.outcome for attempt in await world.jobs.attempts(task_id)] == ["released"]
    assert not world.dead.messages
    world.renderer.seconds = 1.0
    async with open_node(world, name="successor"):
        for one in jobs:
            end = await world.terminal(one)
            assert (end.state, end.tally.attempts, end.tally.node_losses) == (JobState.SUCCEEDED, 1, 0)


async def test_the_messages_of_running_jobs_stay_invisible_during_a_long_drain() -> None:
    world, one = World(), job()
    world.renderer.seconds = 200.0
    world.queue.visibility_seconds = 9.0
    await world.send(one)
    async with stopping(world, after_seconds=180.0):
        pass
    assert world.record(one).state is JobState.SUCCEEDED
    assert len(await world.jobs.attempts(one.task_id)) == 1


async def test_the_order_is_stop_taking_then_give_back_then_wait() -> None:
    world = World(slots=1)
    world.renderer.seconds = 10.0
    await world.send(job(1), job(2))
    async with stopping(world, after_seconds=5.0):
        world.weather.calls.clear()
        await trio.sleep(0.5)
        await world.send(job(3))
    rounds = ("dead.", "letters.", "jobs.acquire_lease", "jobs.overdue", "jobs.expired", "jobs.renew")
    # The heartbeat renews messages in flight by the clock.
    calls = [call for call in world.weather.calls if not call.startswith(rounds)]
    assert calls == ["queue.set_visibility", "queue.send", "artifacts.put", "jobs.settle", "queue.delete"]


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_message_that_comes_in_at_the_last_moment_goes_back_too(when: str) -> None:
    """The queue has handed it out already, so no other node gets it until its visibility timeout ends."""
    world, stop = World(), trio.Event()

    async def hook(call: str, phase: str) -> None:
        if (call, phase) == ("queue.receive", when) and world.queue.messages:
            stop.set()

    world.weather.hook = hook
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Node(world).run, stop)
        await world.send(job())
    assert trio.current_time() == 0.0
    assert [message.visible for message in world.queue.messages] == [True]
    assert not world.renderer.rendered


@pytest.mark.parametrize("step", ["jobs.start", "renderer.render", "artifacts.put", "jobs.settle"])
@pytest.mark.parametrize("when", ["before", "after"])
async def test_stopped_at_any_step_it_ends_and_nothing_is_stranded(step: str, when: str) -> None:
    world, stop, one = World(), trio.Event(), job()
    world.renderer.seconds = 1000.0

    async def hook(call: str, phase: str) -> None:
        if (call, phase) == (step, when):
            stop.set()
            await trio.sleep(0.0)
        world.renderer.seconds = 1.0 if step in ("artifacts.put", "jobs.settle") or when == "after" else 1000.0

    await world.send(one)
    world.weather.hook = hook
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Node(world).run, stop)
    world.weather.hook = None
    record = world.jobs.records.get(one.task_id)
    if record is not None and record.state is JobState.SUCCEEDED:
        assert not world.queue.messages
    else:
        assert [message.visible for message in world.queue.messages] == [True]
        assert record is None or (record.state, record.tally.attempts) == (JobState.QUEUED, 0)
        assert record is None or record.tally.node_losses == 0


@pytest.mark.parametrize("part", ["jobs", "queue", "artifacts"])
async def test_a_part_that_is_away_does_not_keep_it_from_ending(part: str) -> None:
    world, one = World(), job()
    world.renderer.seconds = 8.0
    await world.send(one, job(2), job(3))
    async with stopping(world, after_seconds=5.0):
        world.weather.away(part, 1000.0)
    assert trio.current_time() <= 5.0 + DRAIN_SECONDS + 2 * SETTLE_SECONDS
    if part == "jobs":
        assert [message.visible for message in world.queue.messages] == [True] * 3
    # A successor finds even a job that could not be recorded or given back.
    async with open_node(world, name="successor"):
        end = await world.terminal(one)
    assert (end.state, end.tally.attempts) == (JobState.SUCCEEDED, 1)


async def test_a_malformed_message_that_could_not_be_moved_goes_back() -> None:
    world = World()
    await world.queue.send([Outgoing("{", "", "", "")])
    world.weather.away("dead", 1000.0)
    async with stopping(world, after_seconds=5.0):
        pass
    assert trio.current_time() == 5.0
    assert [message.visible for message in world.queue.messages] == [True]


async def test_a_user_who_cancels_during_the_drain_ends_it_at_once() -> None:
    world, one = World(), job()
    world.renderer.seconds = 1000.0
    await world.send(one)
    async with stopping(world, after_seconds=5.0) as node:
        await trio.sleep(1.0)
        (hold,) = node.in_flight.all()
        assert hold.revoked is None
        node.in_flight.cancel(one.task_id)
        assert hold.revoked is Revocation.CANCELLED
    assert trio.current_time() == 6.0
    assert not world.queue.messages
