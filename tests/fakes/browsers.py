"""Browsers without a Chromium. They insist on being used as a real one must be: a job at a time, scrubbed between.

A launcher's attributes say how long things take and what goes wrong next.
"""

from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import trio

from reportd.concurrency.nurseries import open_background
from reportd.core.faults import FaultError, FaultKind
from reportd.core.jobs.evidence import Evidence
from reportd.ports import (
    Browser,
    BrowserError,
    OnProgress,
    Page,
    Pdf,
    RenderRequest,
    ToPrint,
    ignore_progress,
    print_immediately,
)
from tests.fakes.rendering import pdf_of

FOREVER = float("inf")
DEATH_SECONDS = 0.2
"""How much later than its pages' connections a dead process is noticed."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What becomes of one render after ``seconds``: a PDF, a fault, or the death of its browser.

    ``stuck``: such a page can only be taken away together with its browser. ``is_idle``: how long it only waits first.
    ``progress``: what it says first.
    """

    seconds: float = 1.0
    is_idle: float = 0.0
    fault: FaultKind | None = None
    kills: bool = False
    stuck: bool = False
    progress: float | None = None


class FakeLauncher:
    """Implements ``ports.Launcher``. ``browsers``: all there have been; ``turns``: of a task's next renders.

    ``evidence_of``: the tasks that left evidence.
    """

    def __init__(self) -> None:
        self.start_seconds = 1.0
        self.page_seconds = 0.1
        self.scrub_seconds = 0.1
        self.end_seconds = 0.5
        self.mib = 100.0
        self.pending = ""
        self.evidence_seconds = 0.9
        self.evidence_of: list[str] = []
        self.spool: Path | None = None
        self.failing_starts = 0
        self.failing_pages = 0
        self.failing_scrubs = 0
        self.turns: dict[str, list[Turn]] = defaultdict(list)
        self.browsers: list[FakeBrowser] = []
        self.launched = 0
        self.rendering = 0
        self.most_rendering = 0

    @property
    def running(self) -> "list[FakeBrowser]":
        return [browser for browser in self.browsers if browser.running]

    @asynccontextmanager
    async def launch(self, *, container: bool = False) -> AsyncIterator[Browser]:
        self.launched += 1
        number = self.launched
        await trio.sleep(self.start_seconds)
        if self.failing_starts:
            self.failing_starts -= 1
            raise BrowserError("no browser today")
        browser = FakeBrowser(self, number, contained=container)
        self.browsers.append(browser)
        async with open_background() as nursery:
            nursery.start_soon(browser.notice_death)
            try:
                yield browser
            finally:
                assert not browser.pages, "pages are left before their browser is"
                with trio.CancelScope(shield=True):
                    await trio.sleep(self.end_seconds)
                browser.running = False
                browser.died.set()


class FakeBrowser:
    """``renders``: the tasks it has worked on; ``mib``: what it says it uses; ``contained``: as it was asked for."""

    def __init__(self, launcher: FakeLauncher, pid: int, *, contained: bool) -> None:
        self.pid = pid
        self.died = trio.Event()
        self.running = True
        self.contained = contained
        self.mib = launcher.mib
        self.pages: list[FakePage] = []
        self.pages_made = 0
        self.renders: list[str] = []
        self._launcher = launcher
        self._killed = trio.Event()

    def die(self) -> None:
        """Its pages' connections break at once; that the process is gone is known a moment later."""
        self._killed.set()
        for page in self.pages:
            page.close()

    async def notice_death(self) -> None:
        await self._killed.wait()
        await trio.sleep(DEATH_SECONDS)
        self.running = False
        self.died.set()

    def memory_mib(self) -> float:
        return self.mib

    @asynccontextmanager
    async def page(self) -> AsyncIterator[Page]:
        await trio.sleep(self._launcher.page_seconds)
        if self._launcher.failing_pages or self._killed.is_set():
            self._launcher.failing_pages = max(0, self._launcher.failing_pages - 1)
            raise BrowserError("no page of this browser")
        page = FakePage(self._launcher, self)
        self.pages.append(page)
        self.pages_made += 1
        try:
            yield page
        finally:
            page.close()
            if page.stuck and not self._killed.is_set():
                with trio.CancelScope(shield=True):
                    await trio.sleep(3.0)
                self.die()
            self.pages.remove(page)


class FakePage:
    """Refuses a second job at once, and one that comes before the last one was scrubbed away."""

    def __init__(self, launcher: FakeLauncher, browser: FakeBrowser) -> None:
        self.activity = "idle"
        self.stuck = False
        self._launcher = launcher
        self._browser = browser
        self._task_id = ""
        self._dirty = False
        self._busy = False
        self._waiting = False
        self._closed = trio.Event()
        self._job = trio.CancelScope()

    def close(self) -> None:
        self._closed.set()
        self._job.cancel()

    async def pending(self) -> str:
        await trio.lowlevel.checkpoint()
        return f"; pending: {self._launcher.pending}" if self._launcher.pending else ""

    async def evidence(self, activity: str) -> Evidence:
        self._launcher.evidence_of.append(self._task_id)
        await trio.sleep(self._launcher.evidence_seconds)
        return Evidence(b"jpeg", ("log: hello",), (), activity)

    async def is_idle(self) -> bool:
        await trio.sleep(0.1)
        return self._waiting

    async def render(
        self,
        request: RenderRequest,
        to_print: ToPrint = print_immediately,
        on_progress: OnProgress = ignore_progress,
    ) -> Pdf:
        assert not self._busy, "one job a page"
        assert not self._dirty, "scrubbed before the next job"
        if self._closed.is_set():
            raise FaultError(FaultKind.PAGE_CLOSED, "the page was gone")
        turns = self._launcher.turns[request.task_id]
        turn = turns.pop(0) if turns else Turn()
        self._busy = self._dirty = True
        self._task_id = request.task_id
        self.stuck = turn.stuck
        self._browser.renders.append(request.task_id)
        self._launcher.rendering += 1
        self._launcher.most_rendering = max(self._launcher.most_rendering, self._launcher.rendering)
        self.activity = "printing"
        if turn.progress is not None:
            on_progress(turn.progress)
        try:
            with trio.CancelScope() as self._job:
                return await self._render(request, turn, to_print)
            raise FaultError(FaultKind.PAGE_CLOSED, "the page was closed")
        finally:
            self._busy = False
            self._launcher.rendering -= 1

    async def _render(self, request: RenderRequest, turn: Turn, to_print: ToPrint) -> Pdf:
        if turn.is_idle:
            self._waiting = True
            self._launcher.rendering -= 1
            try:
                await trio.sleep(turn.is_idle)
                await to_print()
            finally:
                self._waiting = False
                self._launcher.rendering += 1
            self._launcher.most_rendering = max(self._launcher.most_rendering, self._launcher.rendering)
        else:
            await to_print()
        await trio.sleep(turn.seconds)
        if turn.kills:
            self._browser.die()
            await trio.sleep_forever()
        if turn.fault is not None:
            raise FaultError(turn.fault, "scripted")
        self.activity = "idle"
        return pdf_of(request.task_id, self._launcher.spool)

    async def scrub(self) -> bool:
        assert not self._busy, "nobody uses it any more"
        await trio.sleep(self._launcher.scrub_seconds)
        if self._launcher.failing_scrubs:
            self._launcher.failing_scrubs -= 1
            return False
        self._dirty = False
        return not self._closed.is_set()
