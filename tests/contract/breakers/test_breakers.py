"""The stores of breakers, and four nodes that share one: one probe at a time (I4). In memory, and in a real Redis: a
single one, one with TLS, one behind Sentinel, or a cluster.
"""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from functools import partial
from itertools import pairwise

import pytest
import trio

from reportd.adapters.memory_breakers import MemoryBreakers
from reportd.adapters.redis import open_breakers
from reportd.breakers import manager
from reportd.breakers.admission import DeferredError
from reportd.core.breaker.breaker import Breaker, BreakerEvent, BreakerPolicy, BreakerState, Command
from reportd.core.breaker.window import Grade
from reportd.core.faults import FaultError, FaultKind
from reportd.ports import BreakerStore
from tests.fleet import Node, all_see, fail, open_it, render, start_nodes
from tests.servers.redis import running_redis
from tests.servers.redis_cluster import RedisCluster, Sentinel, running_cluster, running_sentinel, running_tls

REST_SECONDS = 0.1
POLICY = BreakerPolicy(recovery_seconds=REST_SECONDS, max_recovery_seconds=REST_SECONDS)


@pytest.fixture(autouse=True)
def quick_refresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reportd.breakers.manager.REFRESH_SECONDS", 0.05)


@pytest.fixture(scope="module")
def cluster() -> Iterator[RedisCluster]:
    with running_cluster() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def sentinel() -> Iterator[Sentinel]:
    with running_sentinel() as sentinel:
        yield sentinel


@contextmanager
def _urls(kind: str, request: pytest.FixtureRequest) -> Iterator[list[str]]:
    """Yield four URLs of one empty Redis of that kind; those of a cluster name different nodes of it."""
    if kind == "cluster":
        cluster: RedisCluster = request.getfixturevalue("cluster")
        for server in cluster.servers:
            server.ask("FLUSHALL")
        yield (2 * cluster.urls)[:4]
    elif kind == "sentinel":
        sentinel: Sentinel = request.getfixturevalue("sentinel")
        sentinel.first.ask("FLUSHALL")
        yield 4 * [sentinel.url]
    elif kind == "tls":
        with running_tls() as (url, certificate), pytest.MonkeyPatch.context() as environment:
            environment.setenv("SSL_CERT_FILE", certificate)
            yield 4 * [url]
    else:
        with running_redis() as server:
            yield 4 * [server.url]


@pytest.fixture(params=["memory", "redis", "tls", "sentinel", "cluster"])
async def stores(request: pytest.FixtureRequest) -> AsyncIterator[list[BreakerStore]]:
    """Four ways to one store."""
    if request.param == "memory":
        store = MemoryBreakers()
        yield [store, store, store, store]
        return
    with _urls(request.param, request) as urls:
        async with AsyncExitStack() as stack:
            yield [await stack.enter_async_context(open_breakers(url)) for url in urls]


async def kept(store: BreakerStore) -> Breaker:
    return (await store.load(["sales"])).breakers["sales"]


# --- the store ----------------------------------------------------------------------------------------------


async def test_what_is_not_kept_is_left_out(stores: list[BreakerStore]) -> None:
    assert (await stores[0].load([])).breakers == {}
    assert (await stores[0].load(["sales", "users"])).breakers == {}
    assert await stores[1].replace(0, Breaker("users", version=1))
    assert (await stores[2].load(["sales", "users"])).breakers == {"users": Breaker("users", version=1)}


async def test_a_breaker_comes_back_whole(stores: list[BreakerStore]) -> None:
    breaker = Breaker(
        "sales",
        BreakerState.HALF_OPEN,
        epoch="e",
        version=3,
        since=1800000000.123456,
        until=1800000010.5,
        lease="l",
        lease_until=1800000080.25,
        failures=2,
        successes=1,
        openings=4,
        window=((1799999999.5, Grade.FAILED), (1800000000.0, Grade.FINE)),
        faults=("timeout: 60 s", "page_status: “5ö0”"),
        reason="3 failures in a row",
        by="n1",
    )
    assert await stores[0].replace(0, breaker)
    assert await kept(stores[3]) == breaker


async def test_only_what_is_known_is_replaced(stores: list[BreakerStore]) -> None:
    first, second = Breaker("sales", version=1), Breaker("sales", BreakerState.OPEN, version=2)
    assert not await stores[0].replace(1, second)
    assert await stores[0].replace(0, first)
    assert not await stores[1].replace(0, second)
    assert not await stores[1].replace(2, second)
    assert await kept(stores[2]) == first
    assert await stores[1].replace(1, second)
    assert await kept(stores[2]) == second


async def test_of_many_at_once_one_is_first(stores: list[BreakerStore]) -> None:
    won = []

    async def replace(number: int) -> None:
        if await stores[number % 4].replace(0, Breaker("sales", version=1, by=str(number))):
            won.append(str(number))

    async with trio.open_nursery() as nursery:
        for number in range(40):
            nursery.start_soon(replace, number)
    assert won == [(await kept(stores[0])).by]


async def test_the_time_is_the_stores(stores: list[BreakerStore]) -> None:
    first = (await stores[0].load([])).at
    await trio.sleep(0.05)
    second = (await stores[1].load(["sales"])).at
    assert first > 1.7e9
    assert 0.04 < second - first < 5


# --- four nodes ---------------------------------------------------------------------------------------------


@pytest.fixture
async def nodes(stores: list[BreakerStore], nursery: trio.Nursery) -> list[Node]:
    return await start_nodes(stores, POLICY, nursery)


async def test_what_one_node_learns_all_know_within_a_second(nodes: list[Node]) -> None:
    for node in nodes[:3]:
        await render(node, FaultKind.TIMEOUT)
    await all_see(nodes, BreakerState.OPEN)
    assert [move.by for node in nodes for move in node.moves] == ["n3"]
    await trio.sleep(REST_SECONDS)
    assert await render(nodes[1])
    await all_see(nodes, BreakerState.CLOSED)


async def test_one_probe_in_each_rest_of_an_outage(nodes: list[Node]) -> None:
    """Each node has four jobs that try without pause."""
    running, begun = 0, []

    async def outage(node: Node) -> None:
        nonlocal running
        while True:
            try:
                async with node.admit("sales", 1.0) as admission:
                    if admission.probe:
                        running += 1
                        begun.append(trio.current_time())
                        assert running == 1
                    await trio.sleep(0.02)
                    running -= admission.probe
                    fail()
            except (FaultError, DeferredError):
                await trio.sleep(0.01)

    await open_it(nodes[0])
    await all_see(nodes, BreakerState.OPEN)
    start = trio.current_time()
    with trio.move_on_after(10 * REST_SECONDS + 0.1):
        async with trio.open_nursery() as nursery:
            for node in 4 * nodes:
                nursery.start_soon(outage, node)
    gaps = [later - earlier for earlier, later in pairwise(begun)]
    # The store and this test have different clocks.
    assert all(gap >= REST_SECONDS + 0.02 - 0.005 for gap in gaps)
    # A busy machine starts fewer probes.
    assert 3 <= len(begun) <= (trio.current_time() - start) / (REST_SECONDS + 0.02) + 1
    probes = [move for node in nodes for move in node.moves if move.event is BreakerEvent.PROBE_STARTED]
    assert len(probes) == len(begun)


async def say_nothing(*_: object) -> None:
    await trio.lowlevel.checkpoint()


async def test_a_node_that_dies_with_the_probe_is_followed(nodes: list[Node], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manager, "LEASE_MARGIN_SECONDS", 0.3)
    await open_it(nodes[0])
    await all_see(nodes, BreakerState.OPEN)
    await trio.sleep(REST_SECONDS)
    dead = nodes[0]
    async with dead.admit("sales", 0.2) as admission:
        assert admission.probe
        held_since = trio.current_time()
        # A dead node tells the store nothing.
        monkeypatch.setattr(dead, "_apply", say_nothing)
    followed = False
    while not followed:
        assert trio.current_time() < held_since + 2
        try:
            followed = await render(nodes[1])
        except DeferredError:
            await trio.sleep(0.02)
    assert trio.current_time() >= held_since + 0.5 - 0.05
    await all_see(nodes, BreakerState.CLOSED)


async def test_an_operators_word_reaches_all(nodes: list[Node]) -> None:
    await nodes[0].command("sales", Command("ann", BreakerEvent.FORCED_OPEN, "moving"))
    await all_see(nodes, BreakerState.FORCED_OPEN)
    for node in nodes:
        with pytest.raises(DeferredError, match="held open by ann: moving"):
            await render(node)
    await nodes[3].command("sales", Command("ann", BreakerEvent.RESET))
    await all_see(nodes, BreakerState.CLOSED)


async def test_whatever_moves_a_breaker_is_told_by_one_node(nodes: list[Node]) -> None:
    """All four do the same at once; only one of them tells the listeners of each move."""

    async def command(node: Node, event: BreakerEvent) -> None:
        await node.command("sales", Command("ann", event))

    async def everywhere(what: Callable[[Node], Awaitable[object]]) -> None:
        async with trio.open_nursery() as nursery:
            for node in nodes:
                nursery.start_soon(what, node)

    async def admitted(node: Node) -> None:
        with suppress(DeferredError):
            await render(node)

    await everywhere(partial(render, fault=FaultKind.TIMEOUT))
    await all_see(nodes, BreakerState.OPEN)
    await everywhere(partial(command, event=BreakerEvent.FORCED_OPEN))
    await everywhere(partial(command, event=BreakerEvent.HURRIED))
    await all_see(nodes, BreakerState.OPEN)
    await everywhere(admitted)
    await all_see(nodes, BreakerState.CLOSED)
    await everywhere(partial(command, event=BreakerEvent.FORCED_CLOSED))
    told = Counter(move.event for node in nodes for move in node.moves)
    # HURRIED applies to a breaker that was hurried already, so each of the four has done it.
    assert told == {
        BreakerEvent.TRIPPED: 1,
        BreakerEvent.FORCED_OPEN: 1,
        BreakerEvent.HURRIED: 4,
        BreakerEvent.PROBE_STARTED: 1,
        BreakerEvent.RECOVERED: 1,
        BreakerEvent.FORCED_CLOSED: 1,
    }
