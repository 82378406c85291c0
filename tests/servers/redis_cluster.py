"""Several Redis servers as one, for tests: a cluster of three, a primary with a replica and Sentinel, one with TLS."""

import json
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from tests.servers.redis import RedisServer, make_certificate, running_redis

READY_SECONDS = 30.0
PRIMARY = "breakers"
USER, PASSWORD = "reportd", "s3cret"


def wait_for(what: str, seconds: float = READY_SECONDS) -> Iterator[None]:
    """For a loop that ends when it is there."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        yield
        time.sleep(0.05)
    raise AssertionError(f"no {what} in {seconds:g} s")


def online(servers: Sequence[RedisServer]) -> int:
    """How many replicas have caught up, in the eyes of their primaries. Before that, WAIT does not wait for them.

    A replica may say that its link is up a moment earlier.
    """
    return sum(server.ask("INFO", "replication").count("state=online") for server in servers)


class RedisCluster:
    """Three primaries, and a replica of each if asked for."""

    def __init__(self, servers: Sequence[RedisServer]) -> None:
        self.servers = servers

    @property
    def urls(self) -> list[str]:
        """One of each node, which names no other."""
        return [server.url.removesuffix("/0") for server in self.servers]

    def owner(self, key: str) -> RedisServer:
        """The primary that has its slot."""
        slot = int(self.servers[0].ask("CLUSTER", "KEYSLOT", key))
        for entry in json.loads(self.alive().ask("--json", "CLUSTER", "SLOTS")):
            if entry[0] <= slot <= entry[1]:
                return next(server for server in self.servers if server.port == entry[2][1])
        raise AssertionError(f"nobody has slot {slot}")

    def alive(self) -> RedisServer:
        return next(server for server in self.servers if server.runs)


@contextmanager
def running_cluster(*, replicas: int = 0) -> Iterator[RedisCluster]:
    with ExitStack() as stack:
        servers = [stack.enter_context(running_redis()) for _ in range(3 + 3 * replicas)]
        for server in servers:
            server.stop()
            with_bus = ("--cluster-port", str(RedisServer(server.folder).port))
            options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "800", *with_bus)
            server.start(*options, "--repl-diskless-sync-delay", "0")
        addresses = [f"127.0.0.1:{server.port}" for server in servers]
        create = ["redis-cli", "--cluster", "create", *addresses, "--cluster-replicas", str(replicas), "--cluster-yes"]
        subprocess.run(create, check=True, capture_output=True, env=os.environ)
        for _ in wait_for("cluster"):
            states = [server.ask("CLUSTER", "INFO") for server in servers]
            if all("cluster_state:ok" in state for state in states) and online(servers) == 3 * replicas:
                break
        yield RedisCluster(servers)


class Sentinel:
    """A primary and a replica, which one Sentinel looks after."""

    def __init__(self, first: RedisServer, second: RedisServer, sentinel: RedisServer) -> None:
        self.first, self.second, self.sentinel = first, second, sentinel

    @property
    def url(self) -> str:
        return f"redis+sentinel://127.0.0.1:{self.sentinel.port}/{PRIMARY}"

    def fail_over(self) -> None:
        """The first one is killed; the second takes its place."""
        self.first.stop()
        for _ in wait_for("failover"):
            if "role:master" in self.second.ask("INFO", "replication"):
                break


@contextmanager
def running_sentinel() -> Iterator[Sentinel]:
    with running_redis() as first, running_redis() as second, running_redis() as sentinel:
        first.ask("CONFIG", "SET", "repl-diskless-sync-delay", "0")
        second.ask("REPLICAOF", "127.0.0.1", str(first.port))
        for _ in wait_for("replica"):
            if online([first]):
                break
        sentinel.stop()
        file = sentinel.folder / "sentinel.conf"
        file.write_text(
            f"sentinel monitor {PRIMARY} 127.0.0.1 {first.port} 1\n"
            f"sentinel down-after-milliseconds {PRIMARY} 500\n"
            f"sentinel failover-timeout {PRIMARY} 3000\n"
        )
        sentinel.start_sentinel(file)
        for _ in wait_for("Sentinel that knows the replica"):
            if str(second.port) in sentinel.ask("SENTINEL", "REPLICAS", PRIMARY):
                break
        yield Sentinel(first, second, sentinel)


@contextmanager
def running_tls() -> Iterator[tuple[str, str]]:
    """Its URL, and the file of the certificate to trust."""
    with running_redis() as server:
        certificate, key = make_certificate(server.folder, "localhost")
        server.stop()
        files = ("--tls-cert-file", certificate, "--tls-key-file", key, "--tls-ca-cert-file", certificate)
        server.start("--port", "0", "--tls-port", str(server.port), "--tls-auth-clients", "no", *files)
        yield f"rediss://localhost:{server.port}", certificate
