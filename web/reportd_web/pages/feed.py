"""Feeds the open status pages: each change is rendered once for all readers.

A slow reader skips states: its next message holds everything that has changed since its last one.
"""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import orjson
import structlog
import trio

from reportd.concurrency.signal import Signal
from reportd.core.status.health import Health, health_of
from reportd.core.status.snapshot import Snapshot
from reportd_web.api.wire import FeedFormat
from reportd_web.pages import status_json
from reportd_web.pages.html import Pages

TICK_SECONDS = 0.75
"""Interval of the snapshots, so that a change is on the page within a second."""

READER_SECONDS = 0.005
"""The interval grows by this for each reader. Sending to a reader takes 1/9 ms, so all readers together use about 2 %
of a processor; from 150 readers on, snapshots are rarer.
"""

SPREAD_SECONDS = 0.001
"""Messages are spread over this time per reader, so that other tasks run in between."""

log = structlog.get_logger()


class Feed:
    """``nursery``: where the feed runs while it has readers."""

    def __init__(self, read_snapshot: Callable[[], Awaitable[Snapshot]], pages: Pages, nursery: trio.Nursery) -> None:
        self._read_snapshot = read_snapshot
        self._pages = pages
        self._nursery = nursery
        self._readers = 0
        self._running = False
        self._rounds_begun = self._rounds_ended = 0
        self._round_wanted = Signal()
        self._round_ended = Signal()
        self._number = 0
        self._changed = Signal()
        self._current: tuple[Snapshot, Health] | None = None
        self._sections: dict[str, tuple[int, str]] = {}
        self._messages: dict[tuple[FeedFormat, int], bytes] = {}

    @property
    def spread_seconds(self) -> float:
        """The time over which a message to all readers is spread."""
        return self._readers * SPREAD_SECONDS

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Keep the feed running for the block, in which ``after`` is called."""
        self._readers += 1
        if not self._running:
            self._running = True
            self._nursery.start_soon(self._run)
        try:
            yield
        finally:
            self._readers -= 1

    async def after(self, number: int, feed_format: FeedFormat) -> tuple[int, bytes]:
        """Wait for a state after ``number``. Return its number, and a message with the changes; everything after 0."""
        if not number:
            await self._next_round()
        while self._current is None or self._number == number:
            await self._changed.wait()
        key = feed_format, number
        if key not in self._messages:
            self._messages[key] = _event(feed_format, self._document(feed_format, number))
        return self._number, self._messages[key]

    async def _next_round(self) -> None:
        """Wait for a snapshot that begins now: a new reader already has the page, and must not get an older state."""
        next_round = self._rounds_begun + 1
        self._round_wanted.notify()
        while self._rounds_ended < next_round:
            await self._round_ended.wait()

    def _document(self, feed_format: FeedFormat, number: int) -> object:
        assert self._current is not None  # noqa: S101 - called after the first snapshot
        snapshot, health = self._current
        if feed_format is FeedFormat.JSON:
            return status_json.document(snapshot)
        changed = {name: html for name, (since, html) in self._sections.items() if since > number}
        return {"at": snapshot.at, "level": health.level, "brief": health.brief, "sections": changed}

    async def _run(self) -> None:
        try:
            while self._readers:
                self._rounds_begun += 1
                round_wanted = self._round_wanted.next()
                try:
                    self._publish(await self._read_snapshot())
                except Exception:
                    # The page must recover after any failure.
                    log.exception("feed.failed")
                self._rounds_ended = self._rounds_begun
                self._round_ended.notify()
                with trio.move_on_after(max(TICK_SECONDS, self._readers * READER_SECONDS)):
                    await round_wanted.wait()
        finally:
            self._running = False

    def _publish(self, snapshot: Snapshot) -> None:
        health = health_of(snapshot)
        if self._current is not None and self._current[0].shows_the_same(snapshot) and self._current[1] == health:
            return
        self._current = snapshot, health
        self._number += 1
        for name, html in self._pages.sections(snapshot, health).items():
            if self._sections.get(name, (0, ""))[1] != html:
                self._sections[name] = self._number, html
        self._messages.clear()
        self._changed.notify()


def _event(feed_format: FeedFormat, document: object) -> bytes:
    name = b"status" if feed_format is FeedFormat.JSON else b"page"
    return b"event: %s\ndata: %s\n\n" % (name, orjson.dumps(document))
