"""The DevTools protocol on trio. Only this module knows pyppeteer.

pyppeteer is no longer maintained, so only its ``Connection`` is used: it numbers calls, matches answers to calls,
and dispatches events. The transport is ours: the pipe that the browser was started with (``--remote-debugging-pipe``),
which no other process can open. All targets of a browser share that pipe. Each has a session of its own ("flat"
sessions), with a ``Connection``. A replacement of pyppeteer must offer what ``Cdp`` offers.

Protocol: https://chromedevtools.github.io/devtools-protocol/
"""

import asyncio
import json
import re
import warnings
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

import orjson
import structlog
import trio

from reportd.adapters.chromium.protocol import pipes
from reportd.adapters.chromium.protocol.paused import HEAD_BYTES, PAUSED, without_body
from reportd.concurrency.nurseries import open_background
from reportd.concurrency.signal import Signal

with warnings.catch_warnings():
    # It imports a deprecated part of its WebSocket library, which is not used here.
    warnings.simplefilter("ignore", DeprecationWarning)
    from pyppeteer.connection import Connection
    from pyppeteer.errors import NetworkError

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
"""The longest requested answer is a piece of a PDF, 1.4 MiB. A longer message is a page's own text. It is skipped, so
that it delays no other session, and its session ends, as somebody may wait for it. A paused request is read without its
body: a page may send to its server what it likes.
"""

_EXCEPTION = b'{"method":"Runtime.exceptionThrown"'
"""The beginning of a message that nobody waits for: its session goes on when it is too long."""

_CONSOLE = b'{"method":"Runtime.consoleAPICalled"'
"""The beginning of a message that is dropped unread, unless its session hears the console. ``Runtime.enable`` sends it
with the exceptions, and a page writes to its console as much and as often as it likes.
"""

MAX_CONSOLE_BYTES = 64 * 1024
"""Of a message of the console that is heard."""

_HEAD_BYTES = 64
_TAIL_BYTES = 1024
_SESSION = re.compile(rb'"sessionId":"([0-9A-F]+)"\}$')
"""The end of a message, as Chromium writes it."""

_END = b"\0"
"""Ends each message, in both directions."""

log = structlog.get_logger()


class CdpError(Exception):
    """The browser refused a call. The text is the browser's."""


class ClosedError(Exception):
    """The target or the browser is gone."""


class Answer:
    """The future answer to a call. Made by ``Cdp.send``."""

    def __init__(self, cdp: "Cdp", method: str, future: "asyncio.Future[dict[str, Any]] | None") -> None:
        self._cdp = cdp
        self._method = method
        self._future = future
        self._arrived = trio.Event()
        self._when_granted: Callable[[], None] | None = None
        if future is None:
            self._arrived.set()
        else:
            future.add_done_callback(self._done)

    def _done(self, future: "asyncio.Future[dict[str, Any]]") -> None:
        self._arrived.set()
        if self._when_granted is not None and future.exception() is None:
            self._when_granted()

    def when_granted(self, call: Callable[[], None]) -> None:
        """Run ``call`` when the answer comes and is no error, before any later event of the target."""
        self._when_granted = call

    async def get(self) -> dict[str, Any]:
        """Wait for the answer. Raises CdpError when the browser refuses, ClosedError when the target goes away."""
        await self._arrived.wait()
        if self._future is None:
            raise ClosedError(self._method)
        try:
            return self._future.result()
        except NetworkError as error:
            if self._cdp.closed.is_set() or "Target closed" in str(error):
                raise ClosedError(self._method) from None
            raise CdpError(str(error)) from None


class Cdp:
    """A session with one target; with the browser itself if ``session`` is empty. Made by ``open_cdp``."""

    def __init__(self, pipe: "_Pipe", session: str = "") -> None:
        self.closed = trio.Event()
        self.hears_console = False
        """Whether messages of the page's console are read."""
        self._pipe = pipe
        self._on_closed: list[Callable[[], None]] = []
        self._connection = _Connection(_Session(pipe, session))
        self._session = session
        pipe.sessions[session] = self
        if pipe.broken:
            self.end()

    def on(self, event: str, handler: Callable[[dict[str, Any]], None]) -> None:
        """Call ``handler`` with the parameters of each such event from now on. It must not block."""

        def handle(parameters: dict[str, Any]) -> None:
            try:
                handler(parameters)
            except Exception:
                # If raised, it would end the reader of all sessions.
                log.exception("cdp.handler_failed", cdpEvent=event)

        self._connection.on(event, handle)

    def on_closed(self, handler: Callable[[], None]) -> None:
        self._on_closed.append(handler)

    def send(self, method: str, /, **params: Any) -> Answer:
        """Call without waiting for the answer. Calls reach the browser in the order in which they are made."""
        return Answer(self, method, None if self.closed.is_set() else self._connection.send(method, params))

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Call and wait for the answer. Raises CdpError if the browser refuses, ClosedError if the target goes away."""
        return await self.send(method, **params).get()

    async def attach(self, target_id: str) -> "Cdp":
        """Open a session with a target of this browser. Raises CdpError and ClosedError."""
        attached = await self.call("Target.attachToTarget", targetId=target_id, flatten=True)
        return Cdp(self._pipe, attached["sessionId"])

    def take(self, message: dict[str, Any]) -> None:
        """Handle a message from the browser in this session."""
        if not self.closed.is_set():
            self._connection.take(message)

    def end(self) -> None:
        """End the session. Every pending call raises ClosedError."""
        if self.closed.is_set():
            return
        self._pipe.sessions.pop(self._session, None)
        self.closed.set()
        self._connection.end()
        for handler in self._on_closed:
            handler()


@asynccontextmanager
async def open_cdp(read_fd: int, write_fd: int) -> AsyncIterator[Cdp]:
    """Yield the session with the browser itself. ``read_fd`` and ``write_fd``: the daemon's ends of its pipes."""
    pipe = _Pipe(read_fd, write_fd)
    browser = Cdp(pipe)
    try:
        async with open_background() as nursery:
            nursery.start_soon(pipe.read)
            nursery.start_soon(pipe.write)
            yield browser
    finally:
        pipe.end()


class _Pipe:
    """Carries the messages of all sessions of a browser."""

    def __init__(self, read_fd: int, write_fd: int) -> None:
        self.sessions: dict[str, Cdp] = {}
        self.broken = False
        self._read_fd = read_fd
        self._write_fd = write_fd
        self._unsent: list[memoryview] = []
        self._calls = 0
        self._unsent_added = Signal()

    async def read(self) -> None:
        """Read and dispatch messages until the browser is gone."""
        unread, skipped, head = bytearray(), 0, b""
        try:
            while data := await pipes.receive(self._read_fd):
                start, searched = 0, len(unread)
                unread += data
                while (end := unread.find(_END, searched)) >= 0:
                    kept = HEAD_BYTES if end - start > MAX_MESSAGE_BYTES else _HEAD_BYTES
                    head = head if skipped else bytes(unread[start : start + kept])
                    self._take(head, skipped + end - start, bytes(unread[start:end]))
                    start = searched = end + 1
                    skipped = 0
                del unread[:start]
                if len(unread) > MAX_MESSAGE_BYTES:
                    head = head if skipped else bytes(unread[:HEAD_BYTES])
                    skipped += len(unread) - _TAIL_BYTES
                    del unread[:-_TAIL_BYTES]
        except Exception:
            # A browser that sends nonsense costs only itself.
            log.exception("cdp.not_understood")
        finally:
            # Also on cancellation: pending calls would wait for answers that are never read.
            self.end()

    def _take(self, head: bytes, length: int, text: bytes) -> None:
        """Handle a message. ``text``: all of it, or the end of one that is too long."""
        if head.startswith(_CONSOLE):
            session = self._session_of(text)
            if session is None or not session.hears_console or length > MAX_CONSOLE_BYTES:
                return
        if length <= MAX_MESSAGE_BYTES:
            # Not orjson: it takes 13 times the memory of a PDF piece, and it rejects half a surrogate pair, which any
            # page can send.
            self._dispatch(json.loads(text))
        elif head.startswith(PAUSED) and (paused := without_body(head, text[-_TAIL_BYTES:])) is not None:
            self._dispatch(paused)
        elif not head.startswith(_EXCEPTION):
            self._end_session_of(text[-_TAIL_BYTES:])

    def _end_session_of(self, tail: bytes) -> None:
        """End the session of a message that is too long; ``tail`` is its end."""
        session = self._session_of(tail)
        log.warning("cdp.message_too_long", session=session is not None)
        if session is not None:
            session.end()

    def _session_of(self, text: bytes) -> Cdp | None:
        match = _SESSION.search(text[-_TAIL_BYTES:])
        return self.sessions.get(match[1].decode() if match else "")

    def _dispatch(self, message: dict[str, Any]) -> None:
        if message.get("method") == "Target.detachedFromTarget":
            if session := self.sessions.get(message["params"]["sessionId"]):
                session.end()
        elif session := self.sessions.get(message.get("sessionId", "")):
            session.take(message)

    def next_id(self) -> int:
        """Return a call id, unique across sessions: a call to a closed session is answered without its session id."""
        self._calls += 1
        return self._calls

    def send(self, text: bytes) -> None:
        """Send in order, without waiting. ``write`` sends what the pipe does not take at once."""
        if self.broken:
            return
        data = memoryview(text + _END)
        if not self._unsent:
            with suppress(BrokenPipeError):  # the reader notices it as well
                data = pipes.send_now(self._write_fd, data)
        if data:
            self._unsent.append(data)
            self._unsent_added.notify()

    async def write(self) -> None:
        """Send what ``send`` left over, until the browser is gone; the reader notices that as well."""
        with suppress(BrokenPipeError):
            while True:
                while self._unsent:
                    await pipes.send(self._write_fd, self._unsent[0])
                    del self._unsent[0]
                await self._unsent_added.wait()

    def end(self) -> None:
        self.broken = True
        for session in list(self.sessions.values()):
            session.end()


class _Session:
    """Stands in for pyppeteer's WebSocket."""

    def __init__(self, pipe: _Pipe, session: str) -> None:
        self._pipe = pipe
        self._fields = {"sessionId": session} if session else {}

    def send(self, method: str, params: dict[str, Any]) -> int:
        number = self._pipe.next_id()
        self._pipe.send(orjson.dumps({"id": number, "method": method, "params": params, **self._fields}))
        return number

    async def close(self) -> None:
        """Do nothing: the pipe is shared by all sessions."""


class _Inline:
    """Stands in for pyppeteer's asyncio loop: everything runs at once, in the caller."""

    def get_debug(self) -> bool:
        return False

    def create_future(self) -> "asyncio.Future[Any]":
        return asyncio.Future(loop=self)  # type: ignore[arg-type]  # a future needs only these methods of a loop

    def call_soon(self, callback: Callable[..., object], *arguments: Any, context: object = None) -> None:
        del context
        callback(*arguments)

    def create_task(self, work: Coroutine[Any, Any, None]) -> None:
        with suppress(StopIteration):
            work.send(None)
            work.close()
            raise RuntimeError("pyppeteer waits for something that needs asyncio")

    def call_exception_handler(self, _: dict[str, Any]) -> None:
        """Ignore an error that nobody has awaited; ``Answer.get`` raises it for those that ask."""


_INLINE = _Inline()


class _Connection(Connection):  # type: ignore[misc]  # it has no types
    """pyppeteer's ``Connection`` over an existing session."""

    def __init__(self, session: _Session) -> None:
        # pyppeteer's own __init__ would open a WebSocket and start a task to read it.
        super(Connection, self).__init__()
        self._callbacks: dict[int, asyncio.Future[Any]] = {}
        self._delay = 0
        self._loop = _INLINE
        self._sessions: dict[str, Any] = {}
        self._closeCallback = None
        self._recv_fut = _INLINE.create_future()
        self._recv_fut.set_result(None)
        self.connection = session
        self._connected = True

    def send(self, method: str, params: dict[str, Any]) -> "asyncio.Future[dict[str, Any]]":
        # pyppeteer's own takes four times as long for a large document, and sends from a task.
        answer: asyncio.Future[dict[str, Any]] = _INLINE.create_future()
        answer.error, answer.method = NetworkError(), method  # type: ignore[attr-defined]  # used in its errors
        self._callbacks[self.connection.send(method, params)] = answer
        return answer

    def take(self, message: dict[str, Any]) -> None:
        # pyppeteer's own waits another loop turn for each message, parses more slowly, and formats a log text.
        if message.get("id") in self._callbacks:
            self._on_response(message)
        else:
            self._on_query(message)

    def end(self) -> None:
        _INLINE.create_task(self.dispose())
