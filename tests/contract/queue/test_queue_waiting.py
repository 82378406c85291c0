"""Every queue: receivers that wait, that go away, and that compete."""

from collections.abc import Awaitable, Callable

import trio

from reportd.ports import Queue, Received
from tests.contract.queue.queue_lab import QueueLab, Trait, is_empty, message, sent, take_one

PROMPTLY_SECONDS = 0.6
"""Less than any interval at which a queue looks again by itself."""


async def test_a_wait_in_vain_ends_empty_when_it_is_over(lab: QueueLab) -> None:
    begun = trio.current_time()
    assert await lab.queue.receive(10, lab.wait_seconds) == []
    assert lab.wait_seconds * 0.9 <= trio.current_time() - begun < lab.wait_seconds + 3.0


async def test_a_waiting_receiver_gets_what_is_sent(lab: QueueLab) -> None:
    received = await _received_after(lab, lambda: sent(lab.queue, message("hello")))
    assert [one.body for one in received] == ["hello"]


async def test_a_waiting_receiver_gets_what_is_given_back(lab: QueueLab) -> None:
    await sent(lab.queue, message())
    held = await take_one(lab)

    async def give_back() -> None:
        await lab.queue.set_visibility([(held.receipt, 0.0)])

    [received] = await _received_after(lab, give_back)
    assert received.receive_count == 2


async def test_a_waiting_receiver_gets_what_becomes_visible(lab: QueueLab) -> None:
    lab.needs(Trait.DELAYS, Trait.PROMPT)
    delay_seconds = lab.wait_seconds
    late = message(delay_seconds=delay_seconds)
    assert len(await _received_after(lab, lambda: sent(lab.queue, late), delay_seconds)) == 1


async def _received_after(
    lab: QueueLab, act: Callable[[], Awaitable[None]], due_seconds: float = 0.0
) -> list[Received]:
    """What a receiver that is waiting gets when something happens, promptly where the queue can."""
    received: list[Received] = []

    async def receive() -> None:
        received.extend(await lab.queue.receive(10, 10.0))

    limit_seconds = due_seconds + (PROMPTLY_SECONDS if Trait.PROMPT in lab.traits else 5.0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        await trio.sleep(0.1)
        assert not received
        with trio.fail_after(limit_seconds + 5.0):
            await act()
            begun = trio.current_time()
            while not received:
                await trio.sleep(0.005)
        assert trio.current_time() - begun < limit_seconds
    return received


async def test_a_receiver_that_goes_away_strands_nothing(lab: QueueLab) -> None:
    received: list[Received] = []

    async def receive() -> None:
        received.extend(await lab.queue.receive(10, 20.0))

    with trio.move_on_after(0.2):
        await receive()
    await sent(lab.queue, message("next"))
    if Trait.CLEAN_CANCEL not in lab.traits:
        await lab.pass_time(lab.queue.visibility_seconds + 0.1)
    assert (await take_one(lab)).body == "next"
    assert not received


async def test_what_a_cancelled_receive_took_reaches_its_caller(lab: QueueLab) -> None:
    """Whenever the cancellation comes: a message is handed over or stays visible, nothing in between."""
    lab.needs(Trait.CLEAN_CANCEL)
    await sent(lab.queue, *[message(str(number)) for number in range(20)])
    received: list[Received] = []
    for number in range(20):
        with trio.move_on_after(number * 0.0005):
            received.extend(await lab.queue.receive(1, 1.0))
    depth = await lab.queue.depth()
    assert depth.in_flight == len(received)
    assert depth.visible == 20 - len(received)


async def test_competing_receivers_never_hold_the_same_message(lab: QueueLab) -> None:
    await sent(lab.queue, *[message(str(number)) for number in range(60)])
    bodies = await _compete(lab, [lab.queue] * 6)
    assert sorted(bodies) == list(range(60))


async def test_another_node_finds_what_is_sent_within_a_second_or_so(lab: QueueLab) -> None:
    lab.needs(Trait.NODES)
    async with lab.node() as other:
        received: list[Received] = []

        async def receive() -> None:
            received.extend(await other.receive(10, 10.0))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            await trio.sleep(0.1)
            await sent(lab.queue, message("across"))
            with trio.fail_after(5.0):
                while not received:
                    await trio.sleep(0.01)
        assert [one.body for one in received] == ["across"]
        assert await is_empty(lab)


async def test_nodes_never_hold_the_same_message(lab: QueueLab) -> None:
    lab.needs(Trait.NODES)
    async with lab.node() as second, lab.node() as third:
        await sent(lab.queue, *[message(str(number)) for number in range(60)])
        bodies = await _compete(lab, [lab.queue, second, third] * 3)
        assert sorted(bodies) == list(range(60))


async def test_a_node_that_starts_takes_nothing_from_the_others(lab: QueueLab) -> None:
    lab.needs(Trait.NODES)
    await sent(lab.queue, message())
    held = await take_one(lab)
    async with lab.node() as other:
        assert await is_empty(lab, other)
    assert await lab.queue.set_visibility([(held.receipt, lab.queue.visibility_seconds)]) == [None]


async def _compete(lab: QueueLab, queues: list[Queue]) -> list[int]:
    """The numbers that as many receivers get between them, until nothing is left."""
    numbers: list[int] = []

    async def work(queue: Queue) -> None:
        while received := await queue.receive(7, lab.wait_seconds):
            numbers.extend(int(one.body) for one in received)
            await queue.delete([one.receipt for one in received])

    async with trio.open_nursery() as nursery:
        for queue in queues:
            nursery.start_soon(work, queue)
    return numbers
