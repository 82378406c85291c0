"""The only way out of a browser slot: a SOCKS5 proxy (RFC 1928) that judges every connection (I10).

The slot's browser context is told to use it for everything, so Chromium resolves no name itself. Each request is
judged by name, resolved once, judged again by address, and connected to an address so judged. A slot opens one for
its lifetime and says with ``use`` whose job is in it. It asks for no password: whoever may open a connection to
127.0.0.1 could have reached the same hosts without it.
"""

import errno
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from ipaddress import ip_address

import structlog
import trio

from reportd.background import open_background
from reportd.core.network import Address, NetworkRule

HANDSHAKE_SECONDS = 10.0
CONNECT_SECONDS = 10.0
"""For one address."""
OPEN_SECONDS = 30.0
"""For resolving a name and trying its addresses one after the other."""
LINGER_SECONDS = 30.0
"""How long the answer may pause once the browser has closed its side: nobody may be left to read it."""

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

    def __init__(self, port: int, forbidden: Callable[[str, int], bool]) -> None:
        self.port = port
        self._forbidden = forbidden
        self._lookups = trio.CapacityLimiter(_MAX_LOOKUPS)
        self._connections: set[trio.CancelScope] = set()
        self._rule: NetworkRule | None = None
        self._job = _Job(max_bytes=0)

    def use(self, rule: NetworkRule | None, max_bytes: int) -> None:
        """From now on a job with this rule is in the slot; None allows nothing. Counts and notes start afresh.

        Connections made under another rule are cut. Under an equal one they stay, which spares the next job of
        the type its handshakes: go from job to job without a ``use(None, …)`` between.
        """
        if rule != self._rule:
            self._cut()
        self._rule = rule
        self._job = _Job(max_bytes)

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
            except (OSError, trio.BrokenResourceError):
                _reset(client)
            except Exception:
                # The nursery around us is the slot's: a fault here must cost one connection, not the daemon.
                _log.exception("egress_connection_failed")
                _reset(client)
            finally:
                self._connections.discard(scope)
        if scope.cancelled_caught:
            # A clean end would pass for the end of a body without Content-Length.
            _reset(client)

    async def _converse(self, client: trio.SocketStream) -> None:
        with trio.move_on_after(HANDSHAKE_SECONDS) as handshake:
            request = await _read_request(client)
        if handshake.cancelled_caught or request is None:
            return
        host, port = request
        try:
            upstream = await self._open(host, port)
        except _NotMadeError as error:
            self._job.note(error, host, port)
            await client.send_all(_reply(error.code))
            return
        async with upstream:
            await client.send_all(_reply(_SUCCEEDED))
            await self._splice(client, upstream)

    async def _open(self, host: str, port: int) -> trio.SocketStream:
        """Judge, resolve, judge, connect. Raises _NotMadeError."""
        if self._rule is None:
            raise _NotMadeError(_NOT_ALLOWED, "no job is running")
        if self.over_limit:
            raise _NotMadeError(_NOT_ALLOWED, f"more than {self._job.max_bytes} bytes came already")
        decision = self._rule.may_name(host, port)
        if not decision.allowed:
            raise _NotMadeError(_NOT_ALLOWED, decision.reason)
        with trio.move_on_after(OPEN_SECONDS):
            addresses = self._judge(self._rule, host, port, await self._resolve(host, port))
            return await _connect(addresses, port)
        raise _NotMadeError(_HOST_UNREACHABLE, f"no connection in {OPEN_SECONDS:g} s")

    async def _resolve(self, host: str, port: int) -> list[Address]:
        try:
            async with self._lookups:
                found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise _NotMadeError(_HOST_UNREACHABLE, f"the name was not found: {error}") from None
        return [ip_address(str(sockaddr[0])) for *_, sockaddr in found]

    def _judge(self, rule: NetworkRule, host: str, port: int, addresses: list[Address]) -> list[Address]:
        """Those of the addresses that may be connected to; raises when none may."""
        allowed, reason = [], "the name has no address"
        for address in addresses:
            decision = rule.may_address(host, port, address)
            if not decision.allowed:
                reason = decision.reason
            elif self._forbidden(str(address), port):
                reason = f"{address} port {port} is the daemon's own"
            else:
                allowed.append(address)
        if not allowed:
            raise _NotMadeError(_NOT_ALLOWED, reason)
        return allowed

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
                if nursery.cancel_scope.deadline < float("inf"):
                    nursery.cancel_scope.deadline = trio.current_time() + LINGER_SECONDS
            await client.send_eof()

        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(send)
                nursery.start_soon(receive)
        except* (OSError, trio.BrokenResourceError):
            _reset(client)

    def _count(self, received: int) -> None:
        self._job.bytes_received += received
        if self.over_limit:
            self._cut()

    def _cut(self) -> None:
        for scope in self._connections:
            scope.cancel()


@asynccontextmanager
async def open_egress(forbidden: Callable[[str, int], bool]) -> AsyncIterator[Egress]:
    """An egress proxy on 127.0.0.1 that lives as long as the block; its connections end with it.

    ``forbidden(address, port)`` names what no page may reach though its rule allows the address: the daemon's
    HTTP port, DevTools ports, and the ports of the other slots' egress.
    """
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    egress = Egress(listeners[0].socket.getsockname()[1], forbidden)
    async with open_background() as nursery:
        nursery.start_soon(trio.serve_listeners, egress.serve, listeners)
        yield egress


# --- SOCKS5 (RFC 1928) ----------------------------------------------------------------------------------------

_VERSION = 5
_NO_PASSWORD = 0
_CONNECT = 1
_IPV4, _NAME, _IPV6 = 1, 3, 4
_SUCCEEDED, _NOT_ALLOWED, _HOST_UNREACHABLE, _REFUSED = 0, 2, 4, 5
_BAD_COMMAND, _BAD_ADDRESS_TYPE = 7, 8


class _NotMadeError(Exception):
    """A connection that is not made. ``code``: the SOCKS5 reply."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


@dataclass(slots=True)
class _Job:
    """What one job has had of the network."""

    max_bytes: int
    bytes_received: int = 0
    refusals: list[Refusal] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    def note(self, error: _NotMadeError, host: str, port: int) -> None:
        if error.code == _NOT_ALLOWED:
            refusal = Refusal(host, port, str(error))
            if refusal not in self.refusals and len(self.refusals) < MAX_NOTES:
                self.refusals.append(refusal)
        else:
            failure = Failure(host, port, str(error))
            if failure not in self.failures and len(self.failures) < MAX_NOTES:
                self.failures.append(failure)


async def _read_request(client: trio.SocketStream) -> tuple[str, int] | None:
    """Host and port of a CONNECT; None when the client speaks something else, which has then been answered."""
    version, methods = await _exactly(client, 2)
    if version != _VERSION or _NO_PASSWORD not in await _exactly(client, methods):
        return None
    await client.send_all(bytes([_VERSION, _NO_PASSWORD]))
    version, command, _, kind = await _exactly(client, 4)
    if version != _VERSION:
        return None
    if kind == _NAME:
        (length,) = await _exactly(client, 1)
        host = (await _exactly(client, length)).decode("ascii", "replace")
    elif kind in (_IPV4, _IPV6):
        host = str(ip_address(await _exactly(client, 4 if kind == _IPV4 else 16)))
    else:
        await client.send_all(_reply(_BAD_ADDRESS_TYPE))
        return None
    (port,) = struct.unpack(">H", await _exactly(client, 2))
    if command != _CONNECT:
        await client.send_all(_reply(_BAD_COMMAND))
        return None
    return host, port


async def _exactly(client: trio.SocketStream, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = await client.receive_some(size - len(data))
        if not piece:
            raise trio.BrokenResourceError("the client went away in its handshake")
        data += piece
    return data


def _reply(code: int) -> bytes:
    """The bound address is of no use to the client, so it is always 0.0.0.0:0."""
    return struct.pack(">BBBB4sH", _VERSION, code, 0, _IPV4, bytes(4), 0)


async def _connect(addresses: list[Address], port: int) -> trio.SocketStream:
    """To the first address that answers; nothing is resolved again. Raises _NotMadeError."""
    error = _NotMadeError(_HOST_UNREACHABLE, "no address answered")
    for address in addresses:
        made = trio.socket.socket(socket.AF_INET6 if address.version == 6 else socket.AF_INET)  # noqa: PLR2004
        try:
            with trio.fail_after(CONNECT_SECONDS):
                await made.connect((str(address), port))
        except (OSError, trio.TooSlowError) as problem:
            made.close()
            code = _REFUSED if getattr(problem, "errno", None) == errno.ECONNREFUSED else _HOST_UNREACHABLE
            error = _NotMadeError(code, f"{address}: {problem or 'no answer'}")
        except BaseException:
            made.close()
            raise
        else:
            return trio.SocketStream(made)
    raise error


def _reset(client: trio.SocketStream) -> None:
    """End the connection in a way that nobody takes for a regular end."""
    with closing(client.socket):
        try:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        except (OSError, trio.ClosedResourceError):
            return
