"""One connection, with hypercorn's HTTP/1.1 and nothing else of hypercorn. Only ``server`` makes one.

In hypercorn's own worker, an exception of a protocol ends the process, HTTP/2 and WebSocket are offered, which nothing
here needs, and a few places wait for ever for a client that has gone. So its classes are used one by one. This is the
only file that knows them; the lock file pins their version.
"""

import random
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from enum import Enum, auto
from math import inf
from typing import Any, Protocol, cast

import h11
import structlog
import trio
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.events import EndBody, Request
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.h11 import STREAM_ID, H11Protocol
from hypercorn.protocol.http_stream import HTTPStream
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState, TaskGroup
from starlette.types import ASGIApp, Message

from reportd.system.log_throttle import ThrottledLog

HEAD_SECONDS = 10.0
"""From the first byte of a request, or the start of a new connection, to the end of the head. Randomly up to a quarter
less, so that connections that came together do not all time out at the same instant.
"""

KEEP_ALIVE_SECONDS = 75.0
"""Longer than the 60 s of common load balancers, so that they, and not the daemon, close idle connections."""

SEND_SECONDS = 20.0
SEND_BYTES_PER_SECOND = 4096
"""Sending a piece of a response may take SEND_SECONDS, or longer at this rate. A slower client is cut off, or it would
hold its connection for ever.
"""

MAX_HEAD_BYTES = 32 * 1024
READ_BYTES = 64 * 1024
MAX_PIECES = 10
"""Pieces of a body that wait for the application."""

HTTP_VERSION_NOT_SUPPORTED = 505
REQUEST_TIMEOUT = 408


class Phase(Enum):
    """The phase of a connection. In all but the last one it waits for the client."""

    LEAVING = auto()
    """The client has closed its side, and may still wait for a response."""
    NEW = auto()
    """It waits for the head of its first request."""
    KEPT = auto()
    """It waits for the head of a further request."""
    RECEIVING = auto()
    """The head has arrived; the body is arriving."""
    ANSWERING = auto()
    """The whole request has arrived."""


class ConnectionObserver(Protocol):
    """Follows the phases of all connections."""

    def entered(self, connection: "Connection", phase: Phase) -> None: ...
    def sending(self, connection: "Connection") -> None: ...
    def sent(self, connection: "Connection") -> None: ...
    def left(self, connection: "Connection") -> None: ...


class Server:
    """Shared by all connections. ``context.terminated`` is set when the daemon stops: then none is kept alive."""

    def __init__(self, app: ASGIApp, observer: ConnectionObserver) -> None:
        self.app = app
        self.observer = observer
        self.context = WorkerContext(None)
        self.config = Config()
        self.config.accesslog = None
        self.config.errorlog = None
        self.config.include_server_header = False
        self.config.h11_max_incomplete_size = MAX_HEAD_BYTES
        self.log = ThrottledLog(structlog.get_logger())

    @property
    def parts(self) -> tuple[Any, Config, WorkerContext]:
        """The first arguments of hypercorn's classes. hypercorn's own worker would wrap the application for threads."""
        return self.app, self.config, self.context


class Connection:
    """``run`` serves it until it ends; ``kill`` ends it from outside."""

    def __init__(self, server: Server, stream: trio.SocketStream) -> None:
        self.server = server
        self._stream = stream
        self._send_lock = trio.Lock()
        self._protocol: _Http1
        self._read_scope = trio.CancelScope(deadline=_head_deadline())
        """Around reading. It has a deadline while the connection waits for a head."""
        self._head_begun = False
        self._ended = False
        self.client_gone = False
        """Nothing more will come from the client."""

    async def run(self) -> None:
        """Serve the connection until it ends. An exception concerns only this connection."""
        try:
            server, client = self._stream.socket.getsockname()[:2], self._stream.socket.getpeername()[:2]
        except OSError:
            return  # the client has gone already
        async with trio.open_nursery() as nursery:
            self._protocol = _Http1(self, _Applications(nursery, self.server), client, server, self.protocol_send)
            with self._read_scope:
                await self._read()
            if self._read_scope.cancelled_caught and not self._ended:
                await self._time_out()
            self.client_gone = True
            self._enter(Phase.LEAVING)
            await self._protocol.handle(Closed())
        await self._close()

    async def _read(self) -> None:
        data = b"begin"
        while data:
            try:
                data = bytes(await self._stream.receive_some(READ_BYTES))
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                break
            await self._protocol.handle(RawData(data))

    async def _close(self) -> None:
        """Close in good order, if possible."""
        with suppress(OSError):  # the client has gone, or the socket is closed
            self._stream.socket.shutdown(socket.SHUT_WR)
        await self._stream.aclose()

    def kill(self) -> None:
        """Close it at once, in any phase, and free its descriptor."""
        self._end()
        self._stream.socket.close()

    async def protocol_send(self, event: Event) -> None:
        """Handle what the protocol sends: data for the client, or its own state."""
        if isinstance(event, RawData):
            async with self._send_lock:
                await self._send(event.data)
        elif isinstance(event, Closed):
            await self._close()
            self._end()
            await self._protocol.handle(Closed())
        elif isinstance(event, Updated) and event.idle:
            self._head_begun = bool(self._protocol.connection.trailing_data[0])
            self._read_scope.deadline = (
                _head_deadline() if self._head_begun else trio.current_time() + KEEP_ALIVE_SECONDS
            )
            self._enter(Phase.KEPT)

    def data_came(self) -> None:
        """Start the deadline of the head with its first byte."""
        if not self._head_begun:
            self._head_begun = True
            self._read_scope.deadline = min(self._read_scope.deadline, _head_deadline())

    def head_came(self) -> None:
        self._read_scope.deadline = inf
        self._enter(Phase.RECEIVING)

    def body_came(self) -> None:
        self._enter(Phase.ANSWERING)

    def _enter(self, phase: Phase) -> None:
        if not self._ended:
            self.server.observer.entered(self, phase)

    def _end(self) -> None:
        self._ended = self.client_gone = True
        self._read_scope.cancel()
        self.server.observer.left(self)

    async def _send(self, data: bytes) -> None:
        broken = False
        self.server.observer.sending(self)
        try:
            with trio.move_on_after(SEND_SECONDS + len(data) / SEND_BYTES_PER_SECOND) as timeout:
                await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            broken = True
        except trio.Cancelled:
            # A part may have been sent: the client would take what comes next for the rest.
            self.kill()
            raise
        finally:
            self.server.observer.sent(self)
        if broken or timeout.cancelled_caught:
            # The reader may be waiting for this response to end, and would wait for ever.
            self.kill()
            await self._protocol.handle(Closed())

    async def _time_out(self) -> None:
        """Close the connection; answer 408 if a request has begun."""
        if self._protocol.connection.trailing_data[0].strip():
            await self._protocol.refuse(REQUEST_TIMEOUT)
        await self.protocol_send(Closed())


def _head_deadline() -> float:
    return trio.current_time() + HEAD_SECONDS * random.uniform(0.75, 1.0)  # noqa: S311 - not a secret


class _Http1(H11Protocol):
    """HTTP/1.1 only. It ignores an Upgrade header (RFC 9110, section 7.8)."""

    def __init__(
        self,
        owner: Connection,
        applications: "_Applications",
        client: tuple[str, int],
        server: tuple[str, int],
        send: Callable[[Event], Awaitable[None]],
    ) -> None:
        state = ConnectionState({})
        super().__init__(*owner.server.parts, cast("TaskGroup", applications), state, False, client, server, send)
        self._owner = owner

    async def handle(self, event: Event) -> None:
        if isinstance(event, RawData) and event.data:
            self._owner.data_came()
        await super().handle(event)

    async def refuse(self, status: int) -> None:
        """Answer without the application."""
        await self._send_error_response(status)

    async def _send_h11_event(self, event: Any) -> None:
        try:
            await super()._send_h11_event(event)
        except h11.LocalProtocolError:
            # A response is incomplete when its client has gone, which is no fault.
            if not self._owner.client_gone:
                raise
            self._owner.kill()

    async def _check_protocol(self, event: h11.Request) -> None:
        pass

    async def _create_stream(self, request: h11.Request) -> None:
        if not request.http_version.startswith(b"1."):  # the preface of HTTP/2 looks like this
            await self.refuse(HTTP_VERSION_NOT_SUPPORTED)
            await self.send(Closed())
            return
        self._owner.head_came()
        self.stream = _Exchange(self._owner, self.task_group, self.client, self.server, self.stream_send)
        await self.stream.handle(
            Request(
                stream_id=STREAM_ID,
                headers=list(request.headers),
                http_version=request.http_version.decode("ascii"),
                method=request.method.decode("ascii").upper(),
                raw_path=request.target,
                state=self.connection_state,
            )
        )
        self.keep_alive_requests += 1


class _Exchange(HTTPStream):
    """One request and its response."""

    def __init__(
        self,
        owner: Connection,
        applications: TaskGroup,
        client: tuple[str, int] | None,
        server: tuple[str, int] | None,
        send: Callable[[StreamEvent], Awaitable[None]],
    ) -> None:
        super().__init__(*owner.server.parts, applications, False, client, server, send, STREAM_ID)
        self._owner = owner

    async def handle(self, event: StreamEvent) -> None:
        if isinstance(event, EndBody):
            self._owner.body_came()
        await super().handle(event)


class _Applications:
    """Runs the application, in place of hypercorn's ``TaskGroup``.

    Passing it a message never waits for an application that has ended, nor does the message that the client has gone.
    """

    def __init__(self, nursery: trio.Nursery, server: Server) -> None:
        self._nursery = nursery
        self._server = server

    async def spawn_app(
        self, app: ASGIApp, _config: Config, scope: Any, send: Callable[[Any], Awaitable[None]]
    ) -> Callable[[Mapping[str, Any]], Awaitable[None]]:
        sender, receiver = trio.open_memory_channel[Message](MAX_PIECES)

        async def put(message: Mapping[str, Any]) -> None:
            if message["type"] == "http.disconnect":
                sender.close()
                return
            with suppress(trio.ClosedResourceError, trio.BrokenResourceError):  # the application has ended
                await sender.send(dict(message))

        async def receive() -> Message:
            try:
                return await receiver.receive()
            except trio.EndOfChannel:
                return {"type": "http.disconnect"}

        async def run() -> None:
            with receiver:
                try:
                    await app(scope, receive, send)
                except Exception as error:
                    self._server.log.error("http.answer_failed", exc_info=error)  # noqa: TRY400 - structlog's logger
                await send(None)

        self._nursery.start_soon(run)
        return put
