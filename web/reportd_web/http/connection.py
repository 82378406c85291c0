"""One connection: hypercorn's HTTP/1.1, and nothing else of hypercorn. Only ``server`` makes one.

hypercorn's own worker lets whatever its protocols raise end the process, offers HTTP/2 and WebSocket, which nothing
here needs, and waits for ever in a few places for who has gone. So its classes are used one by one. This is the only
file that knows them; the lock file holds their version.
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
"""From the first byte of a request, and on a new connection from its beginning, to the end of its head. For each up to
a quarter less: those that came together must not all have to be told at the same instant.
"""

KEEP_ALIVE_SECONDS = 75.0
"""Longer than the 60 s of common load balancers: who closes first must not be the one that is sent requests."""

SEND_SECONDS = 20.0
SEND_BYTES_PER_SECOND = 4096
"""A piece of an answer may take SEND_SECONDS, and longer as long as it is taken at this rate. Else the client is cut
off: it would hold a place for ever.
"""

MAX_HEAD_BYTES = 32 * 1024
READ_BYTES = 64 * 1024
MAX_PIECES = 10
"""Of a body, that wait for the application."""

HTTP_VERSION_NOT_SUPPORTED = 505
REQUEST_TIMEOUT = 408


class Phase(Enum):
    """What a connection is about. All but the last one wait for the client."""

    LEAVING = auto()
    """The client has closed his side, and may wait for an answer still."""
    NEW = auto()
    """It waits for the head of its first request."""
    KEPT = auto()
    """It waits for another."""
    RECEIVING = auto()
    """The head is there, and the body comes."""
    ANSWERING = auto()
    """The request is there as a whole."""


class Crowd(Protocol):
    """Who keeps an eye on all connections, and is told what becomes of each."""

    def entered(self, connection: "Connection", phase: Phase) -> None: ...
    def sending(self, connection: "Connection") -> None: ...
    def sent(self, connection: "Connection") -> None: ...
    def left(self, connection: "Connection") -> None: ...


class Server:
    """What all connections share. ``terminated`` is set when the daemon ends: then none is kept alive."""

    def __init__(self, app: ASGIApp, crowd: Crowd) -> None:
        self.app = app
        self.crowd = crowd
        self.context = WorkerContext(None)
        self.config = Config()
        self.config.accesslog = None
        self.config.errorlog = None
        self.config.include_server_header = False
        self.config.h11_max_incomplete_size = MAX_HEAD_BYTES
        self.log = ThrottledLog(structlog.get_logger())

    @property
    def parts(self) -> tuple[Any, Config, WorkerContext]:
        """As each of hypercorn's classes takes them first. It would have the application wrapped, for threads."""
        return self.app, self.config, self.context


class Connection:
    """``run`` it. ``kill`` it from outside."""

    def __init__(self, server: Server, stream: trio.SocketStream) -> None:
        self.server = server
        self._stream = stream
        self._sends = trio.Lock()
        self._protocol: _Http1
        self._patience = trio.CancelScope(deadline=_head_deadline())
        """Around reading. Its deadline is in force while a head is waited for."""
        self._begun = False
        self._over = False
        self.forsaken = False
        """Nothing more will come from the client."""

    async def run(self) -> None:
        """Until it has ended. Raises whatever went wrong, which concerns nobody else."""
        try:
            here, there = self._stream.socket.getsockname()[:2], self._stream.socket.getpeername()[:2]
        except OSError:
            return  # it has gone already
        async with trio.open_nursery() as nursery:
            self._protocol = _Http1(self, _Answers(nursery, self.server), there, here, self.protocol_send)
            with self._patience:
                await self._read()
            if self._patience.cancelled_caught and not self._over:
                await self._give_up()
            self.forsaken = True
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
        """In good order, as far as that is possible."""
        with suppress(OSError):  # he has gone, or it is closed already
            self._stream.socket.shutdown(socket.SHUT_WR)
        await self._stream.aclose()

    def kill(self) -> None:
        """Close it at once, whatever goes on, and give its descriptor back."""
        self._end()
        self._stream.socket.close()

    async def protocol_send(self, event: Event) -> None:
        """What the protocol has to say, to the client or of itself."""
        if isinstance(event, RawData):
            async with self._sends:
                await self._send(event.data)
        elif isinstance(event, Closed):
            await self._close()
            self._end()
            await self._protocol.handle(Closed())
        elif isinstance(event, Updated) and event.idle:
            self._begun = bool(self._protocol.connection.trailing_data[0])
            self._patience.deadline = _head_deadline() if self._begun else trio.current_time() + KEEP_ALIVE_SECONDS
            self._enter(Phase.KEPT)

    def heard(self) -> None:
        """Something has come."""
        if not self._begun:
            self._begun = True
            self._patience.deadline = min(self._patience.deadline, _head_deadline())

    def head_came(self) -> None:
        self._patience.deadline = inf
        self._enter(Phase.RECEIVING)

    def body_came(self) -> None:
        self._enter(Phase.ANSWERING)

    def _enter(self, phase: Phase) -> None:
        if not self._over:
            self.server.crowd.entered(self, phase)

    def _end(self) -> None:
        self._over = self.forsaken = True
        self._patience.cancel()
        self.server.crowd.left(self)

    async def _send(self, data: bytes) -> None:
        gone = False
        self.server.crowd.sending(self)
        try:
            with trio.move_on_after(SEND_SECONDS + len(data) / SEND_BYTES_PER_SECOND) as patience:
                await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            gone = True
        except trio.Cancelled:
            # A part of it may have been sent: what came next would be taken for the rest.
            self.kill()
            raise
        finally:
            self.server.crowd.sent(self)
        if gone or patience.cancelled_caught:
            # Reading may be waiting for this answer to end, and would for ever.
            self.kill()
            await self._protocol.handle(Closed())

    async def _give_up(self) -> None:
        """No request has come. Who has begun one is told so."""
        if self._protocol.connection.trailing_data[0].strip():
            await self._protocol.refuse(REQUEST_TIMEOUT)
        await self.protocol_send(Closed())


def _head_deadline() -> float:
    return trio.current_time() + HEAD_SECONDS * random.uniform(0.75, 1.0)  # noqa: S311 - nothing secret


class _Http1(H11Protocol):
    """HTTP/1.1 alone. A request to speak another protocol is answered as if it had not been made (RFC 9110, 7.8)."""

    def __init__(
        self,
        owner: Connection,
        answers: "_Answers",
        client: tuple[str, int],
        server: tuple[str, int],
        send: Callable[[Event], Awaitable[None]],
    ) -> None:
        state = ConnectionState({})
        super().__init__(*owner.server.parts, cast("TaskGroup", answers), state, False, client, server, send)
        self._owner = owner

    async def handle(self, event: Event) -> None:
        if isinstance(event, RawData) and event.data:
            self._owner.heard()
        await super().handle(event)

    async def refuse(self, status: int) -> None:
        """Answer without asking the application."""
        await self._send_error_response(status)

    async def _send_h11_event(self, event: Any) -> None:
        try:
            await super()._send_h11_event(event)
        except h11.LocalProtocolError:
            # What was broken off because the client has gone is incomplete, which is nobody's fault.
            if not self._owner.forsaken:
                raise
            self._owner.kill()

    async def _check_protocol(self, event: h11.Request) -> None:
        pass

    async def _create_stream(self, request: h11.Request) -> None:
        if not request.http_version.startswith(b"1."):  # HTTP/2 begins with a request for this
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
    """One request and its answer."""

    def __init__(
        self,
        owner: Connection,
        answers: TaskGroup,
        client: tuple[str, int] | None,
        server: tuple[str, int] | None,
        send: Callable[[StreamEvent], Awaitable[None]],
    ) -> None:
        super().__init__(*owner.server.parts, answers, False, client, server, send, STREAM_ID)
        self._owner = owner

    async def handle(self, event: StreamEvent) -> None:
        if isinstance(event, EndBody):
            self._owner.body_came()
        await super().handle(event)


class _Answers:
    """Runs the application, in the place of hypercorn's ``TaskGroup``: whoever hands it something never waits for an
    application that has ended, nor to say that the client has gone.
    """

    def __init__(self, nursery: trio.Nursery, server: Server) -> None:
        self._nursery = nursery
        self._server = server

    async def spawn_app(
        self, app: ASGIApp, _config: Config, scope: Any, send: Callable[[Any], Awaitable[None]]
    ) -> Callable[[Mapping[str, Any]], Awaitable[None]]:
        given, taken = trio.open_memory_channel[Message](MAX_PIECES)

        async def put(message: Mapping[str, Any]) -> None:
            if message["type"] == "http.disconnect":
                given.close()
                return
            with suppress(trio.ClosedResourceError, trio.BrokenResourceError):  # nobody wants it any more
                await given.send(dict(message))

        async def receive() -> Message:
            try:
                return await taken.receive()
            except trio.EndOfChannel:
                return {"type": "http.disconnect"}

        async def answer() -> None:
            with taken:
                try:
                    await app(scope, receive, send)
                except Exception as error:
                    self._server.log.error("http.answer_failed", exc_info=error)  # noqa: TRY400 - not the library's
                await send(None)

        self._nursery.start_soon(answer)
        return put
