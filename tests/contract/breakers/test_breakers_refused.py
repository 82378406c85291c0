"""Each way in which Redis can refuse: ``doctor`` names the cause and the remedy, and no order succeeds."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from reportd.adapters.redis import check, open_breakers
from reportd.adapters.redis.errors import CLUSTER_COMMANDS, COMMANDS
from reportd.core.breaker.breaker import Breaker, BreakerState
from reportd.ports import BreakerStore, UnavailableError
from tests.servers.redis import RedisServer, make_certificate, running_redis
from tests.servers.redis_cluster import running_cluster, wait_for

pytestmark = pytest.mark.stands_still("what starts servers is not asynchronous")


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with running_redis() as server:
        yield server


def user(redis: RedisServer, *rules: str) -> str:
    """Return the URL of a user who has only these rights."""
    redis.ask("ACL", "SETUSER", "ann", "reset", "on", ">s3cret", *rules)
    return redis.url.replace("redis://", "redis://ann:s3cret@")


def away(redis: RedisServer) -> str:
    redis.stop()
    return redis.url


def password_missing(redis: RedisServer) -> str:
    redis.ask("CONFIG", "SET", "requirepass", "s3cret")
    return redis.url


def password_wrong(redis: RedisServer) -> str:
    return user(redis).replace("s3cret", "guess")


def command_forbidden(redis: RedisServer) -> str:
    return user(redis, "~*", "+@all", "-eval")


def set_forbidden(redis: RedisServer) -> str:
    return user(redis, "~*", "+@all", "-set")


def wait_forbidden(redis: RedisServer) -> str:
    return user(redis, "~*", "+@all", "-role")


def key_forbidden(redis: RedisServer) -> str:
    return user(redis, "~other:*", "+@all")


def replica(redis: RedisServer) -> str:
    redis.ask("REPLICAOF", "127.0.0.1", "1")
    return redis.url


def full(redis: RedisServer) -> str:
    redis.ask("CONFIG", "SET", "maxmemory", "1")
    return redis.url


def without_replicas(redis: RedisServer) -> str:
    redis.ask("CONFIG", "SET", "min-replicas-to-write", "1")
    return redis.url


def unsaved(redis: RedisServer) -> str:
    # It listens before it looks for its file; a folder in its place would end it then.
    for _ in wait_for("Redis has begun"):
        if redis.ask("PING") == "PONG":
            break
    (redis.folder / "dump.rdb").mkdir()
    (redis.folder / "dump.rdb" / "in the way").mkdir()
    redis.ask("CONFIG", "SET", "save", "1 1")
    redis.ask("SET", "x", "1")
    for _ in wait_for("BGSAVE that failed"):
        if "rdb_last_bgsave_status:err" in redis.ask("INFO", "persistence"):
            break
    return redis.url


def uncovered(redis: RedisServer) -> str:
    redis.stop()
    redis.start("--cluster-enabled", "yes", "--cluster-port", str(RedisServer(redis.folder).port))
    return redis.url


def numbered_cluster(redis: RedisServer) -> str:
    return uncovered(redis).removesuffix("/0") + "/3"


def no_such_database(redis: RedisServer) -> str:
    return redis.url.removesuffix("/0") + "/99"


def no_tls(redis: RedisServer) -> str:
    return redis.url.replace("redis://", "rediss://")


def _tls(redis: RedisServer, clients: str) -> str:
    certificate, key = make_certificate(redis.folder, "localhost")
    redis.stop()
    files = ("--tls-cert-file", certificate, "--tls-key-file", key, "--tls-ca-cert-file", certificate)
    redis.start("--port", "0", "--tls-port", str(redis.port), "--tls-auth-clients", clients, *files)
    return f"rediss://localhost:{redis.port}"


def unknown_certificate(redis: RedisServer) -> str:
    return _tls(redis, "no")


REFUSALS: list[tuple[Callable[[RedisServer], str], str]] = [
    (away, "can't be reached"),
    (password_missing, "refuses the user and password: check breaker.store"),
    (password_wrong, "refuses the user and password: check breaker.store"),
    (command_forbidden, r"does not allow the user the command eval \(NOPERM\): ACL SETUSER NAME .*\+eval"),
    (set_forbidden, r"does not allow the user .*\(NOPERM\): ACL SETUSER NAME .*\+set "),
    (wait_forbidden, r"does not allow the user the command role \(NOPERM\): ACL SETUSER NAME .*\+role \+wait"),
    (key_forbidden, r"does not allow the user a key of the breakers \(NOPERM\): ACL SETUSER NAME ~"),
    (replica, "is a replica: breaker.store must be the primary"),
    (full, "is out of memory: raise its maxmemory"),
    (without_replicas, "too few of its replicas"),
    (unsaved, "can't save its data: look at its log and disk"),
    (uncovered, "a cluster that is down: look at CLUSTER INFO"),
    (numbered_cluster, "no numbered databases: leave the number out of breaker.store"),
    (no_such_database, "no database of that number"),
    (no_tls, "does not answer in TLS"),
    (unknown_certificate, "TLS certificate of another name or nobody known: set SSL_CERT_FILE"),
]


@pytest.fixture(params=REFUSALS, ids=[cause.__name__ for cause, _ in REFUSALS])
def refusal(request: pytest.FixtureRequest, redis: RedisServer) -> tuple[str, str]:
    cause, words = request.param
    return cause(redis), words


async def order(store: BreakerStore) -> None:
    """Do what a node does for an operator."""
    await store.load(["sales"])
    await store.replace(0, Breaker("sales", BreakerState.FORCED_OPEN, version=1), durable=True)


async def test_no_order_is_answered_with_success(refusal: tuple[str, str]) -> None:
    url, words = refusal
    async with open_breakers(url) as store:
        with pytest.raises(UnavailableError, match=words) as caught:
            await order(store)
        assert "s3cret" not in str(caught.value)


async def test_doctor_says_what_to_do(refusal: tuple[str, str]) -> None:
    url, words = refusal
    (problem,) = await check(url, "reportd")
    with pytest.raises(AssertionError, match=words):
        raise AssertionError(problem)


async def test_doctor_leaves_nothing_behind_where_all_is_well(redis: RedisServer) -> None:
    for _ in range(2):
        assert await check(redis.url, "reportd") == []
    assert int(redis.ask("PTTL", "reportd:breaker:.doctor")) <= 2000


async def test_a_server_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reportd.adapters.redis.connection.ANSWER_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        (problem,) = await check(f"redis://127.0.0.1:{mute.getsockname()[1]}", "reportd")
    assert "does not answer" in problem


async def test_a_client_certificate_is_asked_for_in_vain(redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    url = _tls(redis, "yes")
    monkeypatch.setenv("SSL_CERT_FILE", str(redis.folder / "certificate.pem"))
    (problem,) = await check(url, "reportd")
    assert "tls-auth-clients" in problem


# --- who may do no more than is documented ------------------------------------------------------------------


@contextmanager
def servers(kind: str) -> Iterator[list[RedisServer]]:
    if kind == "single":
        with running_redis() as server:
            yield [server]
    else:
        with running_cluster() as cluster:
            yield list(cluster.servers)


@pytest.mark.parametrize("kind", ["single", "cluster"])
async def test_the_documented_rights_are_enough_and_all_are_needed(kind: str) -> None:
    documented = (Path(__file__).parents[3] / "docs" / "OPERATIONS.md").read_text()
    assert f"~reportd:breaker:* {COMMANDS}\n" in documented
    assert f"~{{reportd:breaker}}:* {CLUSTER_COMMANDS}\n" in documented
    rights = COMMANDS.split() + (CLUSTER_COMMANDS.split() if kind == "cluster" else [])
    with servers(kind) as all_servers:
        keys = "~reportd:breaker:*" if kind == "single" else "~{reportd:breaker}:*"
        for server in all_servers:
            url = user(server, keys, *rights)
        assert await check(url.removesuffix("/0"), "reportd") == []
        # Not asked for here: a number of a database, a replica, a slot on its way.
        for right in set(rights) - {"+select", "+wait", "+asking"}:
            for server in all_servers:
                url = user(server, keys, *(other for other in rights if other != right))
            assert await check(url.removesuffix("/0"), "reportd"), right
