"""The poller receives no more than the node's capacity, and messages in flight stay invisible to other nodes (I8)."""

import random
from collections.abc import Mapping

import pytest
import trio

from reportd.concurrency.nurseries import open_background
from reportd.concurrency.supervisor import Supervisor
from reportd.core.faults import FaultKind
from reportd.core.jobs.transitions import JobState
from reportd.ports import ANY, Outgoing, Received, UnavailableError
from reportd.work.poller import MAX_BATCH, WAIT_SECONDS, Poller
from tests.daemon.node import World, job, message_of, open_node
from tests.fakes import MemoryQueue, Weather

pytestmark = pytest.mark.usefixtures("autojump_clock")


class Handler:
    """Takes ``seconds`` for each message."""

    def __init__(self, seconds: float = 1.0) -> None:
        self.seconds = seconds
        self.busy = 0
        self.most_busy = 0
        self.handled: list[str] = []

    async def __call__(self, message: Received) -> None:
        self.busy += 1
        self.most_busy = max(self.most_busy, self.busy)
        try:
            await trio.sleep(self.seconds)
            self.handled.append(message.receipt)
        finally:
            self.busy -= 1


async def filled(messages: int, weather: Weather | None = None) -> MemoryQueue:
    queue = MemoryQueue(weather)
    await queue.send([message_of(job(number)) for number in range(1, messages + 1)])
    return queue


@pytest.mark.parametrize(("slots", "prefetch"), [(1, 0), (2, 0), (2, 2), (3, 11)])
async def test_never_more_are_held_than_slots_and_prefetch(slots: int, prefetch: int) -> None:
    world = World(slots=slots)
    jobs = [job(number) for number in range(1, 31)]
    for number, one in enumerate(jobs):
        world.renderer.faults[one.task_id] = [FaultKind.BROWSER_LOST] if number % 5 == 0 else []
    async with open_node(world, prefetch=prefetch):
        for number, one in enumerate(jobs):
            await world.send(*[one] * (1 + number % 3))  # some come twice, some three times
        for one in jobs:
            assert (await world.terminal(one)).state is JobState.SUCCEEDED
    assert world.renderer.most_busy == slots
    assert world.queue.most_in_flight == slots + prefetch


async def test_what_is_held_is_kept_from_others_from_the_first_instant() -> None:
    """This holds for jobs that wait for a slot and for jobs that render, each for several visibility timeouts."""
    world = World(slots=2)
    world.renderer.seconds = 200.0
    jobs = [job(number) for number in range(1, 9)]
    async with open_node(world):
        await world.send(*jobs)
        for one in jobs:
            await world.terminal(one)
    assert trio.current_time() >= 800.0
    assert len(world.renderer.rendered) == len(jobs)
    assert [len(await world.jobs.attempts(one.task_id)) for one in jobs] == [1] * len(jobs)


async def test_a_malformed_message_is_kept_from_others_while_the_dead_letter_queue_is_away() -> None:
    world = World()
    world.weather.away("dead", 300.0)
    async with open_node(world):
        await world.queue.send([Outgoing("{", "", "", "")])
        await trio.sleep(299.0)
        assert [message.receive_count for message in world.queue.messages] == [1]
        await trio.sleep(10.0)
    assert not world.queue.messages
    assert [letter.body for letter in world.letters.letters.values()] == ["{"]


async def test_a_batch_is_as_large_as_there_are_places_but_no_larger_than_sqs_allows() -> None:
    weather, limits = Weather(), []
    queue = await filled(40, weather)
    receive = queue.receive

    async def noted(limit: int, wait_seconds: float, at_most: Mapping[str, int] = ANY) -> list[Received]:
        limits.append(limit)
        return await receive(limit, wait_seconds, at_most)

    queue.receive = noted  # type: ignore[method-assign]
    async with open_background() as nursery:
        nursery.start_soon(Poller(queue, Handler(), 15).run)
        await trio.sleep(0.5)
    assert limits == [MAX_BATCH, 5]


@pytest.mark.parametrize(("capacity", "least", "fewest"), [(7, 3, 3), (7, 1, 1), (2, 5, 2)])
async def test_it_asks_for_no_fewer_than_pay_and_holds_no_more_than_it_may(
    capacity: int, least: int, fewest: int
) -> None:
    queue, limits = await filled(60), []
    receive, handler, chance = queue.receive, Handler(), random.Random(0)

    async def noted(limit: int, wait_seconds: float, at_most: Mapping[str, int] = ANY) -> list[Received]:
        limits.append(limit)
        return await receive(limit, wait_seconds, at_most)

    async def handle(message: Received) -> None:
        handler.seconds = chance.uniform(1.0, 2.0)
        await handler(message)

    queue.receive = noted  # type: ignore[method-assign]
    poller = Poller(queue, handle, capacity, least)
    async with open_background() as nursery:
        nursery.start_soon(poller.run)
        while queue.messages and len(handler.handled) < 40:
            await trio.sleep(0.5)
            # The poller does not ask while less capacity is free than ``least``; that never leaves a slot idle.
            assert handler.busy > capacity - fewest
    assert min(limits) == fewest
    assert handler.most_busy == capacity


async def test_stopped_while_it_waits_for_places_it_keeps_none() -> None:
    queue = await filled(10)

    async def handle(message: Received) -> None:
        await trio.sleep(1.0 if message.receipt == "queue-1" else 10.0)

    poller = Poller(queue, handle, 4, 3)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(poller.run)
        await trio.sleep(2.0)  # it has reserved one of the three it needs
        poller.stop()
    assert trio.current_time() == 10.0
    assert poller._capacity.free == 4


async def test_a_batch_does_not_wait_for_its_slowest_message() -> None:
    queue, done = await filled(20), []

    async def handle(message: Received) -> None:
        await trio.sleep(1000.0 if message.receipt == "queue-1" else 1.0)
        done.append(message.receipt)

    async with open_background() as nursery:
        nursery.start_soon(Poller(queue, handle, 4).run)
        await trio.sleep(7.5)
    assert len(done) == 19


async def test_places_that_found_no_message_are_free_again() -> None:
    queue, handler = MemoryQueue(), Handler()
    async with open_background() as nursery:
        nursery.start_soon(Poller(queue, handler, 3).run)
        await trio.sleep(2.5 * WAIT_SECONDS)
        await queue.send([message_of(job(number)) for number in range(1, 7)])
        await trio.sleep(2.5)
    assert len(handler.handled) == 6
    assert handler.most_busy == 3


async def test_a_handler_with_a_bug_costs_nobody_else_anything() -> None:
    queue, done = await filled(12), []

    async def handle(message: Received) -> None:
        await trio.sleep(1.0)
        if int(message.receipt.removeprefix("queue-")) % 2:
            raise ExceptionGroup("bugs", [RuntimeError("a bug")])
        done.append(message.receipt)

    async with open_background() as nursery:
        nursery.start_soon(Poller(queue, handle, 2).run)
        await trio.sleep(7.0)
    assert len(done) == 6


async def test_a_queue_that_is_away_is_asked_again_every_second() -> None:
    weather = Weather()
    queue, handler = await filled(1, weather), Handler()
    weather.away("queue", 9.5)
    poller = Poller(queue, handler, 3)
    async with open_background() as nursery:
        nursery.start_soon(poller.run)
        await trio.sleep(5.0)
        assert poller.trouble == "queue: it is away"
        await trio.sleep(6.5)
        assert not poller.trouble
    assert handler.handled
    assert weather.calls.count("queue.receive") == 12


@pytest.mark.parametrize("at_most", [ANY, {"other": 0}], ids=["any", "not all"])
async def test_a_queue_that_answers_again_and_is_empty_is_in_trouble_no_longer(at_most: Mapping[str, int]) -> None:
    """Otherwise the node would seem not ready for the time of a long poll, and get no requests meanwhile."""
    weather = Weather()
    queue = await filled(0, weather)
    weather.away("queue", 5.0)
    poller = Poller(queue, Handler(), 3, at_most=lambda: at_most, limits_drift=lambda: False)
    async with open_background() as nursery:
        nursery.start_soon(poller.run)
        await trio.sleep(4.0)
        assert poller.trouble == "queue: it is away"
        await trio.sleep(2.5)
        assert not poller.trouble


@pytest.mark.parametrize("while_away", [False, True])
async def test_stopped_it_takes_no_more_and_ends_with_what_it_has(*, while_away: bool) -> None:
    weather = Weather()
    queue, handler = await filled(5, weather), Handler(30.0)
    poller = Poller(queue, handler, 2)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(poller.run)
        await trio.sleep(1.0)
        if while_away:
            weather.away("queue", 1000.0)
        poller.stop()
    assert trio.current_time() == 30.0
    assert len(handler.handled) == 2
    assert len(queue.in_flight) == 2


async def test_an_error_of_the_queue_that_is_no_outage_is_told_and_survived() -> None:
    """A bug must not look like an empty queue. It must not end the jobs in flight, nor take capacity for good."""
    weather, supervisor = Weather(), Supervisor()
    queue, handler = await filled(3, weather), Handler()
    handler.seconds = 5.0
    poller = Poller(queue, handler, 1, supervisor=supervisor)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(poller.run)
        await trio.sleep(1.0)
        weather.fail("queue.receive", UnavailableError("queue", "once"), RuntimeError("a bug"))
        await trio.sleep(5.1)
        assert supervisor.trouble("poller") == "RuntimeError: a bug"
        assert len(handler.handled) == 1
        await trio.sleep(20.0)
        assert len(handler.handled) == 3
        assert supervisor.troubles() == ()
        poller.stop()


async def test_jobs_that_wait_in_pages_leave_their_places_to_others() -> None:
    queue, handler = await filled(10), Handler()
    handler.seconds = 100.0
    poller = Poller(queue, handler, 3)
    async with open_background() as nursery:
        nursery.start_soon(poller.run)
        await trio.sleep(1.0)
        assert handler.busy == 3
        poller.change_capacity(2)
        await trio.sleep(1.0)
        assert handler.busy == 5
        poller.change_capacity(-2)
        await trio.sleep(150.0)
        # The first five have ended, and the capacity is three again.
        assert handler.busy == 3


@pytest.mark.parametrize("unsettled", [True, False])
async def test_what_may_be_had_again_is_had_at_once(*, unsettled: bool) -> None:
    queue, handler = await filled(3), Handler()
    allowed = {"report": 0}
    poller = Poller(queue, handler, 3, at_most=lambda: allowed, limits_drift=lambda: unsettled)
    async with open_background() as nursery:
        nursery.start_soon(poller.run)
        await trio.sleep(10.1)
        assert not handler.handled
        allowed.clear()
        poller.recheck()
        await trio.sleep(0.01)
        assert handler.busy == 3


@pytest.mark.parametrize(("unsettled", "asked"), [(True, 120), (False, 3)])
async def test_a_queue_is_asked_often_only_while_what_may_be_had_changes_by_itself(
    *, unsettled: bool, asked: int
) -> None:
    queue, waits = MemoryQueue(), list[float]()
    receive = queue.receive

    async def noted(limit: int, wait_seconds: float, at_most: Mapping[str, int] = ANY) -> list[Received]:
        waits.append(wait_seconds)
        return await receive(limit, wait_seconds, at_most)

    queue.receive = noted  # type: ignore[method-assign]
    poller = Poller(queue, Handler(), 3, at_most=lambda: {"report": 1}, limits_drift=lambda: unsettled)
    async with open_background() as nursery:
        nursery.start_soon(poller.run)
        await trio.sleep(59.9)
    assert len(waits) == asked
