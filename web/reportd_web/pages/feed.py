"""What everybody sees who has the page open: rendered once, however many they are, and only if it has changed.

A reader that is slow gets the latest, not each one: a message holds whatever has changed since what he has.
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
"""How often it is looked whether something has changed, so that it is on the page within a second."""

READER_SECONDS = 0.005
"""To tell a reader something takes a ninth of a millisecond. So all of them together get two hundredths of a processor,
and beyond 150 of them it is looked less often.
"""

SPREAD_SECONDS = 0.001
"""For each reader. In between, others have their turn."""

log = structlog.get_logger()


class Feed:
    """``nursery``: where it is looked, for as long as somebody reads."""

    def __init__(self, look: Callable[[], Awaitable[Snapshot]], pages: Pages, nursery: trio.Nursery) -> None:
        self._look = look
        self._pages = pages
        self._nursery = nursery
        self._readers = 0
        self._looking = False
        self._begun = self._ended = 0
        self._wanted = Signal()
        self._looked = Signal()
        self._number = 0
        self._changed = Signal()
        self._seen: tuple[Snapshot, Health] | None = None
        self._sections: dict[str, tuple[int, str]] = {}
        self._messages: dict[tuple[FeedFormat, int], bytes] = {}

    @property
    def spread_seconds(self) -> float:
        """Within which time the readers are told, so that they are not all told at the same instant."""
        return self._readers * SPREAD_SECONDS

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Around calls of ``after``."""
        self._readers += 1
        if not self._looking:
            self._looking = True
            self._nursery.start_soon(self._run)
        try:
            yield
        finally:
            self._readers -= 1

    async def after(self, number: int, form: FeedFormat) -> tuple[int, bytes]:
        """What has changed since what had this number, once something has; 0 is the number of nothing."""
        if not number:
            await self._look_anew()
        while self._seen is None or self._number == number:
            await self._changed.wait()
        key = form, number
        if key not in self._messages:
            self._messages[key] = _event(form, self._document(form, number))
        return self._number, self._messages[key]

    async def _look_anew(self) -> None:
        """Whoever comes has the page already, and what he gets must not be older than that."""
        next_one = self._begun + 1
        self._wanted.notify()
        while self._ended < next_one:
            await self._looked.wait()

    def _document(self, form: FeedFormat, number: int) -> object:
        assert self._seen is not None  # noqa: S101 - asked when something was seen
        snapshot, judged = self._seen
        if form is FeedFormat.JSON:
            return status_json.document(snapshot)
        changed = {name: html for name, (since, html) in self._sections.items() if since > number}
        return {"at": snapshot.at, "level": judged.level, "brief": judged.brief, "sections": changed}

    async def _run(self) -> None:
        try:
            while self._readers:
                self._begun += 1
                wanted = self._wanted.next()
                try:
                    self._take(await self._look())
                except Exception:
                    # The page must come back when whatever it was is over.
                    log.exception("feed.failed")
                self._ended = self._begun
                self._looked.notify()
                with trio.move_on_after(max(TICK_SECONDS, self._readers * READER_SECONDS)):
                    await wanted.wait()
        finally:
            self._looking = False

    def _take(self, snapshot: Snapshot) -> None:
        judged = health_of(snapshot)
        if self._seen is not None and self._seen[0].shows_the_same(snapshot) and self._seen[1] == judged:
            return
        self._seen = snapshot, judged
        self._number += 1
        for name, html in self._pages.sections(snapshot, judged).items():
            if self._sections.get(name, (0, ""))[1] != html:
                self._sections[name] = self._number, html
        self._messages.clear()
        self._changed.notify()


def _event(form: FeedFormat, document: object) -> bytes:
    name = b"status" if form is FeedFormat.JSON else b"page"
    return b"event: %s\ndata: %s\n\n" % (name, orjson.dumps(document))
