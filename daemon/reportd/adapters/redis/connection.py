"""The connection to the Redis of the breakers. No coredis exception leaves it.

There is one connection, shared by the requests of many tasks. It is opened on demand, reopened after a failure, and
moved when the keys move. In a cluster one node is enough, as all keys of a group are in one hash slot. Only a request
that a server refused is repeated here: whether a request without an answer was executed, only its sender can find out.
"""

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import trio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from coredis import exceptions
from coredis.connection import TCPConnection, TCPLocation

from reportd.adapters.redis import errors
from reportd.adapters.redis.address import parse
from reportd.concurrency.nurseries import open_background
from reportd.ports import UnavailableError

ANSWER_SECONDS = 2.0
"""Limit of one request, connecting included. A healthy Redis answers in a millisecond."""

CONFIRM_SECONDS = 1.0
"""How long a replica may take to confirm a write."""

CONNECT_SECONDS = 0.6
"""Limit for one of several servers, so that one that hangs leaves time for the next."""

MOST_REDIRECTS = 5
"""The usual limit of Redis Cluster clients."""

MOVING_SECONDS = 0.1
"""Pause before a new request for keys that the cluster is moving."""

_NOT_EXECUTED = (exceptions.AskError, exceptions.TryAgainError, exceptions.ReadOnlyError)
"""The server has done nothing after such an error; MovedError is an AskError."""

# It prints a traceback for every failed attempt to connect; our errors report it in one line.
logging.getLogger("coredis").setLevel(logging.CRITICAL)


class Redis:
    """Made by ``open_redis``."""

    def __init__(self, url: str, nursery: trio.Nursery) -> None:
        self._address = parse(url)
        # The first one is tried first; one that fails moves to the end.
        self._servers = list(self._address.hosts)
        self._nursery = nursery
        self._connecting = trio.Lock()
        self._connection: TCPConnection | None = None
        self._moved_to: TCPLocation | None = None
        self._clustered = False

    async def run(
        self, script: str, group: str, names: Sequence[str], *arguments: str | int, confirmed: bool = False
    ) -> Any:
        """Run the Lua script and return its result; texts are bytes. Keys are GROUP:NAME, in a cluster {GROUP}:NAME.
        ``confirmed``: also wait until a replica has the writes; skipped if the script returns 0 or there is no
        replica. After UnavailableError it is unknown whether the script ran.
        """
        try:
            with trio.fail_after(ANSWER_SECONDS):
                return await self._run(script, group, names, arguments, confirmed=confirmed)
        except trio.TooSlowError:
            where = self._disconnect()
            # A Redis without TLS waits for more, as it takes the TLS greeting for a command.
            hint = "in TLS: is it rediss:// instead of redis://?" if self._address.tls else ""
            raise UnavailableError("redis", f"{where} does not answer {hint}".strip()) from None
        except exceptions.RedisError as error:
            # When cancelled during the login, coredis raises an error of its own.
            await trio.lowlevel.checkpoint_if_cancelled()
            raise UnavailableError("redis", f"{self._where()} {errors.of(error)}") from None

    async def _run(
        self, script: str, group: str, names: Sequence[str], arguments: Sequence[str | int], *, confirmed: bool
    ) -> Any:
        ask_at: TCPLocation | None = None
        for redirects_left in reversed(range(MOST_REDIRECTS + 1)):
            connection = await (self._open(ask_at) if ask_at else self._connected())
            keys = [f"{{{group}}}:{name}" if self._clustered else f"{group}:{name}" for name in names]
            try:
                # ASKING and the request are queued together, so that no other request can come between them.
                asking = connection.create_request(b"ASKING") if ask_at else None
                answer = await connection.create_request(b"EVAL", script, len(keys), *keys, *arguments)
                if asking:
                    await asking
                if confirmed and answer:
                    await self._confirm(connection)
            except _NOT_EXECUTED as error:
                if not redirects_left:
                    raise
                next_location = await self._follow(error, connection)
            else:
                return answer
            finally:
                if ask_at:
                    connection.invalidate()
            ask_at = next_location
        raise AssertionError("the last redirect is not followed")

    async def _follow(self, error: Exception, connection: TCPConnection) -> TCPLocation | None:
        """Return the server to ask for this request only; None for the one that now has the keys."""
        match error:
            case exceptions.MovedError():
                if self._abandon(connection):
                    self._moved_to = _redirect_target(error, connection)
            case exceptions.AskError():
                return _redirect_target(error, connection)
            case exceptions.TryAgainError():
                await trio.sleep(MOVING_SECONDS)
            case _:  # a fail-over: it was the primary when it was connected
                self._abandon(connection)
        return None

    async def _confirm(self, connection: TCPConnection) -> None:
        """Wait for a replica: Redis answers before its replicas know of a write, and may lose it if it fails then."""
        response: Any = await connection.create_request(b"ROLE")
        role, _, replicas, *_ = response
        if role == b"master" and replicas:
            milliseconds = int(CONFIRM_SECONDS * 1000)
            if not await connection.create_request(b"WAIT", 1, milliseconds):
                detail = f"{connection.location} took it, but none of its replicas has confirmed it"
                raise UnavailableError("redis", detail)

    # --- finding the server -------------------------------------------------------------------------------------

    async def _connected(self) -> TCPConnection:
        async with self._connecting:
            if self._connection is None or not self._connection.usable:
                self._connection = None
                moved_to, self._moved_to = self._moved_to, None
                self._connection = await (self._open(moved_to) if moved_to else self._connect_any())
            return self._connection

    async def _connect_any(self) -> TCPConnection:
        """Connect to the first server that answers and is a primary."""
        problems = []
        for server in list(self._servers):
            try:
                with trio.fail_after(CONNECT_SECONDS if len(self._servers) > 1 else float("inf")):
                    location = await self._primary(server) if self._address.primary_name else server
                    return await self._connect(location)
            except exceptions.RedisError as error:
                await trio.lowlevel.checkpoint_if_cancelled()
                problems.append(f"{server} {errors.of(error)}")
            except trio.TooSlowError:
                problems.append(f"{server} does not answer")
            except UnavailableError as error:
                problems.append(str(error).removeprefix("redis: "))
            self._servers.append(self._servers.pop(self._servers.index(server)))
        raise UnavailableError("redis", "; ".join(problems))

    async def _connect(self, location: TCPLocation) -> TCPConnection:
        """Connect and check the role. Any node of a cluster will do: it redirects. Its other nodes are remembered."""
        connection = await self._open(location)
        try:
            await self._check_role(connection)
        except BaseException:
            connection.invalidate()
            raise
        return connection

    async def _check_role(self, connection: TCPConnection) -> None:
        response: Any = await connection.create_request(b"HELLO")
        self._clustered = response[b"mode"] == b"cluster"
        if self._clustered:
            nodes = [_location(node, connection) for node in await _nodes(connection)]
            self._servers = list(dict.fromkeys([*nodes, *self._address.hosts]))
        elif response[b"role"] != b"master":
            raise exceptions.ReadOnlyError

    async def _primary(self, sentinel: TCPLocation) -> TCPLocation:
        """Return the primary's location, as Sentinel reports it."""
        options = {"ssl_context": self._address.ssl_context(), "db": None}
        try:
            connection = await self._open(sentinel, options)
        except exceptions.AuthenticationRequiredError:
            # Most Sentinels have no password. Those that have one get that of Redis.
            connection = await self._open(sentinel, options | self._address.credentials())
        name = self._address.primary_name
        try:
            location: Any = await connection.create_request(b"SENTINEL GET-MASTER-ADDR-BY-NAME", name)
        finally:
            connection.invalidate()
        if not location:
            raise UnavailableError("redis", f"{sentinel} watches no primary called {name}: check breaker.store")
        host, port = location
        return TCPLocation(host.decode(), int(port))

    async def _open(self, location: TCPLocation, options: dict[str, Any] | None = None) -> TCPConnection:
        options = self._address.connection_options() if options is None else options
        connection = TCPConnection(location, **options)
        try:
            await self._nursery.start(connection.run)
        finally:
            if not connection.usable:
                _close_buffers(connection)
        return connection

    def _abandon(self, connection: TCPConnection) -> bool:
        """Stop using a connection; it closes later, after its pending answers. Return False if done before."""

        async def close() -> None:
            await trio.sleep(ANSWER_SECONDS)
            connection.invalidate()

        if self._connection is not connection:
            return False
        self._connection = None
        self._nursery.start_soon(close)
        return True

    def _disconnect(self) -> str:
        """Close the connection and move its server to the end, so that late answers delay no other request."""
        where = self._where()
        if self._connection is not None:
            location = self._connection.location
            self._connection.invalidate()
            self._connection = None
            if location in self._servers:
                self._servers.append(self._servers.pop(self._servers.index(location)))
        return where

    def _where(self) -> str:
        return str(self._connection.location) if self._connection else " or ".join(map(str, self._servers))


@asynccontextmanager
async def open_redis(url: str) -> AsyncIterator[Redis]:
    """Yield a client of the Redis at ``url``, which need not be reachable yet."""
    async with open_background() as nursery:
        yield Redis(url, nursery)


async def _nodes(connection: TCPConnection) -> list[tuple[bytes | None, int]]:
    """Return host and port of all primaries and replicas."""
    ranges: Any = await connection.create_request(b"CLUSTER SLOTS")
    return [(node[0], int(node[1])) for _first, _last, *nodes in ranges for node in nodes]


def _redirect_target(redirect: exceptions.AskError, connection: TCPConnection) -> TCPLocation:
    return _location((redirect.host.encode(), redirect.port), connection)


def _location(node: tuple[bytes | None, int], connection: TCPConnection) -> TCPLocation:
    """Return a node's location. A node that knows no host of its own is at the host that was asked."""
    host, port = node
    name = (host or b"").decode().strip("[]")
    return TCPLocation(connection.location.host if name in ("", "?") else name, port)


def _close_buffers(connection: TCPConnection) -> None:
    """Close the buffers of a failed connection: coredis leaves them to the garbage collector, which warns."""
    for value in vars(connection).values():
        if isinstance(value, MemoryObjectSendStream | MemoryObjectReceiveStream):
            value.close()
