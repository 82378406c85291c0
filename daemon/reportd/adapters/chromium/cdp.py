"""The DevTools protocol on trio. The only module that knows pyppeteer and its asyncio.

pyppeteer is no longer maintained, so only its connection is used: one WebSocket a target, plain calls and
events. A replacement has to offer what ``Cdp`` offers.

Protocol: https://chromedevtools.github.io/devtools-protocol/
"""

import asyncio
import json
import socket
import warnings
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager, suppress
from typing import Any

import structlog
import trio
import trio_asyncio
from pyppeteer.connection import Connection
from pyppeteer.errors import NetworkError
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.legacy.client import WebSocketClientProtocol
from websockets.legacy.client import connect as connect_websocket

CONNECT_SECONDS = 5.0
CLOSE_SECONDS = 1.0

log = structlog.get_logger()


class CdpError(Exception):
    """The browser refused a call. The text is the browser's."""


class ClosedError(Exception):
    """The target is gone."""


@asynccontextmanager
async def open_bridge() -> AsyncIterator[asyncio.AbstractEventLoop]:
    """The asyncio loop that pyppeteer's connections live on, inside trio's own."""
    async with trio_asyncio.open_loop() as loop:
        yield loop


class Answer:
    """What a call will be answered. Made by ``Cdp.send``."""

    def __init__(self, cdp: "Cdp", method: str, future: "asyncio.Future[dict[str, Any]] | None") -> None:
        self._cdp = cdp
        self._method = method
        self._future = future
        self._come = trio.Event()
        if future is None:
            self._come.set()
        else:
            future.add_done_callback(self._done)

    def _done(self, future: "asyncio.Future[dict[str, Any]]") -> None:
        # An error that nobody asks for any more would be reported to the loop, and end the daemon.
        if not future.cancelled():
            future.exception()
        self._come.set()

    async def get(self) -> dict[str, Any]:
        """Raises CdpError when the browser refuses, ClosedError when the target goes away."""
        # The future itself is never awaited, so never cancelled: pyppeteer would fail on the answer that still comes.
        await self._come.wait()
        if self._future is None or self._future.cancelled():
            raise ClosedError(self._method)
        try:
            return self._future.result()
        except NetworkError as error:
            if self._cdp.closed.is_set() or "Target closed" in str(error):
                raise ClosedError(self._method) from None
            raise CdpError(str(error)) from None


class Cdp:
    """A connection to one target. Made by ``connect``."""

    def __init__(self, connection: Connection, loop: asyncio.AbstractEventLoop) -> None:
        self._connection = connection
        self._loop = loop
        self.closed = trio.Event()
        self._on_closed: list[Callable[[], None]] = []
        connection.setClosedCallback(self._closed)

    def _closed(self) -> None:
        self.closed.set()
        for handler in self._on_closed:
            handler()

    def on(self, event: str, handler: Callable[[dict[str, Any]], None]) -> None:
        """Call ``handler`` with the event's parameters, from now on. It must not block."""

        def handle(parameters: dict[str, Any]) -> None:
            try:
                handler(parameters)
            except Exception:
                # Raised, it would silence the connection for good.
                log.exception("cdp.handler_failed", cdpEvent=event)

        self._connection.on(event, handle)

    def on_closed(self, handler: Callable[[], None]) -> None:
        self._on_closed.append(handler)

    def send(self, method: str, **params: Any) -> Answer:
        """Call, and wait for the answer later or never. Calls reach the browser in the order they were made."""
        return Answer(self, method, None if self.closed.is_set() else self._connection.send(method, params))

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Raises CdpError when the browser refuses, ClosedError when the target goes away."""
        return await self.send(method, **params).get()

    async def close(self) -> None:
        with trio.CancelScope(shield=True), trio.move_on_after(CLOSE_SECONDS):
            await trio_asyncio.aio_as_trio(self._connection.dispose, loop=self._loop)()
        self.closed.set()


async def connect(url: str, loop: asyncio.AbstractEventLoop, connected: socket.socket | None = None) -> Cdp:
    """Connect to a target's WebSocket, over a connection that is there already or a new one.

    Raises ClosedError if it can't be reached.
    """

    async def open_websocket() -> WebSocketClientProtocol:
        # A PDF is compressed already, and nothing here leaves the machine.
        return await connect_websocket(
            url,
            sock=connected,
            compression=None,
            max_size=None,
            open_timeout=None,
            close_timeout=CLOSE_SECONDS,
            ping_interval=None,
        )

    try:
        with ExitStack() as undo, trio.fail_after(CONNECT_SECONDS):
            if connected is not None:
                undo.callback(connected.close)
            websocket = await trio_asyncio.aio_as_trio(open_websocket, loop=loop)()
            undo.pop_all()
    except (OSError, InvalidHandshake, trio.TooSlowError) as error:
        raise ClosedError(f"{url}: {error}") from error
    return Cdp(_Connection(url, loop, websocket), loop)


class _Connection(Connection):  # type: ignore[misc]  # it has no types
    """pyppeteer's, over a WebSocket that is open already, and without what would end the daemon."""

    def __init__(self, url: str, loop: asyncio.AbstractEventLoop, websocket: WebSocketClientProtocol) -> None:
        with warnings.catch_warnings():
            # It prepares a WebSocket of its own, in a way that its WebSocket library disapproves of.
            warnings.simplefilter("ignore", DeprecationWarning)
            super().__init__(url, loop)
        self._ws = _Opened(websocket)
        self.connection = websocket
        self._connected = True

    async def _on_message(self, message: str) -> None:
        # pyppeteer's own goes through the loop once more for each message, and formats it for a log.
        parsed = json.loads(message)
        if parsed.get("id") in self._callbacks:
            self._on_response(parsed)
        else:
            self._on_query(parsed)

    async def _async_send(self, message: str, _: int) -> None:
        # Whoever receives finds out as well, and tells every caller; pyppeteer would tell this one twice, and fail.
        with suppress(ConnectionClosed):
            await self.connection.send(message)


class _Opened:
    """What pyppeteer enters to get its WebSocket."""

    def __init__(self, websocket: WebSocketClientProtocol) -> None:
        self._websocket = websocket

    async def __aenter__(self) -> WebSocketClientProtocol:
        return self._websocket

    async def __aexit__(self, *_: object) -> None:
        await self._websocket.close()
