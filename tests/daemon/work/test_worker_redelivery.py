"""A message that is delivered more than once makes no second PDF and no second outcome (I6)."""

import pytest
import trio

from reportd.core.faults import FaultKind
from reportd.core.jobs.transitions import JobState
from tests.daemon.node import Node, World, job, message_of, open_node
from tests.fakes import EPOCH, now

pytestmark = pytest.mark.usefixtures("autojump_clock")


async def test_twice_at_once_on_one_node_is_one_render() -> None:
    world, one = World(), job()
    await Node(world).handle(*await world.received(one, one, one))
    assert world.renderer.rendered == [(one.task_id, False)]
    assert world.jobs.terminal_moves(one.task_id) == [JobState.SUCCEEDED]
    assert len(await world.jobs.attempts(one.task_id)) == 1
    assert not world.queue.messages


async def test_a_message_that_comes_again_while_it_is_worked_on_is_settled_by_its_newer_receipt() -> None:
    world, one = World(), job()
    world.renderer.seconds = 100.0  # longer than its visibility, and there is no heartbeat
    node = Node(world)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(node.handle, *await world.received(one))
        nursery.start_soon(node.handle, *await world.queue.receive(1, 90.0))
    assert world.renderer.rendered == [(one.task_id, False)]
    assert world.record(one).state is JobState.SUCCEEDED
    assert not world.queue.messages


@pytest.mark.parametrize("fault", [FaultKind.SCRIPT_ERROR, FaultKind.PAGE_STATUS])
async def test_every_message_of_a_failed_job_is_settled_with_it(fault: FaultKind) -> None:
    world, one = World(), job()
    world.renderer.faults[one.task_id] = [fault]
    async with open_node(world):
        await world.send(one, one)
        end = await world.terminal(one)
        await trio.sleep(120.0)
    assert end.state is (JobState.SUCCEEDED if fault is FaultKind.SCRIPT_ERROR else JobState.QUARANTINED)
    assert len(world.renderer.rendered) == (2 if fault is FaultKind.SCRIPT_ERROR else 1)
    assert not world.queue.messages
    assert not world.dead.messages


async def test_a_second_message_takes_over_when_the_work_on_the_first_hits_a_bug() -> None:
    world, one = World(), job()
    world.weather.fail("artifacts.put", RuntimeError("a bug"))
    first, second = await world.received(one, one)
    node = Node(world)
    async with trio.open_nursery() as nursery:

        async def fails() -> None:
            with pytest.raises(ExceptionGroup, match="nursery"):
                await node.handle(first)

        nursery.start_soon(fails)
        await trio.sleep(0.5)
        await node.handle(second)
    assert world.record(one).state is JobState.SUCCEEDED


@pytest.mark.parametrize("state", [JobState.SUCCEEDED, JobState.QUARANTINED, JobState.CANCELLED])
async def test_after_the_end_a_message_is_only_deleted(state: JobState) -> None:
    world, one = World(), job()
    await world.jobs.add([one])
    world.jobs._change(one.task_id, state=state)
    if state is JobState.SUCCEEDED:
        world.artifacts.stored[one.task_id] = b"%PDF"
    async with open_node(world):
        await world.send(one, one)
        await trio.sleep(5.0)
    assert not world.renderer.rendered
    assert world.record(one).state is state
    assert not world.jobs.moves
    assert list(world.artifacts.stored) == ([one.task_id] if state is JobState.SUCCEEDED else [])
    assert not world.queue.messages


async def test_two_nodes_with_the_same_message_make_one_outcome() -> None:
    world, one = World(), job()
    world.renderer.seconds = 10.0
    messages = await world.received(one)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Node(world, name="a").handle, *messages)
        await trio.sleep(5.0)
        world.queue.messages[0].visible_at = now()
        nursery.start_soon(Node(world, name="b").handle, *await world.queue.receive(1, 0.0))
    assert world.jobs.terminal_moves(one.task_id) == [JobState.SUCCEEDED]
    assert list(world.artifacts.stored) == [one.task_id]
    assert world.record(one).tally.attempts == 1
    assert not world.queue.messages
    assert all(attempt.outcome is not None for attempt in await world.jobs.attempts(one.task_id))


@pytest.mark.parametrize("fault", [FaultKind.SCRIPT_ERROR, FaultKind.PAGE_STATUS])
async def test_a_failed_node_leaves_the_message_to_the_one_that_was_given_it_since(fault: FaultKind) -> None:
    """Its own receipt may still be valid, so that it could delete the message."""
    world, one = World(), job()
    world.renderer.seconds = 10.0
    world.renderer.faults[one.task_id] = [fault]
    messages = await world.received(one)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Node(world, name="slow").handle, *messages)
        await trio.sleep(5.0)
        world.queue.messages[0].visible_at = now()
        await world.queue.receive(1, 0.0)
        await world.jobs.start(one, "other", now())
        world.queue.messages[0].receipt = messages[0].receipt  # a queue that accepts old receipts
    assert len(world.queue.in_flight) == 1
    assert world.queue.in_flight[0].visible_at == 5.0 + EPOCH + world.queue.visibility_seconds
    assert world.record(one).state is JobState.RUNNING
    assert not world.dead.messages


async def test_a_late_success_is_a_success() -> None:
    """The node had lost the message to another one, which failed earlier."""
    world, one = World(), job()
    world.renderer.seconds = 10.0
    messages = await world.received(one)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Node(world, name="slow").handle, *messages)
        await trio.sleep(5.0)
        world.jobs._change(one.task_id, state=JobState.DEAD_LETTERED)
        await world.dead.send([message_of(one)])
    await Node(world).settle_visible()
    assert world.jobs.terminal_moves(one.task_id) == [JobState.SUCCEEDED]
    assert list(world.artifacts.stored) == [one.task_id]
    assert not world.dead.messages


@pytest.mark.parametrize("state", [JobState.QUARANTINED, JobState.CANCELLED])
async def test_a_pdf_that_comes_too_late_is_taken_away_unless_it_can_be_replaced(state: JobState) -> None:
    """The PDF is removed before a quarantined job is revived: later, the new PDF might be removed."""
    world, one = World(), job()
    messages = await world.received(one)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Node(world).handle, *messages)
        await trio.sleep(0.5)
        world.jobs._change(one.task_id, state=state)
    assert world.artifacts.puts == [one.task_id]
    assert bool(world.artifacts.stored) is (state is JobState.QUARANTINED)
    assert world.record(one).state is state
    assert not world.queue.messages
