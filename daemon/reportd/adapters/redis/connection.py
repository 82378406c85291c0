"""One connection to Redis, opened when it is needed and again when it broke. No coredis exception leaves it.

It is one, because requests of many tasks travel on it side by side; and nothing is sent twice by itself, because
whether a request whose answer was lost has been carried out, only its sender can find out.
"""

import logging
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import unquote, urlsplit

import trio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from coredis import exceptions
from coredis.connection import TCPConnection, TCPLocation

from reportd.background import open_background
from reportd.ports import UnavailableError

ANSWER_SECONDS = 2.0
"""For one request, connecting included. Redis answers in a millisecond, or something is wrong."""

# It would print a traceback for every attempt to connect; what is wrong is said here, and by the caller.
logging.getLogger("coredis").setLevel(logging.CRITICAL)


class Redis:
    """Made by ``open_redis``."""

    def __init__(self, url: str, nursery: trio.Nursery) -> None:
        parts = urlsplit(url)
        self._location = TCPLocation(parts.hostname or "localhost", parts.port or 6379)
        self._options: dict[str, Any] = {
            "username": unquote(parts.username or "") or None,
            "password": unquote(parts.password or "") or None,
            "db": int(parts.path.strip("/") or 0),
            "ssl_context": ssl.create_default_context() if parts.scheme == "rediss" else None,
            "client_name": "reportd",
        }
        self._nursery = nursery
        self._connecting = trio.Lock()
        self._connection: TCPConnection | None = None

    async def run(self, script: str, keys: Sequence[str], *arguments: str | int) -> Any:
        """What the Lua script returns, texts as bytes. Raises UnavailableError; then the script may have run or not."""
        try:
            with trio.fail_after(ANSWER_SECONDS):
                connection = await self._connected()
                return await connection.create_request(b"EVAL", script, len(keys), *keys, *arguments)
        except trio.TooSlowError:
            self._give_up()
            raise UnavailableError("redis", f"{self._location} does not answer") from None
        except exceptions.RedisError as error:
            # Cancelled while it greets the server, coredis raises an error of its own instead.
            await trio.lowlevel.checkpoint_if_cancelled()
            raise UnavailableError("redis", f"{self._location} {_words(error)}") from None

    async def _connected(self) -> TCPConnection:
        async with self._connecting:
            if self._connection is None or not self._connection.usable:
                connection = TCPConnection(self._location, **self._options)
                try:
                    await self._nursery.start(connection.run)
                finally:
                    if not connection.usable:
                        _close_buffers(connection)
                self._connection = connection
            return self._connection

    def _give_up(self) -> None:
        """Answers that come late must not be waited for by those who ask next."""
        if self._connection is not None:
            self._connection.invalidate()


@asynccontextmanager
async def open_redis(url: str) -> AsyncIterator[Redis]:
    """Redis at ``redis[s]://[USER:PASSWORD@]HOST[:PORT][/NUMBER]`` for as long as the block, there or not yet."""
    async with open_background() as nursery:
        yield Redis(url, nursery)


def _close_buffers(connection: TCPConnection) -> None:
    """Where there was no connection, coredis leaves that to the garbage collector, which complains."""
    for value in vars(connection).values():
        if isinstance(value, MemoryObjectSendStream | MemoryObjectReceiveStream):
            value.close()


def _words(error: exceptions.RedisError) -> str:
    """In our own words: Redis may repeat the request in its errors, and so the password."""
    match error:
        case exceptions.AuthenticationError() | exceptions.AuthorizationError():
            return "refuses the user and password, or what they may do: check breaker.store"
        case exceptions.BusyLoadingError():
            return "is still loading its data"
        case exceptions.ReadOnlyError():
            return "is a replica: breaker.store must be the primary"
        case exceptions.ConnectionError() if isinstance(error.__cause__, ssl.SSLCertVerificationError):
            return "has a TLS certificate of another name or nobody known: set SSL_CERT_FILE if it is your own"
        case exceptions.ConnectionError():
            return "can't be reached, or broke the connection"
    return f"answers with an error ({type(error).__name__})"
