"""Admission as the worker sees it: what counts, what it costs, who probes. Being cancelled is no failure (I7)."""

import pytest
import trio

from reportd.breakers.admission import DeferredError
from reportd.breakers.manager import LEASE_MARGIN_SECONDS, STORE_SECONDS, Breakers
from reportd.core.breaker.breaker import BreakerEvent, BreakerPolicy, BreakerState, Command, Transition
from reportd.core.faults import NATURE, FaultKind
from tests.fleet import TIMEOUT_SECONDS, BadLine, Node, open_it, render

pytestmark = pytest.mark.usefixtures("autojump_clock")


async def defer(node: Breakers, report_type: str = "sales") -> DeferredError:
    with pytest.raises(DeferredError) as caught:
        await render(node, report_type=report_type)
    return caught.value


async def ask(node: Breakers, answers: list[bool | DeferredError]) -> None:
    try:
        answers.append(await render(node))
    except DeferredError as error:
        answers.append(error)


@pytest.fixture
async def store() -> BadLine:
    return BadLine()


@pytest.fixture
async def other(store: BadLine, nursery: trio.Nursery) -> Node:
    """A second node on the same store."""
    node = Node(store, "n2")
    await nursery.start(node.run)
    return node


# --- what it costs ------------------------------------------------------------------------------------------


async def test_without_trouble_no_job_asks_the_store(store: BadLine) -> None:
    node = Node(store)
    for _ in range(100):
        assert not await render(node)
    assert store.seen == []


async def test_a_success_after_failures_is_written_once(store: BadLine) -> None:
    node = Node(store)
    await render(node, FaultKind.TIMEOUT)
    await render(node, FaultKind.TIMEOUT)
    assert (store.seen, node.sales().failures, node.failing("sales")) == (2 * ["load", "replace"], 2, True)
    store.seen.clear()
    for _ in range(10):
        await render(node)
    assert (store.seen, node.sales().failures, node.failing("sales")) == (["load", "replace"], 0, False)


async def test_no_job_waits_for_what_another_has_to_tell(store: BadLine, nursery: trio.Nursery) -> None:
    node = Node(store)
    store.seconds = 1.0
    nursery.start_soon(render, node, FaultKind.TIMEOUT)
    await trio.sleep(0.5)
    begun = trio.current_time()
    await render(node)
    assert trio.current_time() == begun
    nursery.cancel_scope.cancel()


async def test_many_that_ask_when_the_rest_is_over_cost_one_probe_and_one_question(store: BadLine) -> None:
    node = Node(store)
    await open_it(node)
    await trio.sleep(10)
    store.seen.clear()
    store.seconds = 0.1
    answers: list[bool | DeferredError] = []
    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(ask, node, answers)
    assert answers.count(True) == 1
    assert store.seen == 2 * ["load", "replace"]


# --- what counts --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", list(FaultKind))
async def test_only_faults_of_the_type_count(store: BadLine, kind: FaultKind) -> None:
    node = Node(store)
    await render(node, kind)
    counted = (1, (f"{kind}: as asked for",)) if NATURE[kind].counts_for_breaker else (0, ())
    assert (node.sales().failures, node.sales().faults) == counted


async def test_what_ends_without_a_verdict_does_not_count(store: BadLine) -> None:
    node = Node(store)
    await render(node, FaultKind.TIMEOUT)
    with pytest.raises(KeyError):
        async with node.admit("sales", TIMEOUT_SECONDS):
            raise KeyError
    async with node.admit("sales", TIMEOUT_SECONDS):
        pass
    with trio.move_on_after(1):
        async with node.admit("sales", TIMEOUT_SECONDS) as admission:
            admission.succeeded(1.0)
            await trio.sleep(1000)
    assert node.sales().failures == 1


async def test_types_are_apart(store: BadLine) -> None:
    node = Node(store)
    await open_it(node)
    await defer(node)
    assert not await render(node, report_type="users")
    assert node.resting() == {"sales"}
    assert [breaker.report_type for breaker in node.snapshot()] == ["sales", "users"]


async def test_the_listeners_hear_what_this_node_did(store: BadLine, other: Node) -> None:
    node = Node(store)
    await open_it(node)
    await trio.sleep(10)
    await render(other)
    assert [(move.event, move.by) for move in node.moves] == [(BreakerEvent.TRIPPED, "n1")]
    assert [(move.event, move.by) for move in other.moves] == [
        (BreakerEvent.PROBE_STARTED, "n2"),
        (BreakerEvent.RECOVERED, "n2"),
    ]
    assert node.moves[0].faults == 3 * ("timeout: as asked for",)


async def test_a_listener_that_fails_fails_nobody_else(store: BadLine) -> None:
    heard: list[Transition] = []

    def fails(_: Transition) -> None:
        raise KeyError

    node = Breakers(store, BreakerPolicy(failure_threshold=1), node="n1", listeners=[fails, heard.append])
    await render(node, FaultKind.TIMEOUT)
    assert [move.event for move in heard] == [BreakerEvent.TRIPPED]
    await defer(node)


# --- the probe ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["cancelled", "KeyError", "no verdict", "a fault of the node"])
async def test_a_probe_is_given_back_however_it_ends(store: BadLine, other: Node, how: str) -> None:
    node = Node(store)
    await open_it(node)
    await trio.sleep(10)
    with trio.move_on_after(1):
        if how == "a fault of the node":
            assert await render(node, FaultKind.BROWSER_UNAVAILABLE)
        else:
            try:
                async with node.admit("sales", TIMEOUT_SECONDS) as admission:
                    assert admission.probe
                    assert (await defer(other)).seconds == 10
                    if how == "cancelled":
                        await trio.sleep(1000)
                    elif how == "KeyError":
                        raise KeyError  # noqa: TRY301
            except KeyError:
                pass
    assert (await store.kept()).state is BreakerState.HALF_OPEN
    await trio.sleep(1)
    assert await render(other)
    assert (await store.kept()).state is BreakerState.CLOSED


async def test_a_probe_that_fails_is_told_even_when_it_is_cancelled_while_it_tells(store: BadLine) -> None:
    node = Node(store)
    await open_it(node)
    await trio.sleep(10)
    store.seconds = 0.5
    with trio.move_on_after(1.2) as scope:
        await render(node, FaultKind.TIMEOUT)
        await trio.lowlevel.checkpoint()
    assert scope.cancelled_caught
    assert ((await store.kept()).state, (await store.kept()).openings) == (BreakerState.OPEN, 2)


async def test_a_job_that_is_cancelled_while_it_asks_leaves_no_lease_behind(store: BadLine, other: Node) -> None:
    node = Node(store)
    await open_it(node)
    await trio.sleep(10)
    store.seconds = 0.5
    with trio.move_on_after(0.7) as scope:
        async with node.admit("sales", TIMEOUT_SECONDS):
            await trio.sleep(1000)
    assert scope.cancelled_caught
    assert [move.event for move in node.moves] == [BreakerEvent.TRIPPED, BreakerEvent.PROBE_STARTED]
    store.seconds = 0.0
    await trio.sleep(2)
    assert await render(other)


async def test_a_store_that_hangs_holds_up_a_cancelled_probe_for_a_bounded_time(store: BadLine) -> None:
    node = Node(store)
    await open_it(node)
    await trio.sleep(10)
    begun = 0.0
    with trio.move_on_after(1):
        async with node.admit("sales", TIMEOUT_SECONDS):
            store.seconds = float("inf")
            begun = trio.current_time()
            await trio.sleep(1000)
    assert trio.current_time() == pytest.approx(begun + 1 + STORE_SECONDS)
    assert "did not answer" in node.trouble


async def test_a_probe_that_outlives_its_lease_is_called_off(store: BadLine, other: Node) -> None:
    node = Node(store)
    await open_it(node)
    await trio.sleep(10)
    begun = trio.current_time()
    with pytest.raises(DeferredError, match="lease"):
        async with node.admit("sales", TIMEOUT_SECONDS):
            await trio.sleep(1000)
    assert trio.current_time() == pytest.approx(begun + TIMEOUT_SECONDS + LEASE_MARGIN_SECONDS)
    assert await render(other)


async def test_a_lease_is_counted_from_before_the_question(store: BadLine) -> None:
    """Otherwise, on a slow connection, the holder would go on after the store has granted the lease to another node."""
    node = Node(store)
    await open_it(node)
    await trio.sleep(10)
    store.seconds = 1.0
    begun = trio.current_time()

    async def go_on() -> None:
        async with node.admit("sales", TIMEOUT_SECONDS):
            store.seconds = 0.0
            await trio.sleep(1000)

    with pytest.raises(DeferredError):
        await go_on()
    assert trio.current_time() == pytest.approx(begun + TIMEOUT_SECONDS + LEASE_MARGIN_SECONDS)


async def test_whoever_is_quicker_wins_and_the_other_looks_again(store: BadLine, other: Node) -> None:
    node = Node(store)
    await open_it(node)
    await trio.sleep(10)
    answers: list[bool | DeferredError] = []
    store.seconds = 0.1
    async with trio.open_nursery() as nursery:
        for each in (node, other):
            nursery.start_soon(ask, each, answers)
    assert answers.count(True) == 1
    assert sum(isinstance(answer, DeferredError) for answer in answers) == 1
    assert [move.event for move in other.moves + node.moves[1:]] == [BreakerEvent.PROBE_STARTED, BreakerEvent.RECOVERED]


# --- deferring ----------------------------------------------------------------------------------------------


async def test_messages_come_back_when_the_rest_is_over_one_after_another(store: BadLine) -> None:
    node = Node(store)
    await open_it(node)
    await trio.sleep(4)
    seconds = [(await defer(node)).seconds for _ in range(50)]
    assert seconds == pytest.approx([6 + number / 20 for number in range(50)], abs=0.01)
    await trio.sleep(100)
    assert not node.resting()
    await render(node, FaultKind.TIMEOUT)
    assert (await defer(node)).seconds == pytest.approx((await store.kept()).until - node._now())


async def test_no_message_waits_for_longer_than_the_longest_rest_more(store: BadLine) -> None:
    node = Node(store, policy=BreakerPolicy(max_recovery_seconds=20))
    await open_it(node)
    assert max([(await defer(node)).seconds for _ in range(1000)]) == pytest.approx(30, abs=0.01)


async def test_a_job_can_be_put_off_before_it_waits_for_anything(store: BadLine) -> None:
    node = Node(store)
    node.check("sales")
    await open_it(node)
    with pytest.raises(DeferredError, match="open: 3 failures in a row") as caught:
        node.check("sales")
    assert caught.value.seconds == pytest.approx(10, abs=0.01)
    assert str(await defer(node)) == str(caught.value)
    await trio.sleep(10)
    store.seen.clear()
    node.check("sales")
    assert (store.seen, node.sales().state, node.failing("sales")) == ([], BreakerState.OPEN, True)
    assert await render(node)


# --- many nodes ---------------------------------------------------------------------------------------------


async def test_all_nodes_see_a_change_within_a_second(store: BadLine, other: Node, nursery: trio.Nursery) -> None:
    node = Node(store)
    await nursery.start(node.run)
    await open_it(node)
    await trio.sleep(1)
    assert other.sales().state is BreakerState.OPEN
    assert other.resting() == {"sales"}
    await trio.sleep(9)
    assert other.resting() == frozenset()
    await render(node)
    await trio.sleep(1)
    assert other.sales().state is BreakerState.CLOSED


async def test_whoever_goes_by_its_doubts_hears_of_them_whichever_node_has_them(store: BadLine, other: Node) -> None:
    """Otherwise jobs of a type that has recovered would wait for the one job that was allowed while it was in doubt."""
    node, heard = Node(store), list[bool]()
    other.on_change = lambda: heard.append(other.failing("sales"))
    await render(node, FaultKind.TIMEOUT)
    await render(node, FaultKind.TIMEOUT)
    await trio.sleep(1)
    await render(node)
    await render(node)
    await trio.sleep(1)
    assert heard == [True, False]


async def test_what_is_told_while_a_refresh_is_under_way_is_not_undone(store: BadLine, nursery: trio.Nursery) -> None:
    node = Node(store)
    await render(node, FaultKind.TIMEOUT)
    store.answer_seconds = 1.0
    nursery.start_soon(node._refresh)
    await trio.sleep(0.5)
    store.answer_seconds = 0.0
    await render(node, FaultKind.TIMEOUT)
    await trio.sleep(1)
    assert node.sales().failures == 2


async def test_what_an_operator_did_is_told_also_when_he_does_not_wait(store: BadLine) -> None:
    node = Node(store)
    store.seconds = 1.0
    with trio.move_on_after(1.5):
        await node.command("sales", Command("ann", BreakerEvent.FORCED_OPEN))
    assert (await store.kept()).state is BreakerState.FORCED_OPEN
    assert [(move.event, move.by) for move in node.moves] == [(BreakerEvent.FORCED_OPEN, "ann")]


# --- reload -------------------------------------------------------------------------------------------------


async def test_a_type_that_goes_and_comes_again_is_as_the_store_has_it(other: Node) -> None:
    await open_it(other)
    other.reconfigure(["users"])
    assert [breaker.report_type for breaker in other.snapshot()] == ["users"]
    assert other.resting() == frozenset()
    other.reconfigure(["users", "sales"])
    await trio.sleep(1.0)
    assert other.resting() == {"sales"}


async def test_a_job_of_a_type_that_has_gone_meanwhile_is_still_told(other: Node) -> None:
    async with other.admit("sales", TIMEOUT_SECONDS) as admission:
        other.reconfigure([])
        await trio.sleep(2.0)  # the cache is refreshed
        admission.succeeded(1.0)
    assert other.snapshot() == []
