"""The DevTools protocol on trio. The only module that knows pyppeteer.

pyppeteer is no longer maintained, so only its ``Connection`` is used: it numbers calls, matches answers to them, and
tells events. What carries its messages is ours: the pipe that the browser was started with
(``--remote-debugging-pipe``), which nobody else can open. All targets of a browser share that pipe, each with a
session of its own ("flat" sessions), and each session has a ``Connection``. A replacement has to offer what ``Cdp``
offers.

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
from reportd.concurrency.nurseries import open_background
from reportd.concurrency.signal import Signal

with warnings.catch_warnings():
    # It imports a part of its WebSocket library that is disapproved of there, and not used here.
    warnings.simplefilter("ignore", DeprecationWarning)
    from pyppeteer.connection import Connection
    from pyppeteer.errors import NetworkError

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
"""A piece of a PDF takes 1.4 MiB, and nothing else that is asked for is as long. What is longer is what a page says,
in an exception for instance: it is read past, so that it holds up nobody, and the session that it is of ends.
"""

_TAIL_BYTES = 128
_SESSION = re.compile(rb'"sessionId":"([0-9A-F]+)"\}$')
"""The end of a message, as Chromium writes it."""

_END = b"\0"
"""Of each message, in both directions."""

log = structlog.get_logger()


class CdpError(Exception):
    """The browser refused a call. The text is the browser's."""


class ClosedError(Exception):
    """The target is gone."""


class Answer:
    """What a call will be answered. Made by ``Cdp.send``."""

    def __init__(self, cdp: "Cdp", method: str, future: "asyncio.Future[dict[str, Any]] | None") -> None:
        self._cdp = cdp
        self._method = method
        self._future = future
        self._come = trio.Event()
        self._when_granted: Callable[[], None] | None = None
        if future is None:
            self._come.set()
        else:
            future.add_done_callback(self._done)

    def _done(self, future: "asyncio.Future[dict[str, Any]]") -> None:
        self._come.set()
        if self._when_granted is not None and future.exception() is None:
            self._when_granted()

    def when_granted(self, call: Callable[[], None]) -> None:
        """Call it when the answer comes, unless it is a refusal: before anything that the target says after it."""
        self._when_granted = call

    async def get(self) -> dict[str, Any]:
        """Raises CdpError when the browser refuses, ClosedError when the target goes away."""
        await self._come.wait()
        if self._future is None:
            raise ClosedError(self._method)
        try:
            return self._future.result()
        except NetworkError as error:
            if self._cdp.closed.is_set() or "Target closed" in str(error):
                raise ClosedError(self._method) from None
            raise CdpError(str(error)) from None


class Cdp:
    """A session with one target, or with the browser itself, where ``session`` is empty. Made by ``open_cdp``."""

    def __init__(self, pipe: "_Pipe", session: str = "") -> None:
        self.closed = trio.Event()
        self._pipe = pipe
        self._on_closed: list[Callable[[], None]] = []
        self._connection = _Connection(_Session(pipe, session))
        self._session = session
        pipe.sessions[session] = self
        if pipe.broken:
            self.end()

    def on(self, event: str, handler: Callable[[dict[str, Any]], None]) -> None:
        """Call ``handler`` with the event's parameters, from now on. It must not block."""

        def handle(parameters: dict[str, Any]) -> None:
            try:
                handler(parameters)
            except Exception:
                # Raised, it would end the reader of all sessions.
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

    async def attach(self, target_id: str) -> "Cdp":
        """A session with a target of this browser. Raises CdpError and ClosedError."""
        attached = await self.call("Target.attachToTarget", targetId=target_id, flatten=True)
        return Cdp(self._pipe, attached["sessionId"])

    def take(self, message: dict[str, Any]) -> None:
        """What the browser says in this session."""
        if not self.closed.is_set():
            self._connection.take(message)

    def end(self) -> None:
        """Nothing is said or heard any more; every call that waits is told that its target is gone."""
        if self.closed.is_set():
            return
        self._pipe.sessions.pop(self._session, None)
        self.closed.set()
        self._connection.end()
        for handler in self._on_closed:
            handler()


@asynccontextmanager
async def open_cdp(said: int, told: int) -> AsyncIterator[Cdp]:
    """The session with the browser at the other end of these pipes: what it says and what it is told."""
    pipe = _Pipe(said, told)
    browser = Cdp(pipe)
    try:
        async with open_background() as nursery:
            nursery.start_soon(pipe.read)
            nursery.start_soon(pipe.write)
            yield browser
    finally:
        pipe.end()


class _Pipe:
    """Carries the messages of all sessions."""

    def __init__(self, said: int, told: int) -> None:
        self.sessions: dict[str, Cdp] = {}
        self.broken = False
        self._said = said
        self._told = told
        self._unsent: list[memoryview] = []
        self._calls = 0
        self._unsent_added = Signal()

    async def read(self) -> None:
        """Until the browser is gone."""
        unread, passed = bytearray(), 0
        try:
            while data := await pipes.receive(self._said):
                begins, searched = 0, len(unread)
                unread += data
                while (ends := unread.find(_END, searched)) >= 0:
                    if passed + ends - begins > MAX_MESSAGE_BYTES:
                        self._too_long(bytes(unread[max(begins, ends - _TAIL_BYTES) : ends]))
                    else:
                        self._take(bytes(unread[begins:ends]))
                    begins = searched = ends + 1
                    passed = 0
                del unread[:begins]
                if len(unread) > MAX_MESSAGE_BYTES:
                    passed += len(unread) - _TAIL_BYTES
                    del unread[:-_TAIL_BYTES]
        except Exception:
            # Whatever a browser says, it costs that browser only.
            log.exception("cdp.not_understood")
        finally:
            # Also where it is cancelled: who waits for an answer would wait for one that nobody reads.
            self.end()

    def _too_long(self, tail: bytes) -> None:
        found = _SESSION.search(tail)
        session = self.sessions.get(found[1].decode() if found else "")
        log.warning("cdp.message_too_long", session=found is not None)
        if session is not None:
            session.end()

    def _take(self, text: bytes) -> None:
        # Not orjson: it takes 13 times the size of a piece of a PDF, and refuses the half of a surrogate pair, which
        # any page can say.
        self._dispatch(json.loads(text))

    def _dispatch(self, message: dict[str, Any]) -> None:
        if message.get("method") == "Target.detachedFromTarget":
            if session := self.sessions.get(message["params"]["sessionId"]):
                session.end()
        elif session := self.sessions.get(message.get("sessionId", "")):
            session.take(message)

    def next_id(self) -> int:
        """Of a call. Unique for all sessions: what is said to a session that has gone is answered without its name."""
        self._calls += 1
        return self._calls

    def send(self, text: bytes) -> None:
        """In order, and without waiting: what the pipe does not take at once is sent by ``write``."""
        if self.broken:
            return
        data = memoryview(text + _END)
        if not self._unsent:
            with suppress(BrokenPipeError):  # the reader finds out as well
                data = pipes.send_now(self._told, data)
        if data:
            self._unsent.append(data)
            self._unsent_added.notify()

    async def write(self) -> None:
        """Until the browser is gone, which its reader finds out as well."""
        with suppress(BrokenPipeError):
            while True:
                while self._unsent:
                    await pipes.send(self._told, self._unsent[0])
                    del self._unsent[0]
                await self._unsent_added.wait()

    def end(self) -> None:
        self.broken = True
        for session in list(self.sessions.values()):
            session.end()


class _Session:
    """What pyppeteer takes for its WebSocket."""

    def __init__(self, pipe: _Pipe, session: str) -> None:
        self._pipe = pipe
        self._mark = {"sessionId": session} if session else {}

    def send(self, method: str, params: dict[str, Any]) -> int:
        number = self._pipe.next_id()
        self._pipe.send(orjson.dumps({"id": number, "method": method, "params": params, **self._mark}))
        return number

    async def close(self) -> None:
        """The pipe is not this session's to close."""


class _Inline:
    """What pyppeteer takes for its asyncio loop: all that it asks of one is done at once, by whoever asks."""

    def get_debug(self) -> bool:
        return False

    def create_future(self) -> "asyncio.Future[Any]":
        return asyncio.Future(loop=self)  # type: ignore[arg-type]  # a future needs no more of a loop than this

    def call_soon(self, callback: Callable[..., object], *arguments: Any, context: object = None) -> None:
        del context
        callback(*arguments)

    def create_task(self, work: Coroutine[Any, Any, None]) -> None:
        with suppress(StopIteration):
            work.send(None)
            work.close()
            raise RuntimeError("pyppeteer waits for something that only asyncio could bring")

    def call_exception_handler(self, _: dict[str, Any]) -> None:
        """A refusal that nobody has asked for: who wants to know it calls ``Answer.get``."""


_INLINE = _Inline()


class _Connection(Connection):  # type: ignore[misc]  # it has no types
    """pyppeteer's, over a session that is there already."""

    def __init__(self, session: _Session) -> None:
        # Its own would make a WebSocket, and a task that reads it.
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
        # pyppeteer's own takes four times as long for a large document, and has a task send it.
        answer: asyncio.Future[dict[str, Any]] = _INLINE.create_future()
        answer.error, answer.method = NetworkError(), method  # type: ignore[attr-defined]  # for what it raises
        self._callbacks[self.connection.send(method, params)] = answer
        return answer

    def take(self, message: dict[str, Any]) -> None:
        # pyppeteer's own waits for the loop once more for each message, parses it slower, and formats it for a log.
        if message.get("id") in self._callbacks:
            self._on_response(message)
        else:
            self._on_query(message)

    def end(self) -> None:
        _INLINE.create_task(self.dispose())
