"""A large message takes a moment to read. It is in flight meanwhile, and dead-lettered if it can't be read."""

import pytest
import trio

from reportd.core.jobs.job import Job, StoredJob, from_message
from reportd.core.jobs.transitions import JobState
from reportd.ports import TooCostlyError, UnavailableError
from tests.daemon.node import Node, World, job, open_node
from tests.fakes import FakeTypes
from tests.wording import mentions

pytestmark = pytest.mark.usefixtures("autojump_clock")

READING_SECONDS = 100.0


class SlowTypes(FakeTypes):
    """Reading takes longer than the visibility timeout. ``faults``: raised one after the other."""

    def __init__(self, *faults: Exception) -> None:
        super().__init__()
        self.faults = list(faults)

    async def message(self, body: str) -> Job | StoredJob:
        await trio.sleep(READING_SECONDS)
        if self.faults:
            raise self.faults.pop(0)
        return from_message(body)


async def test_a_message_that_is_being_read_is_held() -> None:
    world, one = World(), job()
    world.types = SlowTypes()
    async with open_node(world) as node:
        await world.send(one)
        await trio.sleep(READING_SECONDS / 2)
        assert [hold.receive_count for hold in node.in_flight.all()] == [1]
        end = await world.terminal(one)
    assert end.state is JobState.SUCCEEDED
    assert [message.receive_count for message in world.queue.messages] == []
    assert world.renderer.rendered == [(one.task_id, False)]


async def test_two_of_the_same_task_are_one_render() -> None:
    world, one = World(), job()
    world.types = SlowTypes()
    await Node(world).handle(*await world.received(one, one))
    assert world.renderer.rendered == [(one.task_id, False)]
    assert not world.queue.messages


async def test_a_drain_gives_it_back() -> None:
    world, one = World(), job()
    world.types = SlowTypes()
    stop = trio.Event()
    node = Node(world)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(node.run, stop)
        await world.send(one)
        await trio.sleep(READING_SECONDS / 2)
        stop.set()
        with trio.fail_after(1.0):
            await node.in_flight.wait_empty()
    assert not world.renderer.rendered
    assert len(await world.queue.receive(1, 0.0)) == 1


async def test_what_is_too_costly_to_read_is_malformed() -> None:
    world, one = World(), job()
    world.types = SlowTypes(TooCostlyError("takes longer than 20 s"))
    await Node(world).handle(*await world.received(one))
    (letter,) = world.dead.messages
    assert mentions(letter.sent.attributes["reason"], "message", "takes longer than 20 s")
    assert not world.queue.messages


async def test_it_waits_for_its_turn() -> None:
    world, one = World(), job()
    world.types = SlowTypes(UnavailableError("work on jobs", "too many tasks wait"))
    await Node(world).handle(*await world.received(one))
    assert world.record(one).state is JobState.SUCCEEDED
