"""The DevTools protocol on trio. The only module that knows pyppeteer and its asyncio.

pyppeteer is no longer maintained, so only its connection is used: one WebSocket a target, plain calls and
events. A replacement has to offer what ``Cdp`` offers.

Protocol: https://chromedevtools.github.io/devtools-protocol/
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import trio
import trio_asyncio
from pyppeteer.connection import Connection
from pyppeteer.errors import NetworkError
from websockets.exceptions import ConnectionClosed

CONNECT_SECONDS = 5.0


class CdpError(Exception):
    """The browser refused a call. The text is the browser's."""


class ClosedError(Exception):
    """The target is gone."""


@asynccontextmanager
async def open_bridge() -> AsyncIterator[asyncio.AbstractEventLoop]:
    """The asyncio loop that pyppeteer's connections live on, inside trio's own."""
    async with trio_asyncio.open_loop() as loop:
        yield loop


class _Connection(Connection):  # type: ignore[misc]  # pyppeteer has no types
    async def _async_send(self, msg: str, callback_id: int) -> None:  # noqa: ARG002 - pyppeteer's signature
        """pyppeteer's own answers a call twice when the socket breaks under it; the second time ends the loop."""
        try:
            await self.connection.send(msg)
        except ConnectionClosed:
            await self.dispose()


class Cdp:
    """A connection to one target. Made by ``connect``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.closed = trio.Event()
        self._on_closed: list[Callable[[], None]] = []
        connection.setClosedCallback(self._closed)

    def _closed(self) -> None:
        self.closed.set()
        for handler in self._on_closed:
            handler()

    def on(self, event: str, handler: Callable[[dict[str, Any]], None]) -> None:
        """Call ``handler`` with the event's parameters, from now on. It must neither block nor raise."""
        self._connection.on(event, handler)

    def on_closed(self, handler: Callable[[], None]) -> None:
        self._on_closed.append(handler)

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Raises CdpError when the browser refuses, ClosedError when the target goes away."""
        future = self._send(method, params)
        answered = trio.Event()

        def done(finished: "asyncio.Future[dict[str, Any] | None]") -> None:
            _retrieve(finished)
            answered.set()

        future.add_done_callback(done)
        # The future itself is never cancelled: pyppeteer would fail on the answer that still comes.
        await answered.wait()
        return self._result(method, future)

    def tell(self, method: str, **params: Any) -> None:
        """Call without waiting; whatever comes of it is not our business any more."""
        if not self.closed.is_set():
            self._send(method, params).add_done_callback(_retrieve)

    def _send(self, method: str, params: dict[str, Any]) -> "asyncio.Future[dict[str, Any] | None]":
        if self.closed.is_set():
            raise ClosedError(method)
        future: asyncio.Future[dict[str, Any] | None] = self._connection.send(method, params)
        return future

    def _result(self, method: str, future: "asyncio.Future[dict[str, Any] | None]") -> dict[str, Any]:
        try:
            result = future.result()
        except NetworkError as error:
            if self.closed.is_set() or "Target closed" in str(error):
                raise ClosedError(method) from None
            raise CdpError(str(error)) from None
        if result is None:  # pyppeteer's answer when the connection went away while sending
            raise ClosedError(method)
        return result

    async def close(self) -> None:
        with trio.CancelScope(shield=True), trio.move_on_after(CONNECT_SECONDS):
            await trio_asyncio.aio_as_trio(self._connection.dispose)()
        self.closed.set()


def _retrieve(future: "asyncio.Future[dict[str, Any] | None]") -> None:
    """An error nobody asks for any more would be reported to the loop, and end the daemon."""
    if not future.cancelled():
        future.exception()


async def connect(url: str, loop: asyncio.AbstractEventLoop) -> Cdp:
    """Connect to a target's WebSocket. Raises ClosedError if it can't be reached."""
    connection = _Connection(url, loop)
    cdp = Cdp(connection)
    # pyppeteer has no event for this, and a call made before would wait for ever if the connection never comes.
    with trio.move_on_after(CONNECT_SECONDS):
        while not connection._connected and not connection._recv_fut.done():  # noqa: SLF001, ASYNC110
            await trio.sleep(0.001)
    if not connection._connected:  # noqa: SLF001
        receiver = connection._recv_fut  # noqa: SLF001
        if receiver.done() and not receiver.cancelled():
            receiver.exception()
        receiver.cancel()
        raise ClosedError(url)
    return cdp
