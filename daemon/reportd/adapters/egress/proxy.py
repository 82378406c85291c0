"""The only way out of a browser slot: a SOCKS5 proxy (RFC 1928) that judges every connection (I10).

The slot's browser context is told to use it for everything, so Chromium resolves no name itself. Each request
is judged by name, resolved once, judged again by address, and connected to an address so judged. A slot opens
one for its lifetime and says with ``use`` whose job is in it. It asks for no password: whoever may open a
connection to 127.0.0.1 could have reached the same hosts without it.
"""

import errno
import math
import os
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial

import structlog
import trio

from reportd.adapters.egress.resolving import NotAllowedError, judged_addresses
from reportd.adapters.egress.socks import Reply, read_request, reply
from reportd.concurrency.nurseries import open_background
from reportd.core.pages.network import Address, NetworkRule
from reportd.system.file_descriptors import none_left, once_available
from reportd.system.file_limit import MOST_PAGE_CONNECTIONS

HANDSHAKE_SECONDS = 10.0
CONNECT_SECONDS = 10.0
"""For one address."""
OPEN_SECONDS = 30.0
"""For resolving a name and trying its addresses one after the other."""
LINGER_SECONDS = 30.0
"""How long the answer may pause once the browser has closed its side: nobody may be left to read it."""

CONNECTIONS_PER_HANDSHAKE = 4
"""For each so many that a page may have, one may be accepted and not yet be asking for a host. Others wait to be
accepted, which takes no descriptor of ours.
"""

MAX_NOTES = 100
"""Refusals kept of one job, and failures: a page can ask for any number of hosts."""

_CHUNK_BYTES = 128 * 1024
_MAX_LOOKUPS = 4
"""At once: a lookup holds a thread, and names that take long must not take the daemon's threads."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A connection that the rule did not allow. ``host`` is as the page asked for it."""

    host: str
    port: int
    reason: str


@dataclass(frozen=True, slots=True)
class Failure:
    """A connection that was allowed and could not be made."""

    host: str
    port: int
    reason: str


class Egress:
    """Made by ``open_egress``. Nothing is allowed before the first ``use``."""

    def __init__(self, port: int, forbidden: Callable[[str, int], bool], max_connections: int) -> None:
        self.port = port
        self._max_connections = max_connections
        self._forbidden = forbidden
        self._lookups = trio.CapacityLimiter(_MAX_LOOKUPS)
        self._connections: set[trio.CancelScope] = set()
        self._open_connections = 0
        """Those that have asked for a host."""
        self._handshakes = trio.Semaphore(max(1, max_connections // CONNECTIONS_PER_HANDSHAKE))
        self._rule: NetworkRule | None = None
        self._job = _Job(0, lambda: None)
        self._connected = False

    def use(self, rule: NetworkRule, max_bytes: int, on_over_limit: Callable[[], None]) -> None:
        """From now on a job with this rule is in the slot. Counts and notes start anew.

        ``on_over_limit`` is called, once, when more than ``max_bytes`` have come.
        """
        self._cut()
        self._rule = rule
        self._job = _Job(max_bytes, on_over_limit)

    def leave(self) -> bool:
        """No job is in the slot: nothing is allowed, every connection is cut. True if there was any since the last."""
        self._cut()
        self._rule = None
        connected, self._connected = self._connected, False
        return connected

    @property
    def refusals(self) -> tuple[Refusal, ...]:
        """Of this job, each once, the oldest first, at most MAX_NOTES."""
        return tuple(self._job.refusals)

    @property
    def failures(self) -> tuple[Failure, ...]:
        """The allowed connections of this job that could not be made; kept as ``refusals`` are."""
        return tuple(self._job.failures)

    @property
    def bytes_received(self) -> int:
        """From upstream in this job, as on the wire: compressed, and with TLS around it."""
        return self._job.bytes_received

    @property
    def over_limit(self) -> bool:
        """More than ``max_bytes`` came in this job. Its connections are cut and it gets no new ones."""
        return self._job.bytes_received > self._job.max_bytes

    async def serve(self, client: trio.SocketStream) -> None:
        """One connection of the browser, to its end. Raises nothing but cancellation."""
        with trio.CancelScope() as scope:
            self._connections.add(scope)
            try:
                await self._converse(client)
            except* (OSError, trio.BrokenResourceError):
                pass  # either side was reset or has gone away
            except* Exception:  # noqa: BLE001 - logged, and the connection ends
                # The nursery around us is the slot's: a fault here must cost one connection, not the daemon.
                _log.exception("egress.connection_failed")
            finally:
                self._connections.discard(scope)

    async def accept(self, listeners: list[trio.SocketListener]) -> None:
        """Serve what comes, for ever."""
        admitting = [_Admitting(listener, self._handshakes) for listener in listeners]
        await trio.serve_listeners(self.serve, admitting)

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
        except _NotMadeError as error:
            self._job.note(error, host, port)
            await client.send_all(reply(error.code))
        finally:
            self._open_connections -= 1

    async def _open(self, host: str, port: int) -> trio.SocketStream:
        """Judge, resolve, judge, connect. Raises _NotMadeError."""
        if self._rule is None:
            raise _NotMadeError(Reply.NOT_ALLOWED, "no job is running")
        if self.over_limit:
            raise _NotMadeError(Reply.NOT_ALLOWED, f"more than {self._job.max_bytes} bytes came already")
        if self._open_connections > self._max_connections:
            raise _NotMadeError(Reply.NOT_ALLOWED, f"the page has {self._max_connections} connections already")
        with trio.move_on_after(OPEN_SECONDS):
            # That there is no descriptor left is no fault of the host's, so the page waits for one.
            return await once_available(partial(self._judge_and_connect, self._rule, host, port))
        raise _NotMadeError(Reply.HOST_UNREACHABLE, f"no connection in {OPEN_SECONDS:g} s")

    async def _judge_and_connect(self, rule: NetworkRule, host: str, port: int) -> trio.SocketStream:
        """Raises _NotMadeError; OSError only where there is no descriptor left."""
        try:
            addresses = await judged_addresses(rule, host, port, self._forbidden, self._lookups)
        except NotAllowedError as error:
            raise _NotMadeError(Reply.NOT_ALLOWED, str(error)) from None
        except OSError as error:
            if none_left(error):
                raise
            raise _NotMadeError(Reply.HOST_UNREACHABLE, f"the name was not found: {error}") from None
        return await _connect(addresses, port)

    async def _splice(self, client: trio.SocketStream, upstream: trio.SocketStream) -> None:
        """Both directions until both have ended; each end is passed on as it comes."""

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

        # Unless both directions end well: a clean end would pass for that of a body without Content-Length.
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


class OwnPorts:
    """Where this daemon listens: no page may connect there, though its rule allows the address."""

    def __init__(self, others: Callable[[str, int], bool]) -> None:
        self._others = others
        self._ports: set[int] = set()

    @contextmanager
    def using(self, port: int) -> Iterator[None]:
        self._ports.add(port)
        try:
            yield
        finally:
            self._ports.discard(port)

    def forbid(self, address: str, port: int) -> bool:
        return (port in self._ports or self._others(address, port)) and is_own_address(address)


def is_own_address(address: str) -> bool:
    """Whether the address is one of this machine's: the kernel lets nobody bind to any other."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


@asynccontextmanager
async def open_egress(
    forbidden: Callable[[str, int], bool],
    listener: trio.SocketListener | None = None,
    max_connections: int = MOST_PAGE_CONNECTIONS,
) -> AsyncIterator[Egress]:
    """An egress proxy on 127.0.0.1 that lives as long as the block; its connections end with it.

    ``listener``: where the browser has a 127.0.0.1 of its own.

    ``forbidden(address, port)`` names what no page may reach though its rule allows the address: the daemon's
    HTTP port, and the ports of the other slots' egress. ``max_connections``: of the page, at once; each takes two
    of the file descriptors that all pages share.
    """
    listeners = [listener] if listener is not None else await once_available(_listen)
    egress = Egress(listeners[0].socket.getsockname()[1], forbidden, max_connections)
    async with open_background() as nursery:
        nursery.start_soon(egress.accept, listeners)
        yield egress


async def _listen() -> list[trio.SocketListener]:
    return await trio.open_tcp_listeners(0, host="127.0.0.1")


class _Admitting(trio.abc.Listener[trio.SocketStream]):
    """Accepts only while few enough clients are still about to say what they want. Each accepted one takes a place."""

    def __init__(self, listener: trio.SocketListener, places: trio.Semaphore) -> None:
        self._listener = listener
        self._places = places

    async def accept(self) -> trio.SocketStream:
        await self._places.acquire()
        accepted = False
        try:
            stream = await self._listener.accept()
            accepted = True
        finally:
            if not accepted:
                self._places.release()
        return stream

    async def aclose(self) -> None:
        await self._listener.aclose()


@dataclass(slots=True)
class _Job:
    """What is counted and noted of one job. Dictionaries, as a page asks for the same thing over and over."""

    max_bytes: int
    on_over_limit: Callable[[], None]
    bytes_received: int = 0
    refusals: dict[Refusal, None] = field(default_factory=dict)
    failures: dict[Failure, None] = field(default_factory=dict)

    def note(self, error: "_NotMadeError", host: str, port: int) -> None:
        if error.code == Reply.NOT_ALLOWED:
            if len(self.refusals) < MAX_NOTES:
                self.refusals[Refusal(host, port, error.reason)] = None
        elif len(self.failures) < MAX_NOTES:
            self.failures[Failure(host, port, error.reason)] = None


class _NotMadeError(Exception):
    """Why a connection was not made. ``code`` is the SOCKS reply."""

    def __init__(self, code: Reply, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


async def _connect(addresses: list[Address], port: int) -> trio.SocketStream:
    """To the first of the addresses that answers. Raises _NotMadeError with what the last one said, and OSError where
    there is no descriptor left."""
    trouble = _NotMadeError(Reply.HOST_UNREACHABLE, "no address")
    for address in addresses:
        with ExitStack() as undo:
            try:
                family = socket.AF_INET6 if address.version == 6 else socket.AF_INET  # noqa: PLR2004
                sock = trio.socket.socket(family, socket.SOCK_STREAM)
                undo.callback(sock.close)
                with trio.fail_after(CONNECT_SECONDS):
                    await sock.connect((str(address), port))
            except trio.TooSlowError:
                trouble = _NotMadeError(Reply.HOST_UNREACHABLE, f"{address}: no answer in {CONNECT_SECONDS:g} s")
            except OSError as error:
                if none_left(error):
                    raise
                code = _REPLY_OF_ERRNO.get(error.errno or 0, Reply.HOST_UNREACHABLE)
                said = os.strerror(error.errno) if error.errno else str(error)
                trouble = _NotMadeError(code, f"{address}: {said}")
            else:
                undo.pop_all()
                return trio.SocketStream(sock)
    raise trouble


_REPLY_OF_ERRNO = {errno.ECONNREFUSED: Reply.REFUSED, errno.ENETUNREACH: Reply.NETWORK_UNREACHABLE}


def _reset_on_close(stream: trio.SocketStream, *, on: bool) -> None:
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", on, 0))
