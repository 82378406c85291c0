"""The DevTools connection against a stand-in that breaks off, refuses and lies; nothing may reach the loop unheard."""

import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from wsproto import ConnectionType, WSConnection
from wsproto.connection import ConnectionState
from wsproto.events import AcceptConnection, CloseConnection, Request, TextMessage

from reportd.adapters.chromium import cdp
from reportd.adapters.chromium.cdp import Cdp, CdpError, ClosedError, connect, open_bridge
from reportd.background import open_background

Answering = Callable[["Target", dict[str, Any]], Awaitable[None]]


class Target:
    """One end of a WebSocket that speaks the protocol as told."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._socket = WSConnection(ConnectionType.SERVER)

    async def say(self, **message: Any) -> None:
        await self._stream.send_all(self._socket.send(TextMessage(json.dumps(message))))

    async def close(self) -> None:
        if self._socket.state is ConnectionState.OPEN:
            await self._stream.send_all(self._socket.send(CloseConnection(1000)))
            await self._stream.aclose()

    async def vanish(self) -> None:
        await self._stream.aclose()

    async def converse(self, answer: Answering) -> None:
        text = ""
        while data := await self._stream.receive_some(65536):
            self._socket.receive_data(data)
            for event in self._socket.events():
                if isinstance(event, Request):
                    assert event.extensions == []  # a PDF is not compressed again
                    await self._stream.send_all(self._socket.send(AcceptConnection()))
                elif isinstance(event, CloseConnection):
                    await self._stream.send_all(self._socket.send(event.response()))
                    await self._stream.aclose()
                    return
                elif isinstance(event, TextMessage):
                    text += event.data
                    if event.message_finished:
                        message, text = json.loads(text), ""
                        await answer(self, message)


@asynccontextmanager
async def connected(answer: Answering) -> AsyncIterator[Cdp]:
    async def serve(stream: trio.SocketStream) -> None:
        try:
            await Target(stream).converse(answer)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return

    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    with trio.fail_after(5):
        async with open_background() as nursery, open_bridge() as loop:
            nursery.start_soon(trio.serve_listeners, serve, listeners)
            connection = await connect(f"ws://127.0.0.1:{port}/devtools", loop)
            try:
                yield connection
            finally:
                await connection.close()


@pytest.fixture(autouse=True)
def _nothing_unheard(caplog: pytest.LogCaptureFixture) -> Any:
    """ "Task exception was never retrieved" and its like."""
    yield
    for record in caplog.get_records("call"):
        assert record.levelno < logging.ERROR, record.getMessage()


async def echo(target: Target, message: dict[str, Any]) -> None:
    await target.say(id=message["id"], result=message)


async def test_calls_are_answered_each_its_own() -> None:
    async with connected(echo) as page:
        answers = [page.send("Page.n", n=n) for n in range(50)]
        assert [(await answer.get())["params"] for answer in answers] == [{"n": n} for n in range(50)]
        assert await page.call("Page.large", text="x" * 3_000_000)


async def test_a_connection_that_is_closed_at_once() -> None:
    async with connected(echo) as page:
        pass
    assert page.closed.is_set()


async def test_calls_arrive_in_the_order_they_were_made() -> None:
    seen: list[str] = []

    async def note(target: Target, message: dict[str, Any]) -> None:
        seen.append(message["method"])
        await echo(target, message)

    async with connected(note) as page:
        for n in range(20):
            page.send(f"Page.{n}", text="x" * 1000 * (20 - n))
        await page.call("Page.last")
    assert seen == [*(f"Page.{n}" for n in range(20)), "Page.last"]


async def test_a_refused_call_says_why() -> None:
    async def refuse(target: Target, message: dict[str, Any]) -> None:
        await target.say(id=message["id"], error={"code": -32000, "message": "not that", "data": "one"})

    async with connected(refuse) as page:
        with pytest.raises(CdpError, match=r"Protocol error \(Page.print\): not that one"):
            await page.call("Page.print")
        page.send("Page.print")  # nobody asks what becomes of it
        await trio.testing.wait_all_tasks_blocked(0.05)


@pytest.mark.parametrize("way", ["close", "vanish"])
async def test_a_target_that_goes_away_ends_every_call(way: str) -> None:
    async def leave(target: Target, _: dict[str, Any]) -> None:
        await getattr(target, way)()

    told: list[str] = []
    async with connected(leave) as page:
        page.on_closed(lambda: told.append("closed"))
        waiting = [page.send("Page.first"), page.send("Page.second")]
        for answer in waiting:
            with pytest.raises(ClosedError):
                await answer.get()
        assert page.closed.is_set()
        assert told == ["closed"]
        with pytest.raises(ClosedError):
            await page.call("Page.third")
        page.send("Page.fourth")


async def test_calls_made_while_the_target_goes_away() -> None:
    """Between the loss of the socket and its discovery there is a moment in which calls can still be sent."""

    async def leave(target: Target, _: dict[str, Any]) -> None:
        await target.vanish()

    async with connected(leave) as page:
        page.send("Page.first")
        for _ in range(200):
            answer = page.send("Page.again")
            await trio.lowlevel.checkpoint()
        with pytest.raises(ClosedError):
            await answer.get()


async def test_a_call_that_nobody_waits_for_any_more_is_answered_in_peace() -> None:
    async def late(target: Target, message: dict[str, Any]) -> None:
        await trio.sleep(0.05)
        await target.say(id=message["id"], error={"message": "no"})

    async with connected(late) as page:
        with trio.move_on_after(0.01) as deadline:
            await page.call("Page.slow")
        assert deadline.cancelled_caught
        with pytest.raises(CdpError):
            await page.call("Page.next")


async def test_events_reach_their_handlers_and_a_failing_one_silences_nobody() -> None:
    async def tell(target: Target, message: dict[str, Any]) -> None:
        await target.say(method="Page.happened", params={"n": 1})
        await target.say(method="Page.unknown", params={})
        await target.say(id=99999, result={})
        await echo(target, message)

    heard: list[str] = []

    def fail(_: dict[str, Any]) -> None:
        heard.append("failing")
        raise KeyError("nothing")

    async with connected(tell) as page:
        page.on("Page.happened", fail)
        page.on("Page.happened", lambda event: heard.append(str(event["n"])))
        for _ in range(2):
            await page.call("Page.tell")
    assert heard == ["failing", "1"] * 2


async def test_a_connection_that_can_not_be_made() -> None:
    async with open_bridge() as loop:
        with pytest.raises(ClosedError):
            await connect("ws://127.0.0.1:1/devtools", loop)


@pytest.mark.parametrize("greeting", [b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", b"SSH-2.0\r\n", b""])
async def test_what_is_no_target(greeting: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cdp, "CONNECT_SECONDS", 0.2)

    async def serve(stream: trio.SocketStream) -> None:
        await stream.receive_some(4096)
        await stream.send_all(greeting or b"HT")
        if not greeting:
            await trio.sleep_forever()

    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    async with open_background() as nursery, open_bridge() as loop:
        nursery.start_soon(trio.serve_listeners, serve, listeners)
        with pytest.raises(ClosedError):
            await connect(f"ws://127.0.0.1:{port}/devtools", loop)


async def test_a_connection_that_is_given_up_while_it_is_made() -> None:
    async with open_bridge() as loop:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listeners[0].socket.getsockname()[1]
        with trio.move_on_after(0.05) as deadline:
            await connect(f"ws://127.0.0.1:{port}/devtools", loop)
        assert deadline.cancelled_caught
        await listeners[0].aclose()
