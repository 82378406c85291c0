"""The heartbeat keeps messages in flight invisible, and revokes the work on a message that is lost anyway (I8)."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from reportd.concurrency.nurseries import open_background
from reportd.core.jobs.transitions import JobState
from reportd.ports import UnavailableError
from reportd.work.heartbeat import extend_visibility
from reportd.work.in_flight import InFlightTask, InFlightTasks, Revocation
from tests.daemon.node import World, job, message_of, open_node
from tests.fakes import MemoryQueue, Weather, now

pytestmark = pytest.mark.usefixtures("autojump_clock")


class Beat:
    """A queue whose messages are all in flight."""

    def __init__(self, messages: int = 2) -> None:
        self.weather = Weather()
        self.queue = MemoryQueue(self.weather, visibility_seconds=60.0)
        self.in_flight = InFlightTasks()
        self.tasks: list[InFlightTask] = []
        self._messages = messages

    @asynccontextmanager
    async def going(self) -> AsyncIterator["Beat"]:
        jobs = [job(number) for number in range(1, self._messages + 1)]
        await self.queue.send([message_of(one) for one in jobs])
        for message, one in zip(await self.queue.receive(10, 0.0), jobs, strict=True):
            task = InFlightTask(one.task_id, [message.receipt])
            self.tasks.append(task)
            self.in_flight.add(task)
        async with open_background() as nursery:
            nursery.start_soon(extend_visibility, self.queue, self.in_flight)
            yield self

    @property
    def beats(self) -> int:
        return self.weather.calls.count("queue.set_visibility")


async def test_all_are_renewed_in_one_call_at_a_third_of_their_visibility() -> None:
    async with Beat(5).going() as beat:
        await trio.sleep(200.5)
        assert beat.beats == 10
        assert len(beat.queue.in_flight) == 5
    assert not any(task.revoked for task in beat.tasks)


async def test_nothing_held_costs_no_call() -> None:
    async with Beat(0).going() as beat:
        await trio.sleep(500.0)
        assert beat.beats == 0


async def test_a_short_outage_loses_nothing() -> None:
    async with Beat().going() as beat:
        await trio.sleep(10.0)
        beat.weather.away("queue", 48.5)  # until 1.5 s before the visibility ends
        await trio.sleep(50.0)
        assert len(beat.queue.in_flight) == 2
        await trio.sleep(300.0)
        assert len(beat.queue.in_flight) == 2
        assert not any(task.revoked for task in beat.tasks)


async def test_after_an_outage_the_beat_is_the_usual_one() -> None:
    async with Beat().going() as beat:
        beat.weather.away("queue", 25.0)
        await trio.sleep(26.0)
        before = beat.beats
        await trio.sleep(200.0)
        assert beat.beats - before == 10


async def test_a_call_that_hangs_is_not_the_last_one() -> None:
    async with Beat().going() as beat:

        async def hang_once(_call: str, _when: str) -> None:
            beat.weather.hook = None
            await trio.sleep_forever()

        beat.weather.hook = hang_once
        await trio.sleep(300.0)
        assert len(beat.queue.in_flight) == 2
        assert not any(task.revoked for task in beat.tasks)


async def test_a_message_that_could_not_be_renewed_is_tried_again_soon() -> None:
    """The other messages of the same call were renewed."""
    async with Beat().going() as beat:
        set_visibility = beat.queue.set_visibility

        async def throttled(changes: list[tuple[str, float]]) -> list[Exception | None]:
            beat.queue.set_visibility = set_visibility  # type: ignore[method-assign]
            return [UnavailableError("queue", "throttled"), *(await set_visibility(changes[1:]))]

        beat.queue.set_visibility = throttled  # type: ignore[assignment,method-assign]
        await trio.sleep(21.5)
        assert beat.beats == 2
        assert not any(task.revoked for task in beat.tasks)


async def test_a_lost_message_calls_its_own_work_off() -> None:
    async with Beat().going() as beat:
        beat.queue.messages[0].receipt = "another node's"
        await trio.sleep(21.0)
        assert [task.revoked for task in beat.tasks] == [Revocation.LOST, None]
        assert [task.scope.cancel_called for task in beat.tasks] == [True, False]


async def test_the_loss_of_one_of_two_receipts_is_none() -> None:
    """The message was received again while in flight, so its older receipt is no longer valid."""
    async with Beat(1).going() as beat:
        (task,) = beat.tasks
        beat.queue.messages[0].visible_at = now()
        (again,) = await beat.queue.receive(1, 0.0)
        task.receipts.append(again.receipt)
        await trio.sleep(100.0)
        assert task.revoked is None
        assert task.receipts == [again.receipt]
        assert beat.queue.in_flight


async def test_a_message_settled_during_the_call_is_not_lost() -> None:
    async with Beat(1).going() as beat:
        (task,) = beat.tasks

        async def settle(_call: str, when: str) -> None:
            if when == "before":
                beat.queue.messages.clear()
                task.settled(task.receipts)

        beat.weather.hook = settle
        await trio.sleep(21.0)
        assert task.revoked is None


async def test_the_render_of_a_lost_message_is_cancelled_and_the_other_node_finishes() -> None:
    world, one = World(), job()
    world.renderer.seconds = 300.0
    async with open_node(world, name="a") as first:
        await world.send(one)
        await trio.sleep(10.0)
        first.poller.stop()
        # Longer than the visibility: the queue gives the message to another node.
        world.weather.away("queue", 70.0)
        await trio.sleep(71.0)
        async with open_node(world, name="b") as second:
            await trio.sleep(2.0)
            assert not first.in_flight.all()
            assert world.renderer.busy == 1
            assert len(second.in_flight.all()) == 1
            end = await world.terminal(one)
    assert (end.state, end.tally.attempts) == (JobState.SUCCEEDED, 1)
    assert world.jobs.terminal_moves(one.task_id) == [JobState.SUCCEEDED]
    assert world.artifacts.puts == [one.task_id]
