"""What happens to orders and probes while another Redis takes over, and while a cluster moves the keys."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import pytest
import trio

from reportd.adapters.redis import open_breakers
from reportd.breakers.admission import DeferredError
from reportd.core.breaker.breaker import Breaker, BreakerEvent, BreakerPolicy, BreakerState, Command
from reportd.ports import UnavailableError
from tests.fleet import Node, all_see, open_it, render, start_nodes
from tests.servers.redis import running_redis
from tests.servers.redis_cluster import running_cluster, running_sentinel

pytestmark = pytest.mark.stands_still("what starts and stops servers is not asynchronous")

REST_SECONDS = 0.1
POLICY = BreakerPolicy(recovery_seconds=REST_SECONDS, max_recovery_seconds=REST_SECONDS)
TAG = "{reportd:breaker}"


@pytest.fixture(params=["sentinel", "cluster"])
def takeover(request: pytest.FixtureRequest) -> Iterator[tuple[list[str], Callable[[], None]]]:
    """Yield the URLs of four nodes, and a function that kills their primary. Another one then takes over."""
    if request.param == "sentinel":
        with running_sentinel() as sentinel:
            yield 4 * [sentinel.url], sentinel.first.stop
        return
    with running_cluster(replicas=1) as cluster:
        owner = cluster.owner(f"{TAG}:sales")
        yield 4 * [owner.url], owner.stop


@asynccontextmanager
async def fleet(urls: Sequence[str]) -> AsyncIterator[list[Node]]:
    async with AsyncExitStack() as stack:
        stores = [await stack.enter_async_context(open_breakers(url)) for url in urls]
        async with trio.open_nursery() as running:
            yield await start_nodes(stores, POLICY, running)
            running.cancel_scope.cancel()


async def ordered(node: Node, event: BreakerEvent) -> None:
    """Repeat the order until it succeeds, as an operator does."""
    with trio.fail_after(20):
        while True:
            try:
                await node.command("sales", Command("ann", event))
            except UnavailableError:
                await trio.sleep(0.1)
            else:
                return


async def test_an_order_outlives_the_server_that_took_it(takeover: tuple[list[str], Callable[[], None]]) -> None:
    """An order succeeds only once a replica has it, so the server may die at that instant."""
    urls, kill = takeover
    async with fleet(urls) as nodes:
        await nodes[0].command("sales", Command("ann", BreakerEvent.FORCED_OPEN))
        kill()
        await ordered(nodes[1], BreakerEvent.FORCED_OPEN)
        await all_see(nodes, BreakerState.FORCED_OPEN, 15)
        await ordered(nodes[2], BreakerEvent.RESET)
        await all_see(nodes, BreakerState.CLOSED, 15)
        assert [move.event for node in nodes for move in node.moves] == [BreakerEvent.FORCED_OPEN, BreakerEvent.RESET]


async def test_a_probe_outlives_it_too(takeover: tuple[list[str], Callable[[], None]]) -> None:
    urls, kill = takeover
    async with fleet(urls) as nodes:
        await open_it(nodes[0])
        await all_see(nodes, BreakerState.OPEN)
        await trio.sleep(REST_SECONDS)
        async with nodes[0].admit("sales", 60.0) as admission:
            assert admission.probe
            await all_see(nodes, BreakerState.HALF_OPEN)
            kill()
            for node in nodes[1:]:
                with pytest.raises(DeferredError):
                    await render(node)
            with trio.fail_after(15):
                while True:
                    with suppress(UnavailableError):
                        await nodes[1].command("sales", Command("ann", BreakerEvent.HURRIED))
                        break
            for node in nodes[1:]:
                with suppress(DeferredError):
                    assert not await render(node)
            admission.succeeded(1.0)
        await all_see(nodes, BreakerState.CLOSED, 15)


async def test_an_order_that_no_replica_has_is_no_success() -> None:
    with running_redis() as first, running_redis() as second:
        second.ask("REPLICAOF", "127.0.0.1", str(first.port))
        async with open_breakers(first.url) as store:
            with trio.fail_after(10):
                while "state=online" not in first.ask("INFO", "replication"):
                    await trio.sleep(0.05)
            assert await store.replace(0, Breaker("sales", version=1), durable=True)
            with second.hanging():
                assert await store.replace(1, Breaker("sales", version=2))
                with pytest.raises(UnavailableError, match="none of its replicas has confirmed it"):
                    await store.replace(2, Breaker("sales", version=3), durable=True)


async def test_keys_that_are_being_moved_are_followed() -> None:
    """Redis answers ASK while they are being moved, and MOVED afterwards."""
    with running_cluster() as cluster:
        source = cluster.owner(f"{TAG}:sales")
        target = next(server for server in cluster.servers if server is not source)
        slot = source.ask("CLUSTER", "KEYSLOT", TAG)
        async with open_breakers(source.url) as store:
            assert await store.replace(0, Breaker("sales", version=1))
            target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", source.ask("CLUSTER", "MYID"))
            source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", target.ask("CLUSTER", "MYID"))
            # The source answers for keys it still has; a new key goes to the target.
            assert (await store.load(["sales"])).breakers["sales"].version == 1
            assert await store.replace(0, Breaker("users", version=1))
            with pytest.raises(UnavailableError, match="is moving these keys"):
                await store.load(["sales", "users"])
            source.ask("MIGRATE", "127.0.0.1", str(target.port), "", "0", "1000", "KEYS", f"{TAG}:sales")
            assert set((await store.load(["sales", "users"])).breakers) == {"sales", "users"}
            for server in (target, source):
                server.ask("CLUSTER", "SETSLOT", slot, "NODE", target.ask("CLUSTER", "MYID"))
            assert await store.replace(1, Breaker("sales", version=2))
        assert '"sales"' in target.ask("GET", f"{TAG}:sales")


async def test_a_server_that_becomes_a_replica_is_left() -> None:
    """An operator or Sentinel demotes it, and the connection stays open."""
    with running_redis() as first, running_redis() as second:
        both = f"{first.url.removesuffix('/0')},127.0.0.1:{second.port}"
        async with open_breakers(both) as store:
            assert await store.replace(0, Breaker("sales", version=1))
            first.ask("REPLICAOF", "127.0.0.1", str(second.port))
            assert not await store.replace(1, Breaker("sales", version=2))
            assert await store.replace(0, Breaker("sales", version=1))
        assert "sales" in second.ask("GET", "reportd:breaker:sales")


async def test_sentinel_is_asked_again_and_says_what_it_does_not_know() -> None:
    with running_sentinel() as sentinel:
        port = sentinel.sentinel.port
        async with open_breakers(f"redis+sentinel://127.0.0.1:1,127.0.0.1:{port}/breakers") as store:
            assert (await store.load(["sales"])).breakers == {}
        async with open_breakers(f"redis+sentinel://127.0.0.1:{port}/other") as store:
            with pytest.raises(UnavailableError, match=r"watches no primary called other: check breaker\.store"):
                await store.load(["sales"])
