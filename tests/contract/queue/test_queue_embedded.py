"""The embedded queue: what it promises beyond any queue, and what starting again does to it."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from reportd.adapters.sql.database import open_database
from reportd.adapters.sql.fair_order import Turns
from reportd.adapters.sql.stores.queue import EmbeddedQueue
from reportd.ports import ReceiptLostError, Received
from tests.contract.queue.queue_lab import MAX_RECEIVE_COUNT, message, new_id, sent, take


@asynccontextmanager
async def a_daemon(url: str, visibility_seconds: float = 30.0) -> AsyncIterator[tuple[EmbeddedQueue, EmbeddedQueue]]:
    """Its queue and its dead-letter queue, by the real clock."""
    async with open_database(url) as database:
        dead = EmbeddedQueue(database, "dead", visibility_seconds=visibility_seconds)
        main = EmbeddedQueue(
            database,
            "main",
            visibility_seconds=visibility_seconds,
            max_receive_count=MAX_RECEIVE_COUNT,
            dead=dead,
        )
        await main.recover()
        await dead.recover()
        yield main, dead


async def test_a_restart_finds_at_once_what_its_predecessor_held(database_url: str) -> None:
    """Where the database is its own. On a shared one others may be alive, and visibility decides."""
    async with a_daemon(database_url) as (queue, _):
        await sent(queue, message("held"), message("put off", delay_seconds=60.0))
        [held] = await take(queue, 1, 0.0)
    async with a_daemon(database_url) as (queue, _):
        received = await queue.receive(10, 0.0)
        if database_url.startswith("sqlite"):
            assert [(one.body, one.receive_count) for one in received] == [("held", 2)]
            [outcome] = await queue.set_visibility([(held.receipt, 1.0)])
            assert isinstance(outcome, ReceiptLostError)
        else:
            assert received == []
            assert await queue.set_visibility([(held.receipt, 1.0)]) == [None]
        assert (await queue.depth()).delayed == 1


async def test_nothing_sent_is_lost_with_the_process(database_url: str) -> None:
    async with a_daemon(database_url) as (queue, _):
        await sent(queue, *[message(str(number)) for number in range(30)])
    async with a_daemon(database_url) as (queue, _):
        assert sorted(int(one.body) for one in await take(queue, 31, 0.0)) == list(range(30))


async def test_fairness_outlives_a_restart(database_url: str) -> None:
    """The heap goes on where it stood, in its order, and who comes late is next."""
    heap, late = new_id(), new_id()
    async with a_daemon(database_url) as (queue, _):
        await sent(queue, *[message(str(number), group=heap) for number in range(10)])
        for one in await take(queue, 4, 0.0):
            await queue.delete([one.receipt])
    async with a_daemon(database_url) as (queue, _):
        await sent(queue, message("10", group=heap), message("late", group=late))
        bodies = [one.body for one in await take(queue, 8, 0.0)]
    assert "late" in bodies[:2]
    assert [body for body in bodies if body != "late"] == ["4", "5", "6", "7", "8", "9", "10"]


async def test_users_take_turns(database_url: str) -> None:
    async with a_daemon(database_url) as (queue, _):
        for user in ("a", "b", "c"):
            await sent(queue, *[message(user, group=user) for _ in range(4)])
        bodies = [one.body for one in await take(queue, 12, 0.0)]
    assert [sorted(bodies[n : n + 3]) for n in range(0, 12, 3)] == [["a", "b", "c"]] * 4


async def test_a_whole_batch_of_spent_messages_hides_none_behind_it(database_url: str) -> None:
    async with a_daemon(database_url) as (queue, dead):
        await sent(queue, *[message("spent") for _ in range(12)])
        for _ in range(MAX_RECEIVE_COUNT):
            held = await take(queue, 12, 0.0)
            await queue.set_visibility([(one.receipt, 0.0) for one in held])
        await sent(queue, message("good"))
        assert [one.body for one in await queue.receive(1, 0.0)] == ["good"]
        letters = await take(dead, 13, 0.0)
        assert [letter.body for letter in letters] == ["spent"] * 12
        assert letters[0].attributes == {"kind": "exhausted_receives", "reason": "received 3 times in vain"}
        assert (await queue.depth()).backlog == 0


async def test_who_waits_for_dead_letters_hears_of_a_redrive(database_url: str) -> None:
    async with a_daemon(database_url) as (queue, dead):
        await sent(queue, message("spent"))
        for _ in range(MAX_RECEIVE_COUNT):
            [held] = await queue.receive(1, 0.0)
            await queue.set_visibility([(held.receipt, 0.0)])
        letters: list[Received] = []

        async def triage() -> None:
            letters.extend(await dead.receive(1, 10.0))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(triage)
            await trio.sleep(0.1)
            begun = trio.current_time()
            assert await queue.receive(1, 0.0) == []
        assert len(letters) == 1
        assert trio.current_time() - begun < 0.6


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_a_node_with_a_wrong_clock_takes_nothing_from_the_others(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    async with a_daemon(database_url) as (queue, _):
        await sent(queue, message("held"), message("put off", delay_seconds=60.0))
        [held] = await queue.receive(1, 0.0)
        monkeypatch.setattr(time, "time", lambda: now + 3600)
        async with a_daemon(database_url) as (other, _):
            assert await other.receive(10, 0.0) == []
            await sent(other, message("new"))
            [new] = await queue.receive(10, 0.0)
            assert abs(new.sent_at - now) < 60
        assert await queue.set_visibility([(held.receipt, 30.0)]) == [None]


def test_turns_forget_who_has_none_to_come() -> None:
    turns = Turns()
    for number in range(5000):
        assert turns.next(f"user-{number}") == number + 1
        turns.serve(number + 1)
    assert len(turns._last) <= 1001
    turns.serve(3)
    assert turns.next("new") == 5001
    assert turns.next("new") == 5002
