"""A node whose store is unavailable decides locally; when the store is back, its state counts again."""

from contextlib import suppress

import pytest
import trio

from reportd.adapters.memory_breakers import MemoryBreakers
from reportd.breakers.admission import DeferredError
from reportd.breakers.manager import STORE_SECONDS
from reportd.core.breaker.breaker import BreakerEvent, BreakerState, Command
from reportd.core.faults import FaultError, FaultKind
from reportd.ports import UnavailableError
from tests.fleet import TIMEOUT_SECONDS, BadLine, Node, fail, open_it, render

pytestmark = pytest.mark.usefixtures("autojump_clock")


@pytest.fixture
async def store() -> BadLine:
    return BadLine()


@pytest.fixture
async def other(store: BadLine, nursery: trio.Nursery) -> Node:
    """A second node on the same store."""
    node = Node(store, "n2")
    await nursery.start(node.run)
    return node


async def test_alone_a_node_goes_on_with_what_it_knows(store: BadLine, nursery: trio.Nursery) -> None:
    node = Node(store)
    await nursery.start(node.run)
    await render(node, FaultKind.TIMEOUT)
    store.away = True
    await render(node, FaultKind.TIMEOUT)
    await render(node, FaultKind.TIMEOUT)
    assert node.sales().state is BreakerState.OPEN
    assert "redis: can't be reached" in node.trouble
    with pytest.raises(DeferredError):
        await render(node)
    await trio.sleep(10)
    assert await render(node)
    assert node.sales().state is BreakerState.CLOSED
    assert [move.event for move in node.moves] == [
        BreakerEvent.TRIPPED,
        BreakerEvent.PROBE_STARTED,
        BreakerEvent.RECOVERED,
    ]


async def test_alone_a_node_does_not_wait_for_the_store(store: BadLine) -> None:
    node = Node(store)
    store.seconds = float("inf")
    begun = trio.current_time()
    for _ in range(10):
        with suppress(DeferredError):
            await render(node, FaultKind.TIMEOUT)
    assert trio.current_time() == pytest.approx(begun + STORE_SECONDS)


async def test_what_is_kept_wins_when_the_store_is_back(store: BadLine, other: Node, nursery: trio.Nursery) -> None:
    node = Node(store)
    await nursery.start(node.run)
    await render(node, FaultKind.TIMEOUT)
    store.away = True
    await render(node, FaultKind.TIMEOUT)
    await render(node, FaultKind.TIMEOUT)
    assert node.sales().state is BreakerState.OPEN
    store.away = False
    await trio.sleep(1)
    assert (node.trouble, node.sales().state, node.sales().failures) == ("", BreakerState.CLOSED, 1)
    await render(other, FaultKind.TIMEOUT)
    assert (await store.kept()).failures == 2


async def test_a_job_that_began_before_and_ends_after_counts_once(store: BadLine, nursery: trio.Nursery) -> None:
    node = Node(store)
    await nursery.start(node.run)
    await render(node, FaultKind.TIMEOUT)

    async def go_through() -> None:
        async with node.admit("sales", TIMEOUT_SECONDS):
            store.away = True
            await trio.sleep(5)
            store.away = False
            await trio.sleep(5)
            fail(FaultKind.TIMEOUT)

    with pytest.raises(FaultError):
        await go_through()
    assert (await store.kept()).failures == node.sales().failures == 2


async def test_verdicts_of_the_time_alone_say_nothing_to_the_store(store: BadLine, nursery: trio.Nursery) -> None:
    """A probe that was admitted locally ends after the store is back, with another breaker."""
    node = Node(store)
    await nursery.start(node.run)
    store.away = True
    await open_it(node)
    await trio.sleep(10)
    async with node.admit("sales", TIMEOUT_SECONDS) as admission:
        assert admission.probe
        store.away = False
        await trio.sleep(1)
        await node.command("sales", Command("ann", BreakerEvent.FORCED_OPEN))
        admission.succeeded(1.0)
    assert (await store.kept()).state is BreakerState.FORCED_OPEN


@pytest.mark.parametrize("how", ["success", "failure", "cancelled"])
async def test_a_probe_that_ends_while_the_store_is_away_leaves_no_lease_behind(
    store: BadLine, other: Node, nursery: trio.Nursery, how: str
) -> None:
    node = Node(store)
    await nursery.start(node.run)
    await open_it(node)
    await trio.sleep(10)
    with trio.move_on_after(5), suppress(FaultError):
        async with node.admit("sales", 3600) as admission:
            assert admission.probe
            store.away = True
            await trio.sleep(float("inf") if how == "cancelled" else 3)
            if how == "failure":
                fail()
            admission.succeeded(3.0)
    await trio.sleep(1)
    assert (await store.kept()).state is BreakerState.HALF_OPEN
    store.away = False
    await trio.sleep(2)
    expected = {"success": BreakerState.CLOSED, "failure": BreakerState.OPEN, "cancelled": BreakerState.HALF_OPEN}[how]
    assert (await store.kept()).state is other.sales().state is expected
    # The listeners are called once, also for what the node reports to the store later.
    verdict = {"success": [BreakerEvent.RECOVERED], "failure": [BreakerEvent.PROBE_FAILED], "cancelled": []}[how]
    assert [move.event for move in node.moves] == [BreakerEvent.TRIPPED, BreakerEvent.PROBE_STARTED, *verdict]
    assert not (await store.kept()).lease
    await trio.sleep(20)
    assert await render(other) == (how != "success")


async def test_a_store_that_forgot_is_told_again(store: BadLine, other: Node, nursery: trio.Nursery) -> None:
    node = Node(store)
    await node.command("sales", Command("ann", BreakerEvent.FORCED_OPEN))
    store.inner = MemoryBreakers()
    await nursery.start(node.run)
    assert (await store.kept()).state is BreakerState.FORCED_OPEN
    store.inner = MemoryBreakers()
    await trio.sleep(2)
    assert (await store.kept()).state is node.sales().state is other.sales().state is BreakerState.FORCED_OPEN


async def test_news_for_a_store_that_forgot_bring_along_what_is_known(store: BadLine) -> None:
    node = Node(store)
    await render(node, FaultKind.TIMEOUT)
    await render(node, FaultKind.TIMEOUT)
    store.inner = MemoryBreakers()
    await render(node, FaultKind.TIMEOUT)
    assert (await store.kept()).state is BreakerState.OPEN


async def test_it_starts_without_the_store(store: BadLine, nursery: trio.Nursery) -> None:
    store.away = True
    node = Node(store)
    await nursery.start(node.run)
    assert node.trouble
    assert not await render(node)


async def test_an_operator_is_told_that_the_store_is_away(store: BadLine) -> None:
    node = Node(store)
    store.away = True
    with pytest.raises(UnavailableError):
        await node.command("sales", Command("ann", BreakerEvent.FORCED_OPEN))
    assert (node.sales().state, node.moves) == (BreakerState.CLOSED, [])


async def test_a_store_that_answers_and_takes_nothing_is_away(store: BadLine, nursery: trio.Nursery) -> None:
    """E.g. a Redis without free memory, or without its required replicas: its old state must not replace the cache."""
    node = Node(store)
    await nursery.start(node.run)
    await render(node, FaultKind.TIMEOUT)
    store.full = True
    for _ in range(2):
        await render(node, FaultKind.TIMEOUT)
        await trio.sleep(2)
    assert "is out of memory" in node.trouble
    assert node.sales().state is BreakerState.OPEN
    store.full = False
    await trio.sleep(1)
    assert (node.trouble, node.sales().failures) == ("", 1)


@pytest.mark.parametrize("kept", [True, False])
async def test_an_order_that_the_store_refuses_is_told_until_it_takes_one(
    store: BadLine, nursery: trio.Nursery, *, kept: bool
) -> None:
    node = Node(store)
    await nursery.start(node.run)
    if kept:
        await render(node, FaultKind.TIMEOUT)
    store.full = True
    with pytest.raises(UnavailableError):
        await node.command("sales", Command("ann", BreakerEvent.FORCED_OPEN))
    await trio.sleep(5)
    assert "is out of memory" in node.trouble
    store.full = False
    await trio.sleep(1)
    assert not node.trouble
    assert (await node.command("sales", Command("ann", BreakerEvent.FORCED_OPEN))).transition
