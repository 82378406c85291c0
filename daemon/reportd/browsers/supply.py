"""Keeps the wanted number of browsers alive, each with warm pages.

A task for each page scrubs it, or makes a new one, while the PDF of the last job is being stored and the start of the
next job is being recorded. A task for each browser watches it. A browser that has done ``recycle_after_jobs`` jobs, or
stays over its memory limit, retires only when its replacement is warm.
"""

import math
from dataclasses import dataclass

import structlog
import trio

from reportd.browsers.leases import Lease, ManagedBrowser, PageLender
from reportd.concurrency.nurseries import open_background
from reportd.concurrency.signal import Signal
from reportd.ports import NULL_METER, Browser, BrowserError, Launcher, Meter, Page

log = structlog.get_logger()

DEATH_NOTICE_SECONDS = 1.0
"""A page's connection breaks a moment before its browser is known to be dead."""

PAGE_SECONDS = 20.0
"""A browser that takes longer to make a page is given up."""

OVER_LIMIT_SECONDS = 60.0
"""A browser that is over its memory limit for so long is replaced. It takes much memory while it prints a large report,
and its garbage collection takes a while longer. Memory that it still holds after that time is never released.
"""

FIRST_RESTART_DELAY_SECONDS = 0.5
MAX_RESTART_DELAY_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class BrowserSettings:
    """``recycle_*``: when a browser is replaced. Its memory is read every ``watch_seconds``."""

    browsers: int = 1
    pages_per_browser: int = 2
    recycle_after_jobs: int = 500
    recycle_above_mib: float = 1024.0
    watch_seconds: float = 2.0


@dataclass(frozen=True, slots=True)
class BrowserState:
    """One browser, for the status page."""

    pid: int
    jobs: int
    busy: int
    memory_mib: float
    retiring: bool


class Browsers:
    """``crashed``: how many browsers died. ``trouble``: why no browser starts, else empty."""

    def __init__(self, launcher: Launcher, settings: BrowserSettings, meter: Meter = NULL_METER) -> None:
        self.crashed = 0
        self.trouble = ""
        self._launcher = launcher
        self._meter = meter
        self._settings = settings
        self._wanted = settings.browsers
        self._browsers: list[ManagedBrowser] = []
        self._changed = Signal()
        self._lender = PageLender(self._enough_active, self._announce_change)

    def state(self) -> tuple[BrowserState, ...]:
        return tuple(
            BrowserState(b.browser.pid, b.jobs, b.busy, round(b.memory_mib, 1), b.retiring) for b in self._browsers
        )

    def want(self, number: int) -> None:
        """Set how many browsers to keep. Those in excess retire, the least busy first."""
        self._wanted = number
        active = sorted((managed for managed in self._browsers if managed.active), key=lambda managed: managed.busy)
        for managed in active[: max(0, len(active) - number)]:
            managed.retiring = managed.excess = True
        self._announce_change()

    async def until_wanted(self) -> None:
        """Wait until as many browsers as wanted are warm."""
        while not self._enough_active():
            await self._changed.wait()

    # --- lending --------------------------------------------------------------------------------------------

    async def take(self, *, fresh: bool) -> Lease:
        """Wait for a page; with ``fresh``, for one that no job has used. The caller must give it back in any case."""
        return await self._lender.take(fresh=fresh)

    def give_back(self, lease: Lease) -> None:
        owner = lease.owner
        owner.busy -= 1
        owner.jobs += 1
        if owner.jobs >= self._settings.recycle_after_jobs:
            owner.retiring = True
        lease.returned.set()
        self._announce_change()

    def park(self, lease: Lease) -> None:
        """The job in this page waits without a slot: give its browser one more page for others, until ``unpark``."""
        owner = lease.owner
        owner.parked += 1
        if owner.alive:
            owner.pages.start_soon(self._keep_page, owner)

    def unpark(self, lease: Lease) -> None:
        """The browser closes the next page that comes back beyond its usual number."""
        lease.owner.parked -= 1

    # --- keeping --------------------------------------------------------------------------------------------

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the browsers. Started when each has a warm page.

        Raises BrowserError when a browser can't be started before that.
        """
        async with trio.open_nursery() as nursery:
            for _ in range(self._settings.browsers):
                await nursery.start(self._keep_isolated)
            task_status.started()
            await self._replenish(nursery)

    async def _replenish(self, nursery: trio.Nursery) -> None:
        """Start a browser whenever fewer than wanted are active. The nursery outlives each browser."""
        delay = 0.0
        while True:
            if self._enough_active():
                await self._changed.wait()
                continue
            try:
                await nursery.start(self._keep_isolated)
                self.trouble, delay = "", 0.0
            except Exception as error:
                self.trouble = str(error)
                delay = min(MAX_RESTART_DELAY_SECONDS, max(FIRST_RESTART_DELAY_SECONDS, delay * 2))
                unexpected = None if isinstance(error, BrowserError | OSError) else error
                log.warning("browser.start_failed", error=str(error), retryInSeconds=delay, exc_info=unexpected)
                await trio.sleep(delay)

    def _enough_active(self) -> bool:
        return sum(managed.active for managed in self._browsers) >= self._wanted

    def _announce_change(self) -> None:
        """Wake the tasks that decide by the state of the browsers, and match jobs and pages again."""
        self._changed.notify()
        self._lender.match()

    async def _keep_isolated(self, task_status: trio.TaskStatus[None]) -> None:
        """Keep one browser. Once it has started, an unexpected error ends this browser and nothing else (I12)."""
        started: list[ManagedBrowser] = []
        try:
            await self._keep_browser(started, task_status)
        except Exception:
            if not started:
                raise
            log.exception("browser.given_up", browser=started[0].browser.pid)

    async def _keep_browser(self, started: list[ManagedBrowser], task_status: trio.TaskStatus[None]) -> None:
        async with self._launcher.launch() as browser, open_background() as pages:
            managed = ManagedBrowser(browser, pages)
            await pages.start(self._keep_page, managed)
            self._browsers.append(managed)
            self._announce_change()
            log.info("browser.started", browser=browser.pid)
            self._meter.browser_started()
            task_status.started()
            started.append(managed)
            for _ in range(self._settings.pages_per_browser - 1):
                pages.start_soon(self._keep_page, managed)
            try:
                await self._until_done(managed)
            finally:
                managed.closing = True
                self._browsers.remove(managed)
                self._lender.withdraw(managed)
                self._announce_change()

    async def _until_done(self, managed: ManagedBrowser) -> None:
        """Wait until the browser dies, or is retired, replaced and idle."""
        async with open_background() as watchers:
            watchers.start_soon(self._watch_memory, managed)
            watchers.start_soon(self._watch_death, managed)
            while not managed.browser.died.is_set():
                if managed.retiring and not managed.busy and self._enough_active():
                    if not managed.excess:
                        self._meter.browser_recycled()
                    mib = round(managed.memory_mib)
                    log.info("browser.retired", browser=managed.browser.pid, jobs=managed.jobs, mib=mib)
                    return
                await self._changed.wait()
        self.crashed += 1
        self._meter.browser_lost()
        log.warning("browser.died", browser=managed.browser.pid, busy=managed.busy)

    async def _watch_memory(self, managed: ManagedBrowser) -> None:
        below_limit_at = trio.current_time()
        while True:
            managed.memory_mib = managed.browser.memory_mib()
            over_memory_limit = managed.memory_mib > self._settings.recycle_above_mib
            # Never replace a browser that has done no job: its replacement would be of the same size.
            if not managed.jobs or not over_memory_limit:
                below_limit_at = trio.current_time()
            elif trio.current_time() - below_limit_at >= OVER_LIMIT_SECONDS and not managed.retiring:
                managed.retiring = True
                self._announce_change()
            await trio.sleep(self._settings.watch_seconds)

    async def _watch_death(self, managed: ManagedBrowser) -> None:
        await managed.browser.died.wait()
        self._announce_change()

    async def _keep_page(
        self, managed: ManagedBrowser, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        first = task_status is not trio.TASK_STATUS_IGNORED
        managed.page_tasks += 1
        try:
            while self._needs_page(managed):
                with trio.CancelScope(deadline=trio.current_time() + PAGE_SECONDS) as making:
                    async with managed.browser.page() as page:
                        making.deadline = math.inf
                        if first:
                            first = False
                            task_status.started()
                        await self._lend(page, managed)
                if making.cancelled_caught:
                    raise BrowserError(f"the browser gave no page within {PAGE_SECONDS:g} s")  # noqa: TRY301
        except Exception as error:  # no page, no file descriptor, or an unexpected answer of the browser
            if first:
                raise
            if not await is_dying(managed.browser):
                unexpected = None if isinstance(error, BrowserError | OSError) else error
                log.warning("browser.no_page", browser=managed.browser.pid, error=str(error), exc_info=unexpected)
                managed.retiring = True
                self._announce_change()
        finally:
            managed.page_tasks -= 1

    def _needs_page(self, managed: ManagedBrowser) -> bool:
        return managed.page_tasks <= self._settings.pages_per_browser + managed.parked

    async def _lend(self, page: Page, managed: ManagedBrowser) -> None:
        """Offer the page again and again, until it can't be reused or is no longer needed."""
        used = False
        while self._needs_page(managed):
            lease = Lease(page, managed, used)
            self._lender.offer(lease)
            await lease.returned.wait()
            used = True
            if not lease.reusable or not await page.scrub():
                return


async def is_dying(browser: Browser) -> bool:
    """Return whether the browser is dead, or dies within ``DEATH_NOTICE_SECONDS``."""
    with trio.move_on_after(DEATH_NOTICE_SECONDS):
        await browser.died.wait()
    return browser.died.is_set()
