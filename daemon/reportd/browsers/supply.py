"""Keeps the browsers and their warm pages, and lends the pages one job at a time.

Each page is kept by a task of its own, which scrubs it, or makes a new one, while the PDF of the job before is being
stored and the next job's start is being recorded. Each browser is kept by a task, too; one that has done its share or
stays fat retires only when its replacement is warm.
"""

import math
from dataclasses import dataclass, field

import structlog
import trio

from reportd.concurrency.nurseries import open_background
from reportd.concurrency.signal import Signal
from reportd.ports import SILENT, Browser, BrowserError, Launcher, Meter, Page

log = structlog.get_logger()

DEATH_NOTICE_SECONDS = 1.0
"""A page's connection breaks a moment before its browser is known to be dead."""

PAGE_SECONDS = 20.0
"""How long a browser may take to make a page before it is given up."""

HEAVY_SECONDS = 60.0
"""A browser takes much memory while it prints something large, and its garbage a while longer. One that does not let
go of it in this time never will."""

FIRST_RESTART_DELAY_SECONDS = 0.5
MAX_RESTART_DELAY_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class BrowserSettings:
    """``recycle_*``: when a browser is replaced. Memory is looked at every ``watch_seconds``."""

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


@dataclass(eq=False)
class _Keeper:
    """A browser and what it has done. ``busy``: its pages that jobs have, of which ``spared`` don't count as such.

    ``kept``: its pages, in ``pages``; ``surplus``: it retires because fewer are wanted; ``ended``: it is being closed.
    """

    browser: Browser
    pages: trio.Nursery
    jobs: int = 0
    busy: int = 0
    spared: int = 0
    kept: int = 0
    memory_mib: float = 0.0
    retiring: bool = False
    surplus: bool = False
    ended: bool = False

    @property
    def alive(self) -> bool:
        return not self.ended and not self.browser.died.is_set()

    @property
    def young(self) -> bool:
        return self.alive and not self.retiring


@dataclass(eq=False)
class Lease:
    """A page on offer, or lent. ``reusable`` is the borrower's word that it may be scrubbed and lent again."""

    page: Page
    keeper: _Keeper
    used: bool
    reusable: bool = False
    returned: trio.Event = field(default_factory=trio.Event)

    @property
    def browser(self) -> Browser:
        return self.keeper.browser


@dataclass(eq=False)
class _Want:
    """A job that waits for a page; with ``fresh``, for one that no job has used."""

    fresh: bool
    lease: Lease | None = None
    met: trio.Event = field(default_factory=trio.Event)


class Browsers:
    """``lost``: browsers that died; ``trouble``: why none starts."""

    def __init__(self, launcher: Launcher, settings: BrowserSettings, meter: Meter = SILENT) -> None:
        self.lost = 0
        self.trouble = ""
        self._launcher = launcher
        self._meter = meter
        self._settings = settings
        self._wanted = settings.browsers
        self._offers: list[Lease] = []
        self._wants: list[_Want] = []
        self._keepers: list[_Keeper] = []
        self._changed = Signal()

    def state(self) -> tuple[BrowserState, ...]:
        return tuple(
            BrowserState(k.browser.pid, k.jobs, k.busy, round(k.memory_mib, 1), k.retiring) for k in self._keepers
        )

    def want(self, number: int) -> None:
        """So many from now on. Those that are too many retire, the least busy first."""
        self._wanted = number
        young = sorted((keeper for keeper in self._keepers if keeper.young), key=lambda keeper: keeper.busy)
        for keeper in young[: max(0, len(young) - number)]:
            keeper.retiring = keeper.surplus = True
        self._change()

    async def until_wanted(self) -> None:
        """Until as many as wanted are warm."""
        while not self._replaced():
            await self._changed.wait()

    # --- lending --------------------------------------------------------------------------------------------

    async def take(self, *, fresh: bool) -> Lease:
        """Wait for a page. It is to be given back, whatever becomes of it."""
        want = _Want(fresh)
        self._wants.append(want)
        self._match()
        try:
            await want.met.wait()
        except trio.Cancelled:
            if want.lease is None:
                self._wants.remove(want)
            else:
                want.lease.keeper.busy -= 1
                self._offer(want.lease)
                self._change()
            raise
        assert want.lease is not None  # noqa: S101 - set before `met`
        return want.lease

    def give_back(self, lease: Lease) -> None:
        keeper = lease.keeper
        keeper.busy -= 1
        keeper.jobs += 1
        if keeper.jobs >= self._settings.recycle_after_jobs:
            keeper.retiring = True
        lease.returned.set()
        self._change()

    def spare(self, lease: Lease) -> None:
        """The job in this page only waits: its browser gets another page for others, until ``unspare``."""
        keeper = lease.keeper
        keeper.spared += 1
        if keeper.alive:
            keeper.pages.start_soon(self._keep_page, keeper)

    def unspare(self, lease: Lease) -> None:
        """The next page that comes back beyond the usual number is closed."""
        lease.keeper.spared -= 1

    def _offer(self, lease: Lease) -> None:
        if not lease.keeper.ended:
            self._offers.append(lease)
            self._match()

    def _match(self) -> None:
        """Give free pages to waiting jobs, first come, first served."""
        for want in tuple(self._wants):
            lease = self._pick(want)
            if lease is not None:
                self._offers.remove(lease)
                self._wants.remove(want)
                # Busy from here on: its browser must not retire before the job has woken up.
                lease.keeper.busy += 1
                want.lease = lease
                want.met.set()

    def _pick(self, want: _Want) -> Lease | None:
        """A retiring browser's page only while nothing better is there or to come; a used one never as a fresh one."""
        usable = [lease for lease in self._offers if lease.keeper.young]
        if not usable and not self._replaced():
            usable = [lease for lease in self._offers if lease.keeper.alive]
        for lease in usable:
            if not (want.fresh and lease.used):
                return lease
        if usable:  # its keeper makes a new page instead
            self._offers.remove(usable[0])
            usable[0].returned.set()
        return None

    # --- keeping --------------------------------------------------------------------------------------------

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the browsers. Started when each has a warm page; raises BrowserError if the first can't be had."""
        async with trio.open_nursery() as nursery:
            for _ in range(self._settings.browsers):
                await nursery.start(self._keep_apart)
            task_status.started()
            await self._replenish(nursery)

    async def _replenish(self, nursery: trio.Nursery) -> None:
        """Whenever fewer browsers than wanted are young and alive, start one. The nursery outlives each browser."""
        delay = 0.0
        while True:
            if self._replaced():
                await self._changed.wait()
                continue
            try:
                await nursery.start(self._keep_apart)
                self.trouble, delay = "", 0.0
            except Exception as error:
                self.trouble = str(error)
                delay = min(MAX_RESTART_DELAY_SECONDS, max(FIRST_RESTART_DELAY_SECONDS, delay * 2))
                unforeseen = None if isinstance(error, BrowserError | OSError) else error
                log.warning("browser.start_failed", error=str(error), retryInSeconds=delay, exc_info=unforeseen)
                await trio.sleep(delay)

    def _replaced(self) -> bool:
        """As many browsers as wanted are young and alive."""
        return sum(keeper.young for keeper in self._keepers) >= self._wanted

    def _change(self) -> None:
        """Something that others decide by is different now."""
        self._changed.notify()
        self._match()

    async def _keep_apart(self, task_status: trio.TaskStatus[None]) -> None:
        """A browser that has started costs nothing but itself, whatever becomes of it (I12)."""
        keepers: list[_Keeper] = []
        try:
            await self._keep_browser(keepers, task_status)
        except Exception:
            if not keepers:
                raise
            log.exception("browser.given_up", browser=keepers[0].browser.pid)

    async def _keep_browser(self, started: list[_Keeper], task_status: trio.TaskStatus[None]) -> None:
        async with self._launcher.launch() as browser, open_background() as pages:
            keeper = _Keeper(browser, pages)
            await pages.start(self._keep_page, keeper)
            self._keepers.append(keeper)
            self._change()
            log.info("browser.started", browser=browser.pid)
            self._meter.browser_started()
            task_status.started()
            started.append(keeper)
            for _ in range(self._settings.pages_per_browser - 1):
                pages.start_soon(self._keep_page, keeper)
            try:
                await self._until_done(keeper)
            finally:
                keeper.ended = True
                self._keepers.remove(keeper)
                self._offers = [lease for lease in self._offers if lease.keeper is not keeper]
                self._change()

    async def _until_done(self, keeper: _Keeper) -> None:
        """Until the browser dies, or is retired, replaced and idle."""
        async with open_background() as watch:
            watch.start_soon(self._watch_memory, keeper)
            watch.start_soon(self._tell_death, keeper)
            while not keeper.browser.died.is_set():
                if keeper.retiring and not keeper.busy and self._replaced():
                    if not keeper.surplus:
                        self._meter.browser_recycled()
                    mib = round(keeper.memory_mib)
                    log.info("browser.retired", browser=keeper.browser.pid, jobs=keeper.jobs, mib=mib)
                    return
                await self._changed.wait()
        self.lost += 1
        self._meter.browser_lost()
        log.warning("browser.died", browser=keeper.browser.pid, busy=keeper.busy)

    async def _watch_memory(self, keeper: _Keeper) -> None:
        light_at = trio.current_time()
        while True:
            keeper.memory_mib = keeper.browser.memory_mib()
            # One that has not worked yet would only be followed by another of the same size.
            if not keeper.jobs or keeper.memory_mib <= self._settings.recycle_above_mib:
                light_at = trio.current_time()
            elif trio.current_time() - light_at >= HEAVY_SECONDS and not keeper.retiring:
                keeper.retiring = True
                self._change()
            await trio.sleep(self._settings.watch_seconds)

    async def _tell_death(self, keeper: _Keeper) -> None:
        await keeper.browser.died.wait()
        self._change()

    async def _keep_page(self, keeper: _Keeper, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        first = task_status is not trio.TASK_STATUS_IGNORED
        keeper.kept += 1
        try:
            while keeper.kept <= self._settings.pages_per_browser + keeper.spared:
                with trio.CancelScope(deadline=trio.current_time() + PAGE_SECONDS) as making:
                    async with keeper.browser.page() as page:
                        making.deadline = math.inf
                        if first:
                            first = False
                            task_status.started()
                        await self._lend(page, keeper)
                if making.cancelled_caught:
                    raise BrowserError(f"the browser gave no page within {PAGE_SECONDS:g} s")  # noqa: TRY301
        except Exception as error:  # no page, no descriptor, or an answer that nobody foresaw
            if first:
                raise
            if not await dies(keeper.browser):
                unforeseen = None if isinstance(error, BrowserError | OSError) else error
                log.warning("browser.no_page", browser=keeper.browser.pid, error=str(error), exc_info=unforeseen)
                keeper.retiring = True
                self._change()
        finally:
            keeper.kept -= 1

    async def _lend(self, page: Page, keeper: _Keeper) -> None:
        """Offer the page again and again, until it can't be trusted or is not needed any more."""
        used = False
        while keeper.kept <= self._settings.pages_per_browser + keeper.spared:
            lease = Lease(page, keeper, used)
            self._offer(lease)
            await lease.returned.wait()
            used = True
            if not lease.reusable or not await page.scrub():
                return


async def dies(browser: Browser) -> bool:
    """Whether it is dead, or about to be."""
    with trio.move_on_after(DEATH_NOTICE_SECONDS):
        await browser.died.wait()
    return browser.died.is_set()
