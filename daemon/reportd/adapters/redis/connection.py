"""The connection to the Redis that keeps the breakers. No coredis exception leaves it.

It is one, because requests of many tasks travel on it side by side; it is opened when it is needed, again when it
broke, and elsewhere when the keys are. Of a cluster one node is enough, as all keys of a group are in one slot.
Nothing is sent twice by itself but what a server has refused: whether a request whose answer was lost has been
carried out, only its sender can find out.
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
"""For one request, connecting included. Redis answers in a millisecond, or something is wrong."""

CONFIRM_SECONDS = 1.0
"""How long a replica may take to have what was written."""

CONNECT_SECONDS = 0.6
"""For one of several servers: one that hangs must leave time for the next."""

MOST_REDIRECTS = 5
"""As many as clients of Redis Cluster usually follow."""

MOVING_SECONDS = 0.1
"""Before keys that a cluster is just moving are asked for again."""

_NOT_DONE = (exceptions.AskError, exceptions.TryAgainError, exceptions.ReadOnlyError)
"""A server that says so has done nothing; MovedError is an AskError."""

# It would print a traceback for every attempt to connect; what is wrong is said here, and by the caller.
logging.getLogger("coredis").setLevel(logging.CRITICAL)


class Redis:
    """Made by ``open_redis``."""

    def __init__(self, url: str, nursery: trio.Nursery) -> None:
        self._address = parse(url)
        # The first is asked first; one that fails goes to the end.
        self._servers = list(self._address.hosts)
        self._nursery = nursery
        self._connecting = trio.Lock()
        self._connection: TCPConnection | None = None
        self._moved_to: TCPLocation | None = None
        self._clustered = False

    async def run(
        self, script: str, group: str, names: Sequence[str], *arguments: str | int, confirmed: bool = False
    ) -> Any:
        """What the Lua script returns, texts as bytes. Its keys are GROUP:NAME, in a cluster {GROUP}:NAME.

        ``confirmed``: unless it returns 0, a replica has what it wrote, if there are any. Raises UnavailableError; then
        the script may have run or not.
        """
        try:
            with trio.fail_after(ANSWER_SECONDS):
                return await self._run(script, group, names, arguments, confirmed=confirmed)
        except trio.TooSlowError:
            where = self._give_up()
            # A Redis without TLS waits for the end of what it takes for a command.
            how = "in TLS: is it rediss:// instead of redis://?" if self._address.tls else ""
            raise UnavailableError("redis", f"{where} does not answer {how}".strip()) from None
        except exceptions.RedisError as error:
            # Cancelled while it greets the server, coredis raises an error of its own instead.
            await trio.lowlevel.checkpoint_if_cancelled()
            raise UnavailableError("redis", f"{self._where()} {errors.of(error)}") from None

    async def _run(
        self, script: str, group: str, names: Sequence[str], arguments: Sequence[str | int], *, confirmed: bool
    ) -> Any:
        asking: TCPLocation | None = None
        for left in reversed(range(MOST_REDIRECTS + 1)):
            connection = await (self._open(asking) if asking else self._connected())
            keys = [f"{{{group}}}:{name}" if self._clustered else f"{group}:{name}" for name in names]
            try:
                # The leave that it needs and the request are on their way before anything else can be.
                leave = connection.create_request(b"ASKING") if asking else None
                answer = await connection.create_request(b"EVAL", script, len(keys), *keys, *arguments)
                if leave:
                    await leave
                if confirmed and answer:
                    await self._confirm(connection)
            except _NOT_DONE as error:
                if not left:
                    raise
                elsewhere = await self._follow(error, connection)
            else:
                return answer
            finally:
                if asking:
                    connection.invalidate()
            asking = elsewhere
        raise AssertionError("the last redirect is not followed")

    async def _follow(self, error: Exception, connection: TCPConnection) -> TCPLocation | None:
        """Whom to ask, this once; None: whoever has the keys by now."""
        match error:
            case exceptions.MovedError():
                if self._leave(connection):
                    self._moved_to = _named(error, connection)
            case exceptions.AskError():
                return _named(error, connection)
            case exceptions.TryAgainError():
                await trio.sleep(MOVING_SECONDS)
            case _:  # it was the primary when it was connected to
                self._leave(connection)
        return None

    async def _confirm(self, connection: TCPConnection) -> None:
        """Redis answers before its replicas reconfigure: what it has just taken may be lost with it."""
        about: Any = await connection.create_request(b"ROLE")
        role, _, replicas, *_ = about
        if role == b"master" and replicas:
            milliseconds = int(CONFIRM_SECONDS * 1000)
            if not await connection.create_request(b"WAIT", 1, milliseconds):
                why = f"{_at(connection)} took it, but none of its replicas has confirmed it"
                raise UnavailableError("redis", why)

    # --- finding the server -------------------------------------------------------------------------------------

    async def _connected(self) -> TCPConnection:
        async with self._connecting:
            if self._connection is None or not self._connection.usable:
                self._connection = None
                moved_to, self._moved_to = self._moved_to, None
                self._connection = await (self._open(moved_to) if moved_to else self._found())
            return self._connection

    async def _found(self) -> TCPConnection:
        """The first server of several that is there and is the primary."""
        refused = []
        for server in list(self._servers):
            try:
                with trio.fail_after(CONNECT_SECONDS if len(self._servers) > 1 else float("inf")):
                    location = await self._primary(server) if self._address.primary_name else server
                    return await self._greeted(location)
            except exceptions.RedisError as error:
                await trio.lowlevel.checkpoint_if_cancelled()
                refused.append(f"{server} {errors.of(error)}")
            except trio.TooSlowError:
                refused.append(f"{server} does not answer")
            except UnavailableError as error:
                refused.append(str(error).removeprefix("redis: "))
            self._servers.append(self._servers.pop(self._servers.index(server)))
        raise UnavailableError("redis", "; ".join(refused))

    async def _greeted(self, location: TCPLocation) -> TCPConnection:
        """Of a cluster any node will do: it says where else to go. Its other nodes are remembered."""
        connection = await self._open(location)
        try:
            await self._learn(connection)
        except BaseException:
            connection.invalidate()
            raise
        return connection

    async def _learn(self, connection: TCPConnection) -> None:
        about: Any = await connection.create_request(b"HELLO")
        self._clustered = about[b"mode"] == b"cluster"
        if self._clustered:
            known = [_location(node, connection) for node in await _nodes(connection)]
            self._servers = list(dict.fromkeys([*known, *self._address.hosts]))
        elif about[b"role"] != b"master":
            raise exceptions.ReadOnlyError

    async def _primary(self, sentinel: TCPLocation) -> TCPLocation:
        """Where Sentinel says it is."""
        options = {"ssl_context": self._address.ssl_context(), "db": None}
        try:
            connection = await self._open(sentinel, options)
        except exceptions.AuthenticationRequiredError:
            # Most Sentinels have no password. Those that have one are given that of Redis.
            connection = await self._open(sentinel, options | self._address.credentials())
        name = self._address.primary_name
        try:
            found: Any = await connection.create_request(b"SENTINEL GET-MASTER-ADDR-BY-NAME", name)
        finally:
            connection.invalidate()
        if not found:
            raise UnavailableError("redis", f"{sentinel} watches no primary called {name}: check breaker.store")
        host, port = found
        return TCPLocation(host.decode(), int(port))

    async def _open(self, location: TCPLocation, options: dict[str, Any] | None = None) -> TCPConnection:
        connection = TCPConnection(location, **(self._address.greeting() if options is None else options))
        try:
            await self._nursery.start(connection.run)
        finally:
            if not connection.usable:
                _close_buffers(connection)
        return connection

    def _leave(self, connection: TCPConnection) -> bool:
        """For another server; whether nobody else has done so already. Those who wait for an answer get it still."""

        async def close() -> None:
            await trio.sleep(ANSWER_SECONDS)
            connection.invalidate()

        if self._connection is not connection:
            return False
        self._connection = None
        self._nursery.start_soon(close)
        return True

    def _give_up(self) -> str:
        """Answers that come late must not be waited for by those who ask next, who begin with another server."""
        where = self._where()
        if self._connection is not None:
            location = self._connection.location
            self._connection.invalidate()
            self._connection = None
            if location in self._servers:
                self._servers.append(self._servers.pop(self._servers.index(location)))
        return where

    def _where(self) -> str:
        return _at(self._connection) if self._connection else " or ".join(map(str, self._servers))


@asynccontextmanager
async def open_redis(url: str) -> AsyncIterator[Redis]:
    """Redis at the URL for as long as the block, there or not yet."""
    async with open_background() as nursery:
        yield Redis(url, nursery)


async def _nodes(connection: TCPConnection) -> list[tuple[bytes | None, int]]:
    """Primaries and replicas."""
    ranges: Any = await connection.create_request(b"CLUSTER SLOTS")
    return [(node[0], int(node[1])) for _first, _last, *nodes in ranges for node in nodes]


def _named(redirect: exceptions.AskError, connection: TCPConnection) -> TCPLocation:
    return _location((redirect.host.encode(), redirect.port), connection)


def _location(node: tuple[bytes | None, int], connection: TCPConnection) -> TCPLocation:
    """A node that has been told no name of its own is at the host that was asked."""
    host, port = node
    named = (host or b"").decode().strip("[]")
    return TCPLocation(connection.location.host if named in ("", "?") else named, port)


def _at(connection: TCPConnection) -> str:
    return str(connection.location)


def _close_buffers(connection: TCPConnection) -> None:
    """Where there was no connection, coredis leaves that to the garbage collector, which complains."""
    for value in vars(connection).values():
        if isinstance(value, MemoryObjectSendStream | MemoryObjectReceiveStream):
            value.close()
