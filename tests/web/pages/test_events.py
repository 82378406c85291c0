"""Server-sent events: all readers get each change, until the server stops."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
import trio

from reportd.concurrency.nurseries import open_background
from reportd.core.status.snapshot import Snapshot
from reportd_web.api.wire import FeedFormat
from reportd_web.pages.dashboard import ALIVE_SECONDS
from reportd_web.pages.feed import READER_SECONDS, Feed
from reportd_web.pages.html import SECTIONS, Pages
from tests.web.busy import busy
from tests.web.running import Running
from tests.web.serving import Connection, get, serving

NOW = 1.8e9


class World:
    """``looks``: the number of snapshots taken."""

    def __init__(self) -> None:
        self.now = busy(NOW)
        self.looks = 0
        self.error: Exception | None = None

    async def look(self) -> Snapshot:
        self.looks += 1
        await trio.lowlevel.checkpoint()
        if self.error is not None:
            raise self.error
        return replace(self.now, at=NOW + trio.current_time())

    def fail(self, number: int) -> None:
        here = replace(self.now.here, lost=number)
        self.now = replace(self.now, here=here, nodes=(here, *self.now.nodes[1:]))


@asynccontextmanager
async def open_feed(world: World) -> AsyncIterator[Feed]:
    async with open_background() as nursery:
        yield Feed(world.look, Pages(), nursery)


def data(message: bytes) -> Any:
    name, body, end = message.decode().split("\n", 2)
    assert (name.split(": ")[0], end) == ("event", "\n")
    return json.loads(body.removeprefix("data: "))


@pytest.mark.usefixtures("autojump_clock")
async def test_the_first_message_has_everything_and_the_next_what_has_changed() -> None:
    world = World()
    async with open_feed(world) as feed:
        with feed.reading():
            number, message = await feed.after(0, FeedFormat.HTML)
            first = data(message)
            assert list(first["sections"]) == list(SECTIONS)
            assert (first["level"], first["brief"]) == ("bad", "● 2 open")
            world.fail(7)
            again, message = await feed.after(number, FeedFormat.HTML)
            assert again > number
            assert list(data(message)["sections"]) == ["nodes"]
            assert "7 restarts" in data(message)["sections"]["nodes"]


@pytest.mark.usefixtures("autojump_clock")
async def test_nothing_is_told_while_only_time_passes() -> None:
    async with open_feed(World()) as feed:
        with feed.reading():
            number, _ = await feed.after(0, FeedFormat.HTML)
            with trio.move_on_after(2.0) as patience:
                await feed.after(number, FeedFormat.HTML)
            assert patience.cancelled_caught


@pytest.mark.usefixtures("autojump_clock")
async def test_time_alone_may_change_the_verdict() -> None:
    world = World()
    async with open_feed(world) as feed:
        with feed.reading():
            number, message = await feed.after(0, FeedFormat.HTML)
            assert "next probe in" in data(message)["sections"]["verdict"]
            with trio.fail_after(10.0):
                _, message = await feed.after(number, FeedFormat.HTML)
            assert "its next job is the probe" in data(message)["sections"]["verdict"]


@pytest.mark.usefixtures("autojump_clock")
async def test_all_readers_get_the_same_bytes_and_it_is_looked_once() -> None:
    world = World()
    got: list[bytes] = []

    async def read() -> None:
        number = 0
        with feed.reading():
            for _ in range(5):
                number, message = await feed.after(number, FeedFormat.HTML)
                got.append(message)

    async with open_feed(world) as feed:
        async with trio.open_nursery() as nursery:
            for _ in range(200):
                nursery.start_soon(read)
            for number in range(1, 6):
                await trio.sleep(200 * READER_SECONDS)
                world.fail(number)
        assert len(got) == 1000
        assert len({id(message) for message in got}) == 5
        assert world.looks <= 7
        await trio.sleep(10.0)
        looks = world.looks
        await trio.sleep(100.0)
        assert world.looks == looks, "nobody reads"


@pytest.mark.usefixtures("autojump_clock")
async def test_who_was_slow_gets_all_that_has_changed_since() -> None:
    world = World()
    async with open_feed(world) as feed:
        with feed.reading():
            number, _ = await feed.after(0, FeedFormat.HTML)
            world.fail(5)
            await trio.sleep(2.0)
            world.now = replace(world.now, letters=())
            await trio.sleep(2.0)
            _, message = await feed.after(number, FeedFormat.HTML)
            assert list(data(message)["sections"]) == ["verdict", "letters", "nodes"]


@pytest.mark.usefixtures("autojump_clock")
async def test_who_comes_later_sees_nothing_old() -> None:
    world = World()
    async with open_feed(world) as feed:
        with feed.reading():
            await feed.after(0, FeedFormat.JSON)
        await trio.sleep(60.0)
        world.fail(9)
        with feed.reading():
            _, message = await feed.after(0, FeedFormat.JSON)
            assert data(message)["pool"]["lost"] == 9


@pytest.mark.usefixtures("autojump_clock")
async def test_what_a_reader_gets_first_is_not_older_than_he() -> None:
    world = World()
    async with open_feed(world) as feed:
        with feed.reading():
            await feed.after(0, FeedFormat.JSON)
            world.fail(9)
            with feed.reading():
                begun = trio.current_time()
                _, message = await feed.after(0, FeedFormat.JSON)
            assert data(message)["pool"]["lost"] == 9
            assert trio.current_time() == begun


@pytest.mark.usefixtures("autojump_clock")
async def test_a_look_that_fails_ends_nothing() -> None:
    world = World()
    world.error = ZeroDivisionError("a bug")
    async with open_feed(world) as feed:
        with feed.reading():
            with trio.move_on_after(5.0):
                await feed.after(0, FeedFormat.HTML)
            world.error = None
            with trio.fail_after(2.0):
                await feed.after(0, FeedFormat.HTML)


# Over HTTP


async def event(connection: Connection, buffer: bytearray) -> tuple[str, str]:
    """Return the next event: its name and its data."""
    while b"\n\n" not in buffer:
        piece = await connection.stream.receive_some()
        assert piece, "the stream has ended"
        buffer += piece
    raw, _, rest = bytes(buffer).partition(b"\n\n")
    buffer[:] = rest
    lines = [line for line in raw.decode().splitlines() if line.startswith(("event:", "data:"))]
    return lines[0].removeprefix("event: "), lines[1].removeprefix("data:").strip()


@pytest.mark.parametrize(("query", "name"), [("", "status"), ("?as=json", "status"), ("?as=html", "page")])
async def test_what_happens_is_told_within_a_second(running: Running, query: str, name: str) -> None:
    async with serving(running) as served:
        connection, buffer = await served.connect(), bytearray()
        await connection.send(get(f"/events{query}"))
        assert (await event(connection, buffer))[0] == name
        begun = trio.current_time()
        task_id = await running.submit()
        while task_id not in (await event(connection, buffer))[1]:
            pass
        assert trio.current_time() - begun < 3.0, "a second, on a machine that does nothing else"


async def test_who_hears_nothing_new_hears_that_it_is_alive(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ALIVE_SECONDS == 15.0
    monkeypatch.setattr("reportd_web.pages.dashboard.ALIVE_SECONDS", 0.1)
    async with serving(running) as served:
        connection, buffer = await served.connect(), bytearray()
        await connection.send(get("/events"))
        names = [(await event(connection, buffer))[0] for _ in range(12)]
        assert "alive" in names


async def test_a_reader_is_sent_away_now_and_then(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reportd_web.pages.dashboard.STREAM_SECONDS", 0.3)
    async with serving(running) as served:
        connection = await served.connect()
        await connection.send(get("/events", Connection="close"))
        received = b""
        while piece := await connection.stream.receive_some():
            received += piece
        assert received.startswith(b"HTTP/1.1 200")
        assert received.endswith(b"0\r\n\r\n")


async def test_the_end_of_the_server_waits_for_no_reader(running: Running) -> None:
    async with serving(running) as served:
        for _ in range(20):
            connection, buffer = await served.connect(), bytearray()
            await connection.send(get("/events?as=html"))
            await event(connection, buffer)
        assert await served.end() < 3.0


async def test_headers(running: Running) -> None:
    async with serving(running) as served:
        connection = await served.connect()
        await connection.send(get("/events", "HEAD"))
        answer = await connection.answer(head=True)
        assert answer.status == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("query", ["as=xml", "as=", "as=html&as=json", "since=1"])
async def test_what_is_asked_for_in_another_way_is_refused(running: Running, query: str) -> None:
    assert (await running.client.get(f"/events?{query}")).status_code == 422
