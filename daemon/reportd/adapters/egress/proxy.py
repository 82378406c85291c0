"""A browser slot's only way out: a SOCKS5 proxy (RFC 1928) that checks every connection (I10).

The slot's browser context uses it for everything, so Chromium resolves no name itself. For each request the proxy
checks the name, resolves it once, checks the addresses, and connects to one of those. A slot opens one proxy for its
lifetime and calls ``use`` for each job. The proxy asks for no password: any process that can connect to 127.0.0.1 can
reach the same hosts without it.
"""

import math
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

import structlog
import trio

from reportd.adapters.egress.connecting import ConnectFailedError, connect
from reportd.adapters.egress.resolving import NotAllowedError, judged_addresses
from reportd.adapters.egress.socks import Reply, read_request, reply
from reportd.concurrency.nurseries import open_background
from reportd.core.pages.network import NetworkRule
from reportd.system.file_descriptors import none_left, once_available
from reportd.system.file_limit import MOST_PAGE_CONNECTIONS

HANDSHAKE_SECONDS = 10.0
OPEN_SECONDS = 30.0
"""Limit for resolving a name and trying its addresses one after the other."""
LINGER_SECONDS = 30.0
"""How long the upstream may pause after the browser has closed its side: perhaps nobody reads the answer any more."""

CONNECTIONS_PER_HANDSHAKE = 4
"""One client may be in its handshake for each so many connections that a page may have. Others wait to be accepted,
which takes no file descriptor of the daemon.
"""

MAX_NOTES = 100
"""Limit of the refusals, and of the failures, kept for one job: a page can ask for any number of hosts."""

_CHUNK_BYTES = 128 * 1024
_MAX_LOOKUPS = 4
"""Concurrent lookups. Each holds a thread, and slow names must not take the daemon's threads."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A connection that the rule did not allow. ``host`` is as the page requested it."""

    host: str
    port: int
    reason: str


@dataclass(frozen=True, slots=True)
class Failure:
    """An allowed connection that could not be made."""

    host: str
    port: int
    reason: str


class Egress:
    """Made by ``open_egress``. It allows nothing before the first ``use``."""

    def __init__(self, port: int, forbidden: Callable[[str, int], bool], max_connections: int) -> None:
        self.port = port
        self._max_connections = max_connections
        self._forbidden = forbidden
        self._lookups = trio.CapacityLimiter(_MAX_LOOKUPS)
        self._connections: set[trio.CancelScope] = set()
        self._open_connections = 0
        """Connections that have requested a host."""
        self._handshakes = trio.Semaphore(max(1, max_connections // CONNECTIONS_PER_HANDSHAKE))
        self._rule: NetworkRule | None = None
        self._job = _Job(0, lambda: None)
        self._connected = False

    def use(self, rule: NetworkRule, max_bytes: int, on_over_limit: Callable[[], None]) -> None:
        """Start a job with this rule: cut all connections, and reset counts and notes.

        ``on_over_limit`` is called once, when more than ``max_bytes`` have come.
        """
        self._cut()
        self._rule = rule
        self._job = _Job(max_bytes, on_over_limit)

    def leave(self) -> bool:
        """End the job: cut all connections, allow nothing. Return whether there was any since the last call."""
        self._cut()
        self._rule = None
        connected, self._connected = self._connected, False
        return connected

    @property
    def refusals(self) -> tuple[Refusal, ...]:
        """The refusals of this job, without duplicates, oldest first, at most MAX_NOTES."""
        return tuple(self._job.refusals)

    @property
    def failures(self) -> tuple[Failure, ...]:
        """The failures of this job, kept like ``refusals``."""
        return tuple(self._job.failures)

    @property
    def bytes_received(self) -> int:
        """Bytes from upstream in this job, as on the wire: compressed, and with TLS."""
        return self._job.bytes_received

    @property
    def over_limit(self) -> bool:
        """Whether more than ``max_bytes`` came in this job. Then its connections are cut and new ones refused."""
        return self._job.bytes_received > self._job.max_bytes

    async def serve(self, client: trio.SocketStream) -> None:
        """Serve one connection of the browser. Raises nothing but cancellation."""
        with trio.CancelScope() as scope:
            self._connections.add(scope)
            try:
                await self._converse(client)
            except* (OSError, trio.BrokenResourceError):
                pass  # one side was reset or has gone
            except* Exception:  # noqa: BLE001 - logged, and the connection ends
                # The nursery is the slot's: an error here must cost one connection, not the daemon.
                _log.exception("egress.connection_failed")
            finally:
                self._connections.discard(scope)

    async def accept(self, listeners: list[trio.SocketListener]) -> None:
        """Accept and serve connections until cancelled."""
        limited = [_LimitedListener(listener, self._handshakes) for listener in listeners]
        await trio.serve_listeners(self.serve, limited)

    async def _converse(self, client: trio.SocketStream) -> None:
        request = None
        try:
            with trio.move_on_after(HANDSHAKE_SECONDS):
                request = await read_request(client)
        finally:
            self._handshakes.release()
        if request is None:
            return
        host, port = request
        self._open_connections += 1
        try:
            upstream = await self._open(host, port)
            self._connected = True
            async with upstream:
                await client.send_all(reply(Reply.SUCCEEDED))
                await self._splice(client, upstream)
        except ConnectFailedError as error:
            self._job.note(error, host, port)
            await client.send_all(reply(error.code))
        finally:
            self._open_connections -= 1

    async def _open(self, host: str, port: int) -> trio.SocketStream:
        """Check, resolve, check again, connect. Raises ConnectFailedError."""
        if self._rule is None:
            raise ConnectFailedError(Reply.NOT_ALLOWED, "no job is running")
        if self.over_limit:
            raise ConnectFailedError(Reply.NOT_ALLOWED, f"more than {self._job.max_bytes} bytes came already")
        if self._open_connections > self._max_connections:
            raise ConnectFailedError(Reply.NOT_ALLOWED, f"the page has {self._max_connections} connections already")
        with trio.move_on_after(OPEN_SECONDS):
            # A lack of file descriptors is not the host's fault, so the page waits for one.
            return await once_available(partial(self._judge_and_connect, self._rule, host, port))
        raise ConnectFailedError(Reply.HOST_UNREACHABLE, f"no connection in {OPEN_SECONDS:g} s")

    async def _judge_and_connect(self, rule: NetworkRule, host: str, port: int) -> trio.SocketStream:
        """Raises ConnectFailedError; OSError only when no file descriptor is left."""
        try:
            addresses = await judged_addresses(rule, host, port, self._forbidden, self._lookups)
        except NotAllowedError as error:
            raise ConnectFailedError(Reply.NOT_ALLOWED, str(error)) from None
        except OSError as error:
            if none_left(error):
                raise
            raise ConnectFailedError(Reply.HOST_UNREACHABLE, f"the name was not found: {error}") from None
        return await connect(addresses, port)

    async def _splice(self, client: trio.SocketStream, upstream: trio.SocketStream) -> None:
        """Copy both directions until both have ended, and pass on each end."""

        async def send() -> None:
            while data := await client.receive_some(_CHUNK_BYTES):
                await upstream.send_all(data)
            await upstream.send_eof()
            nursery.cancel_scope.deadline = trio.current_time() + LINGER_SECONDS

        async def receive() -> None:
            while data := await upstream.receive_some(_CHUNK_BYTES):
                self._count(len(data))
                await client.send_all(data)
                if nursery.cancel_scope.deadline < math.inf:
                    nursery.cancel_scope.deadline = trio.current_time() + LINGER_SECONDS
            await client.send_eof()

        # Reset unless both directions end well: a clean close looks like the end of a body without Content-Length.
        _reset_on_close(client, on=True)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            nursery.start_soon(receive)
        if not nursery.cancel_scope.cancelled_caught:
            _reset_on_close(client, on=False)

    def _count(self, received: int) -> None:
        over_before = self.over_limit
        self._job.bytes_received += received
        if self.over_limit and not over_before:
            self._cut()
            self._job.on_over_limit()

    def _cut(self) -> None:
        for scope in self._connections:
            scope.cancel()


@asynccontextmanager
async def open_egress(
    forbidden: Callable[[str, int], bool],
    listener: trio.SocketListener | None = None,
    max_connections: int = MOST_PAGE_CONNECTIONS,
) -> AsyncIterator[Egress]:
    """Yield an egress proxy on 127.0.0.1. Its connections end with the block.

    ``listener``: given if the browser has a 127.0.0.1 of its own. ``forbidden(address, port)``: whether no page may
    reach it although its rule allows the address: the daemon's HTTP port, and the ports of the other slots' proxies.
    ``max_connections``: limit of the page's connections; each takes two of the file descriptors that all pages share.
    """
    listeners = [listener] if listener is not None else await once_available(_listen)
    egress = Egress(listeners[0].socket.getsockname()[1], forbidden, max_connections)
    async with open_background() as nursery:
        nursery.start_soon(egress.accept, listeners)
        yield egress


async def _listen() -> list[trio.SocketListener]:
    return await trio.open_tcp_listeners(0, host="127.0.0.1")


class _LimitedListener(trio.abc.Listener[trio.SocketStream]):
    """Limits the clients that are in their handshake: each accepted one takes a slot, which ``_converse`` releases."""

    def __init__(self, listener: trio.SocketListener, slots: trio.Semaphore) -> None:
        self._listener = listener
        self._slots = slots

    async def accept(self) -> trio.SocketStream:
        await self._slots.acquire()
        accepted = False
        try:
            stream = await self._listener.accept()
            accepted = True
        finally:
            if not accepted:
                self._slots.release()
        return stream

    async def aclose(self) -> None:
        await self._listener.aclose()


@dataclass(slots=True)
class _Job:
    """Counts and notes of one job. The notes are dictionaries because a page repeats the same requests."""

    max_bytes: int
    on_over_limit: Callable[[], None]
    bytes_received: int = 0
    refusals: dict[Refusal, None] = field(default_factory=dict)
    failures: dict[Failure, None] = field(default_factory=dict)

    def note(self, error: ConnectFailedError, host: str, port: int) -> None:
        if error.code == Reply.NOT_ALLOWED:
            if len(self.refusals) < MAX_NOTES:
                self.refusals[Refusal(host, port, error.reason)] = None
        elif len(self.failures) < MAX_NOTES:
            self.failures[Failure(host, port, error.reason)] = None


def _reset_on_close(stream: trio.SocketStream, *, on: bool) -> None:
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", on, 0))
