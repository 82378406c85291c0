"""What only Redis does to its callers: it forgets, hangs or goes away. And the connection to it."""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack

import pytest
import trio

from reportd.adapters.redis import open_breakers
from reportd.breakers.admission import DeferredError
from reportd.core.breaker.breaker import Breaker, BreakerEvent, BreakerPolicy, BreakerState, Command
from reportd.core.faults import FaultKind
from reportd.ports import BreakerStore, UnavailableError
from tests.fleet import Node, all_see, render, start_nodes
from tests.servers.redis import RedisServer, make_certificate, running_redis

REST_SECONDS = 0.1
POLICY = BreakerPolicy(recovery_seconds=REST_SECONDS, max_recovery_seconds=REST_SECONDS)


@pytest.fixture(autouse=True)
def quick_refresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reportd.breakers.manager.REFRESH_SECONDS", 0.05)


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with running_redis() as server:
        yield server


@pytest.fixture
async def shared(redis: RedisServer) -> AsyncIterator[list[Node]]:
    """Four nodes on one Redis."""
    async with AsyncExitStack() as stack:
        stores: list[BreakerStore] = [await stack.enter_async_context(open_breakers(redis.url)) for _ in range(4)]
        async with trio.open_nursery() as running:
            yield await start_nodes(stores, POLICY, running)
            running.cancel_scope.cancel()


async def kept(store: BreakerStore) -> Breaker:
    return (await store.load(["sales"])).breakers["sales"]


async def trouble_is_seen(nodes: Sequence[Node]) -> None:
    with trio.fail_after(5):
        while not all(node.trouble for node in nodes):
            await trio.sleep(0.01)


async def trouble_is_over(nodes: Sequence[Node]) -> None:
    with trio.fail_after(5):
        while any(node.trouble for node in nodes):
            await trio.sleep(0.01)


async def test_a_redis_that_restarts_is_found_again_and_has_forgotten(redis: RedisServer) -> None:
    async with open_breakers(redis.url) as store:
        assert await store.replace(0, Breaker("sales", version=1))
        redis.stop()
        with pytest.raises(UnavailableError, match="can't be reached"):
            await store.load(["sales"])
        redis.start()
        assert (await store.load(["sales"])).breakers == {}
        assert await store.replace(0, Breaker("sales", version=1))


async def test_a_redis_that_hangs_counts_nothing_twice(
    redis: RedisServer, shared: list[Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reportd.adapters.redis.connection.ANSWER_SECONDS", 0.2)
    await render(shared[0], FaultKind.TIMEOUT)
    with redis.hanging():
        begun = trio.current_time()
        await render(shared[0], FaultKind.TIMEOUT)
        assert trio.current_time() - begun < 1
        assert "does not answer" in shared[0].trouble
        begun = trio.current_time()
        await render(shared[0])
        await render(shared[0], FaultKind.TIMEOUT)
        assert trio.current_time() - begun < 0.1
    await trouble_is_over(shared)
    assert shared[0].sales().failures == 1
    assert '"failures":1' in redis.ask("GET", "reportd:breaker:sales")


async def test_the_nodes_clocks_do_not_matter(redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_breakers(redis.url) as store, trio.open_nursery() as running:
        nodes = []
        policy = BreakerPolicy(recovery_seconds=0.5)
        for hours in (-2, -1, 1, 2):
            monkeypatch.setattr("reportd.breakers.manager.time.time", lambda hours=hours: 1.8e9 + 3600 * hours)
            nodes.append(Node(store, f"n{hours}", policy))
            await running.start(nodes[-1].run)
        for node in nodes[:3]:
            await render(node, FaultKind.TIMEOUT)
        await all_see(nodes, BreakerState.OPEN)
        for node in nodes:
            with pytest.raises(DeferredError) as caught:
                await render(node)
            assert caught.value.seconds <= 0.5
        await trio.sleep(0.5)
        assert await render(nodes[0])
        await all_see(nodes, BreakerState.CLOSED)
        running.cancel_scope.cancel()


async def test_what_is_kept_ends_by_itself(redis: RedisServer) -> None:
    async with open_breakers(redis.url) as store:
        await store.replace(0, Breaker("sales", BreakerState.OPEN, version=1, since=1000, until=4000))
        await store.replace(0, Breaker("users", version=1))
    assert 86400 + 2990 < int(redis.ask("TTL", "reportd:breaker:sales")) <= 86400 + 3000
    assert 86390 < int(redis.ask("TTL", "reportd:breaker:users")) <= 86400


async def test_fleets_and_databases_are_apart(redis: RedisServer) -> None:
    breaker = Breaker("sales", version=1)
    async with (
        open_breakers(redis.url) as one,
        open_breakers(redis.url, "staging") as other,
        open_breakers(redis.url.replace("/0", "/3")) as third,
    ):
        assert [await store.replace(0, breaker) for store in (one, other, third)] == [True, True, True]
    assert sorted(redis.ask("KEYS", "*").split()) == ["reportd:breaker:sales", "staging:breaker:sales"]
    assert redis.ask("-n", "3", "KEYS", "*") == "reportd:breaker:sales"


@pytest.mark.parametrize("text", ["", "nonsense", "7", "7 nonsense", '7 {"report_type": "sales", "state": "ajar"}'])
async def test_what_can_not_be_read_is_replaced(redis: RedisServer, text: str) -> None:
    redis.ask("SET", "reportd:breaker:sales", text)
    async with open_breakers(redis.url) as store:
        found = await kept(store)
        assert (found.report_type, found.state) == ("sales", BreakerState.CLOSED)
        assert await store.replace(found.version, Breaker("sales", BreakerState.OPEN, version=found.version + 1))
        assert (await kept(store)).state is BreakerState.OPEN


# --- the connection -----------------------------------------------------------------------------------------


async def test_no_secret_is_told(redis: RedisServer, capfd: pytest.CaptureFixture[str]) -> None:
    redis.stop()
    redis.start("--requirepass", "p@ss/w:rd")
    address = redis.url.removeprefix("redis://")
    async with open_breakers(f"redis://:p%40ss%2Fw%3Ard@{address}") as store:
        assert (await store.load([])).breakers == {}
        assert "p@ss" not in repr(store) + repr(vars(store))
    for wrong in (f"redis://:s3cret@{address}", f"redis://ann:s3cret@{address}", f"redis://{address}"):
        async with open_breakers(wrong) as store:
            with pytest.raises(UnavailableError, match="refuses the user and password") as caught:
                await store.load([])
            assert "s3cret" not in str(caught.value)
            assert caught.value.part == "redis"
    out, err = capfd.readouterr()
    assert out + err == ""


async def test_a_full_redis_is_said_to_be_full(redis: RedisServer) -> None:
    redis.ask("CONFIG", "SET", "maxmemory", "1")
    async with open_breakers(redis.url) as store:
        with pytest.raises(UnavailableError, match="out of memory"):
            await store.replace(0, Breaker("sales", version=1))


async def test_a_replica_is_no_store(redis: RedisServer) -> None:
    redis.ask("REPLICAOF", "127.0.0.1", "1")
    async with open_breakers(redis.url) as store:
        with pytest.raises(UnavailableError, match="must be the primary"):
            await store.replace(0, Breaker("sales", version=1))


async def test_tls_with_a_certificate_that_must_be_trusted(redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate, key = make_certificate(redis.folder, "localhost")
    redis.stop()
    files = ("--tls-cert-file", certificate, "--tls-key-file", key, "--tls-ca-cert-file", certificate)
    redis.start("--port", "0", "--tls-port", str(redis.port), "--tls-auth-clients", "no", *files)
    async with open_breakers(f"rediss://localhost:{redis.port}") as store:
        with pytest.raises(UnavailableError, match="certificate"):
            await store.load([])
    monkeypatch.setenv("SSL_CERT_FILE", certificate)
    async with open_breakers(f"rediss://localhost:{redis.port}") as store:
        assert (await store.load([])).breakers == {}
    async with open_breakers(f"rediss://127.0.0.1:{redis.port}") as store:
        with pytest.raises(UnavailableError, match="certificate"):
            await store.load([])


async def test_a_connection_that_has_gone_dead_is_replaced(
    redis: RedisServer, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A firewall that forgets a connection does this: nothing arrives any more, without an error."""
    monkeypatch.setattr("reportd.adapters.redis.connection.ANSWER_SECONDS", 0.2)
    line = trio.CancelScope()

    async def relay(client: trio.SocketStream) -> None:
        async with client, await trio.open_tcp_stream("127.0.0.1", redis.port) as server, trio.open_nursery() as both:
            both.start_soon(pump, server, client)
            with line:
                await pump(client, server)
            await trio.sleep_forever()

    listeners = await nursery.start(trio.serve_tcp, relay, 0)
    async with open_breakers(f"redis://127.0.0.1:{listeners[0].socket.getsockname()[1]}") as store:
        await store.load([])
        line.cancel()
        with pytest.raises(UnavailableError, match="does not answer"):
            await store.load([])
        line = trio.CancelScope()
        await store.load([])
    nursery.cancel_scope.cancel()


async def test_cancellation_is_no_trouble_of_redis(nursery: trio.Nursery) -> None:
    """During the greeting, during the wait for an answer, and many times over."""
    mute = await nursery.start(trio.serve_tcp, _say_nothing, 0)
    port = mute[0].socket.getsockname()[1]
    async with open_breakers(f"redis://127.0.0.1:{port}") as store:
        for _ in range(100):
            with trio.move_on_after(0.001) as scope:
                await store.load([])
            assert scope.cancelled_caught
    nursery.cancel_scope.cancel()


async def test_a_cancelled_request_costs_nobody_the_connection(redis: RedisServer) -> None:
    async with open_breakers(redis.url) as store:
        await store.replace(0, Breaker("sales", version=1))
        before = redis.ask("INFO", "stats").split("total_connections_received:")[1].split()[0]
        for number in range(100):
            with trio.move_on_after(0.0002 * (number % 4)):
                await store.load(["sales"])
            assert (await kept(store)).version == 1
        after = redis.ask("INFO", "stats").split("total_connections_received:")[1].split()[0]
        # The one connection is that of redis-cli.
        assert int(after) - int(before) == 1


async def test_many_ask_at_once_on_one_connection(redis: RedisServer) -> None:
    async with open_breakers(redis.url) as store, trio.open_nursery() as nursery:
        for _ in range(200):
            nursery.start_soon(store.load, ["sales", "users"])
    assert redis.ask("INFO", "stats").count("total_connections_received:3") <= 1


async def pump(source: trio.SocketStream, target: trio.SocketStream) -> None:
    async for data in source:
        await target.send_all(data)


async def _say_nothing(stream: trio.SocketStream) -> None:
    async with stream:
        async for _ in stream:
            pass


@pytest.mark.parametrize("how", ["restart", "flush"])
async def test_a_redis_that_forgot_is_told_again(redis: RedisServer, shared: list[Node], how: str) -> None:
    await shared[0].command("sales", Command("ann", BreakerEvent.FORCED_OPEN, "moving"))
    await all_see(shared, BreakerState.FORCED_OPEN)
    if how == "restart":
        redis.stop()
        await trouble_is_seen(shared)
        redis.start()
        await trouble_is_over(shared)
    else:
        redis.ask("FLUSHALL")
        assert redis.ask("DBSIZE") == "0"
    with trio.fail_after(5):
        while redis.ask("EXISTS", "reportd:breaker:sales") == "0":
            await trio.sleep(0.05)
    await trio.sleep(0.2)
    assert {node.sales().state for node in shared} == {BreakerState.FORCED_OPEN}
    assert "moving" in redis.ask("GET", "reportd:breaker:sales")


async def test_without_redis_each_node_goes_on(redis: RedisServer, shared: list[Node]) -> None:
    await render(shared[0], FaultKind.TIMEOUT)
    redis.stop()
    for _ in range(2):
        for node in shared[:2]:
            await render(node, FaultKind.TIMEOUT)
    assert "can't be reached" in shared[0].trouble
    # Its own two and the one of before.
    assert shared[0].sales().state is BreakerState.OPEN
    assert not await render(shared[2])
    await trio.sleep(REST_SECONDS)
    assert await render(shared[0])
    assert shared[0].sales().state is BreakerState.CLOSED
    redis.start()
    await trouble_is_over(shared)
