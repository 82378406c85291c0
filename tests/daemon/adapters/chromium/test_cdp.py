"""The DevTools pipe against a fake browser that breaks off, refuses and lies. No error may be lost in the loop."""

import json
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib import metadata
from typing import Any

import pytest
import trio
from packaging.requirements import Requirement

from reportd.adapters.chromium.protocol import cdp, pipes
from reportd.adapters.chromium.protocol.cdp import Cdp, CdpError, ClosedError, open_cdp
from reportd.concurrency.nurseries import open_background

Answering = Callable[["Target", dict[str, Any]], Awaitable[None]]


class Target:
    """The browser's end of the pipe; it speaks the protocol as a test tells it."""

    def __init__(self, hears: int, says: int) -> None:
        self._hears = trio.lowlevel.FdStream(hears)
        self._says = trio.lowlevel.FdStream(says)

    async def say(self, **message: Any) -> None:
        await self.write(json.dumps(message).encode() + b"\0")

    async def write(self, data: bytes) -> None:
        await self._says.send_all(data)

    async def close(self) -> None:
        await self._says.aclose()

    async def vanish(self) -> None:
        await self._hears.aclose()
        await self._says.aclose()

    async def converse(self, answer: Answering) -> None:
        pending = b""
        while data := await self._hears.receive_some(65536):
            *messages, pending = (pending + data).split(b"\0")
            for message in messages:
                await answer(self, json.loads(message))


@asynccontextmanager
async def connected(answer: Answering) -> AsyncIterator[Cdp]:
    (hears, told), (said, says) = os.pipe(), os.pipe()
    target = Target(hears, says)

    async def serve() -> None:
        try:
            await target.converse(answer)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return

    with trio.fail_after(5):
        async with open_background() as nursery:
            nursery.start_soon(serve)
            pipes.prepare(said, told)
            async with open_cdp(said, told) as connection:
                yield connection
            await target.vanish()
    os.close(said)
    os.close(told)


@pytest.fixture(autouse=True)
def _nothing_unheard(caplog: pytest.LogCaptureFixture) -> Any:
    """Collects "Task exception was never retrieved" and similar reports."""
    yield
    for record in caplog.get_records("call"):
        assert record.levelno < logging.ERROR, record.getMessage()


async def echo(target: Target, message: dict[str, Any]) -> None:
    await target.say(id=message["id"], result=message)


def test_what_is_overridden_of_pyppeteers_pins_is_what_is_installed() -> None:
    """This file's tests, and all that use a browser, run with these checks."""
    wanted = {each.name: each.specifier for each in map(Requirement, metadata.requires("pyppeteer") or ())}
    assert metadata.version("urllib3") not in wanted["urllib3"]
    assert metadata.version("websockets") not in wanted["websockets"]


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
    """Calls can still be sent between the loss of the socket and its discovery."""

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


async def test_sessions_share_the_pipe_and_nothing_else() -> None:
    async def answer(target: Target, message: dict[str, Any]) -> None:
        session = {"sessionId": message["sessionId"]} if "sessionId" in message else {}
        if message["method"] == "Target.attachToTarget":
            assert message["params"]["flatten"] is True
            await target.say(id=message["id"], result={"sessionId": "of " + message["params"]["targetId"]})
        elif message["method"] == "Page.leave":
            await target.say(method="Target.detachedFromTarget", params=session)
        else:
            await target.say(method="Page.happened", params={"to": message.get("sessionId", "browser")}, **session)
            await target.say(id=message["id"], result={"by": message.get("sessionId", "browser")}, **session)

    heard: dict[str, list[str]] = {"browser": [], "of one": [], "of two": []}
    async with connected(answer) as browser:
        one, two = await browser.attach("one"), await browser.attach("two")
        for name, session in (("browser", browser), ("of one", one), ("of two", two)):
            session.on("Page.happened", lambda event, name=name: heard[name].append(event["to"]))  # type: ignore[misc]
        answers = [session.send("Page.ask") for session in (one, two, browser)]
        assert [(await answer.get())["by"] for answer in answers] == ["of one", "of two", "browser"]
        assert heard == {"browser": ["browser"], "of one": ["of one"], "of two": ["of two"]}
        with pytest.raises(ClosedError):
            await one.call("Page.leave")
        assert one.closed.is_set()
        assert (await two.call("Page.ask"))["by"] == "of two"
        waiting = two.send("Page.slow")
    assert two.closed.is_set()
    with pytest.raises(ClosedError):
        await waiting.get()
    with pytest.raises(ClosedError):
        await browser.attach("three")


async def test_half_of_a_surrogate_pair_is_understood() -> None:
    """A page can send it although it is not valid Unicode."""

    async def tell(target: Target, message: dict[str, Any]) -> None:
        await target.write(b'{"id": %d, "result": {"text": "\\ud800"}}\0' % message["id"])

    async with connected(tell) as page:
        assert await page.call("Page.tell") == {"text": "\ud800"}


@pytest.mark.parametrize("answer", [b"no JSON", b"[]", b"{", b"\xff", b'{"method": "Target.detachedFromTarget"}'])
async def test_a_browser_that_talks_nonsense_is_given_up(answer: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async def babble(target: Target, _: dict[str, Any]) -> None:
        await target.write(answer + b"\0")

    async with connected(babble) as page:
        with pytest.raises(ClosedError):
            await page.call("Page.ask")
    assert page.closed.is_set()
    caplog.clear()


async def test_an_answer_to_a_session_that_has_gone_is_nobody_elses() -> None:
    """Chromium leaves the session id out, so the answer could pass for one of the browser's own session."""

    async def answer(target: Target, message: dict[str, Any]) -> None:
        if message["method"] == "Target.attachToTarget":
            await target.say(id=message["id"], result={"sessionId": "AB"})
        elif message["method"] == "Page.gone":
            await target.say(id=message["id"], error={"code": -32001, "message": "Session with given id not found."})
        elif message["method"] == "Page.ask":
            await target.say(id=message["id"], result={})

    async with connected(answer) as browser:
        page = await browser.attach("one")
        waiting = [browser.send("Page.slow") for _ in range(10)]
        for _ in range(20):
            page.send("Page.gone")
        await browser.call("Page.ask")
        with trio.move_on_after(0.05) as deadline:
            for one in waiting:
                await one.get()
        assert deadline.cancelled_caught


@pytest.mark.parametrize("more", [0, 1, 300_000, 5_000_000])
async def test_what_a_page_says_at_too_great_a_length_ends_its_session_only(
    more: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cdp, "MAX_MESSAGE_BYTES", 1_000_000)

    async def answer(target: Target, message: dict[str, Any]) -> None:
        session = message.get("sessionId", "")
        if message["method"] == "Target.attachToTarget":
            await target.say(
                id=message["id"], result={"sessionId": "AB" if message["params"]["targetId"] == "1" else "CD"}
            )
            return
        size = 1_000_000 + more if message["method"] == "Page.long" else 10
        await target.write(
            b'{"id":%d,"result":{"text":"%s"},"sessionId":"%s"}\0' % (message["id"], b"x" * size, session.encode())
        )

    async with connected(answer) as browser:
        one, two = await browser.attach("1"), await browser.attach("2")
        waiting = [one.send("Page.ask"), one.send("Page.long"), two.send("Page.ask")]
        assert len((await waiting[0].get())["text"]) == 10
        with pytest.raises(ClosedError):
            await waiting[1].get()
        assert len((await waiting[2].get())["text"]) == 10
        assert one.closed.is_set()
        assert not two.closed.is_set()
        assert len((await two.call("Page.ask"))["text"]) == 10


@pytest.mark.parametrize("size", [10, 999_900, 1_000_001, 5_000_000])
async def test_what_a_page_writes_to_its_console_is_dropped_at_any_length(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cdp, "MAX_MESSAGE_BYTES", 1_000_000)
    parsed: list[bytes] = []
    loads = json.loads

    def parse(text: bytes) -> Any:
        parsed.append(text)
        return loads(text)

    monkeypatch.setattr(json, "loads", parse)
    said = b'{"method":"Runtime.consoleAPICalled","params":{"args":["%s"]},"sessionId":"AB"}\0' % (b"x" * size)

    async def answer(target: Target, message: dict[str, Any]) -> None:
        if message["method"] == "Target.attachToTarget":
            await target.say(id=message["id"], result={"sessionId": "AB"})
            return
        await target.write(said + b'{"id":%d,"result":{},"sessionId":"AB"}\0' % message["id"] + said)

    async with connected(answer) as browser:
        page = await browser.attach("1")
        for _ in range(2):
            assert await page.call("Page.ask") == {}
    assert not any(b"consoleAPICalled" in text for text in parsed)


async def test_an_exception_that_is_too_long_ends_no_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cdp, "MAX_MESSAGE_BYTES", 1_000_000)
    thrown: list[dict[str, Any]] = []

    async def answer(target: Target, message: dict[str, Any]) -> None:
        if message["method"] == "Target.attachToTarget":
            await target.say(id=message["id"], result={"sessionId": "AB"})
            return
        for size in (2_000_000, 10):
            event = b'{"method":"Runtime.exceptionThrown","params":{"text":"%s"},"sessionId":"AB"}\0' % (b"x" * size)
            await target.write(event)
        await target.say(id=message["id"], result={}, sessionId="AB")

    async with connected(answer) as browser:
        page = await browser.attach("1")
        page.on("Runtime.exceptionThrown", thrown.append)
        assert await page.call("Page.ask") == {}
    assert [len(event["text"]) for event in thrown] == [10]


PAUSED = (
    b'{"method":"Fetch.requestPaused","params":{"requestId":"7","request":{"url":"http://a.test/","method":"POST",'
    b'"headers":{"X":"%s"},%s"initialPriority":"High"},"frameId":"F","resourceType":"XHR"},"sessionId":"AB"}\0'
)
TEXT = b'\\"},\\"frameId\\":\\",\\"postData\\":\\"'
BODIES = [b'"hasPostData":true,', b'"postData":"%s","hasPostData":true,', b'"postDataEntries":[{"bytes":"%s"}],']


@pytest.mark.parametrize("size", [10, 1_000_000, 5_000_000])
@pytest.mark.parametrize("body", BODIES)
async def test_a_paused_request_is_read_without_its_body_if_that_is_too_long(
    body: bytes, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cdp, "MAX_MESSAGE_BYTES", 1_000_000)
    paused: list[dict[str, Any]] = []

    async def answer(target: Target, message: dict[str, Any]) -> None:
        if message["method"] == "Target.attachToTarget":
            await target.say(id=message["id"], result={"sessionId": "AB"})
            return
        text = TEXT * (size // len(TEXT))
        await target.write(PAUSED % (TEXT, body % text if b"%s" in body else body))
        await target.say(id=message["id"], result={}, sessionId="AB")

    async with connected(answer) as browser:
        page = await browser.attach("1")
        page.on("Fetch.requestPaused", paused.append)
        assert await page.call("Page.ask") == {}
    (event,) = paused
    assert (event["requestId"], event["frameId"], event["resourceType"]) == ("7", "F", "XHR")
    headers = {"X": TEXT.decode().replace("\\", "")}
    assert event["request"] | {"url": "http://a.test/", "method": "POST", "headers": headers} == event["request"]


async def test_a_paused_request_whose_headers_are_too_long_ends_its_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cdp, "MAX_MESSAGE_BYTES", 1_000_000)

    async def answer(target: Target, message: dict[str, Any]) -> None:
        if message["method"] == "Target.attachToTarget":
            await target.say(id=message["id"], result={"sessionId": "AB"})
            return
        await target.write(PAUSED % (b"x" * 2_000_000, BODIES[0]))

    async with connected(answer) as browser:
        page = await browser.attach("1")
        with pytest.raises(ClosedError):
            await page.call("Page.ask")


async def test_a_connection_that_is_called_off_leaves_nobody_waiting() -> None:
    """Closing a page while everything ends must not wait for an answer that is never read."""

    (hears, told), (said, says) = os.pipe(), os.pipe()
    pipes.prepare(said, told)
    with trio.fail_after(2), trio.CancelScope() as end:
        async with open_cdp(said, told) as page:
            end.cancel()
            with trio.CancelScope(shield=True), pytest.raises(ClosedError):
                await page.call("Target.disposeBrowserContext")
    for pipe in (hears, told, said, says):
        os.close(pipe)


async def test_a_browser_that_reads_nothing_holds_nobody_up() -> None:
    async def sleep(_target: Target, _: dict[str, Any]) -> None:
        await trio.sleep_forever()

    async with connected(sleep) as page:
        answers = [page.send("Page.ask", text="x" * 1_000_000) for _ in range(5)]
        with trio.move_on_after(0.1) as deadline:
            await answers[-1].get()
        assert deadline.cancelled_caught
    with pytest.raises(ClosedError):
        await answers[-1].get()
