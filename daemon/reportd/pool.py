"""A bounded pool of warm pages. ``Pool.slot`` is the Renderer that workers use.

Two things are lent: a slot, which is leave to render now, and within it a page. Each page is kept by a task of its
own, which scrubs it or makes a new one while the PDF of the job before is being stored and the next job's start is
being recorded. Each browser is kept by a task, too; one that has done its share or grown fat retires only when its
replacement is warm.
"""

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import structlog
import trio

from reportd.background import open_background
from reportd.core.faults import FaultError, FaultKind
from reportd.ports import Browser, BrowserError, Launcher, Page, Pdf, RenderRequest, Slot

log = structlog.get_logger()

OWN_BROWSER = frozenset({"browser", "container"})
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
class PoolSettings:
    """``recycle_*``: when a browser is replaced. Memory is looked at every ``watch_seconds``."""

    browsers: int = 1
    pages_per_browser: int = 2
    recycle_after_jobs: int = 500
    recycle_above_mib: float = 1024.0
    watch_seconds: float = 2.0

    @property
    def slots(self) -> int:
        return self.browsers * self.pages_per_browser


@dataclass(frozen=True, slots=True)
class BrowserState:
    """One browser, for the status page."""

    pid: int
    jobs: int
    busy: int
    memory_mib: float
    retiring: bool


@dataclass(frozen=True, slots=True)
class PoolState:
    """The pool, for the status page and for readiness. ``lost``: browsers that died; ``trouble``: why none starts."""

    slots: int
    busy: int
    waiting: int
    lost: int
    trouble: str
    browsers: tuple[BrowserState, ...]


@dataclass(eq=False)
class _Keeper:
    """A browser and what it has done. ``busy``: its pages that jobs have; ``ended``: it is being closed."""

    browser: Browser
    jobs: int = 0
    busy: int = 0
    memory_mib: float = 0.0
    retiring: bool = False
    ended: bool = False

    @property
    def alive(self) -> bool:
        return not self.ended and not self.browser.died.is_set()

    @property
    def young(self) -> bool:
        return self.alive and not self.retiring


@dataclass(eq=False)
class _Lease:
    """A page on offer. ``reusable`` is the borrower's word that it may be scrubbed and lent again."""

    page: Page
    keeper: _Keeper
    used: bool
    reusable: bool = False
    returned: trio.Event = field(default_factory=trio.Event)


@dataclass(eq=False)
class _Want:
    """A job that waits for a page; with ``fresh``, for one that no job has used."""

    fresh: bool
    lease: _Lease | None = None
    met: trio.Event = field(default_factory=trio.Event)


class Pool:
    """Made by ``open_pool``."""

    def __init__(self, launcher: Launcher, settings: PoolSettings) -> None:
        self._launcher = launcher
        self._settings = settings
        self._places = trio.Semaphore(settings.slots)
        self._offers: list[_Lease] = []
        self._wants: list[_Want] = []
        self._keepers: list[_Keeper] = []
        self._changed = trio.Event()
        self._lost = 0
        self._trouble = ""

    @property
    def slots(self) -> int:
        return self._settings.slots

    def state(self) -> PoolState:
        return PoolState(
            slots=self.slots,
            busy=self.slots - self._places.value,
            waiting=self._places.statistics().tasks_waiting,
            lost=self._lost,
            trouble=self._trouble,
            browsers=tuple(
                BrowserState(k.browser.pid, k.jobs, k.busy, round(k.memory_mib, 1), k.retiring) for k in self._keepers
            ),
        )

    # --- lending --------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[Slot]:
        async with self._places:
            yield _Slot(self)

    async def render(self, request: RenderRequest, *, alone: bool) -> Pdf:
        """For who holds a slot. Within ``timeout_seconds``, or FaultError."""
        lent: list[Page] = []
        try:
            with trio.fail_after(request.timeout_seconds) as scope:
                if alone or request.isolation in OWN_BROWSER:
                    return await self._render_alone(request, lent, scope)
                return await self._render_shared(request, lent)
        except trio.TooSlowError:
            limit = f"{request.timeout_seconds:g} s"
            if not lent:
                detail = f"no page was free within {limit}" + (f"; {self._trouble}" if self._trouble else "")
                raise FaultError(FaultKind.BROWSER_UNAVAILABLE, detail) from None
            raise FaultError(FaultKind.TIMEOUT, f"not done within {limit}, while {lent[0].doing}") from None

    async def _render_shared(self, request: RenderRequest, lent: list[Page]) -> Pdf:
        lease = await self._take(fresh=request.isolation == "context")
        keeper = lease.keeper
        lent.append(lease.page)
        try:
            pdf = await _on_page(lease.page, keeper.browser, request)
            lease.reusable = request.isolation == "page"
        finally:
            keeper.busy -= 1
            keeper.jobs += 1
            if keeper.jobs >= self._settings.recycle_after_jobs:
                keeper.retiring = True
            lease.returned.set()
            self._change()
        return pdf

    async def _render_alone(self, request: RenderRequest, lent: list[Page], scope: trio.CancelScope) -> Pdf:
        pdf: Pdf | None = None
        delivered = False
        try:
            async with self._launcher.launch() as browser, browser.page() as page:
                lent.append(page)
                pdf = await _on_page(page, browser, request)
                scope.deadline = math.inf  # what is left is to close the browser
            delivered = True
        except BrowserError as error:
            raise FaultError(FaultKind.BROWSER_UNAVAILABLE, str(error)) from error
        finally:
            if pdf is not None and not delivered:
                pdf.discard()
        return pdf

    async def _take(self, *, fresh: bool) -> _Lease:
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

    def _offer(self, lease: _Lease) -> None:
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

    def _pick(self, want: _Want) -> _Lease | None:
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
                await nursery.start(self._keep_browser)
            task_status.started()
            await self._replenish(nursery)

    async def _replenish(self, nursery: trio.Nursery) -> None:
        """Whenever fewer browsers than wanted are young and alive, start one. The nursery outlives each browser."""
        delay = 0.0
        while True:
            changed = self._changed
            if self._replaced():
                await changed.wait()
                continue
            try:
                await nursery.start(self._keep_browser)
                self._trouble, delay = "", 0.0
            except BrowserError as error:
                self._trouble = str(error)
                delay = min(MAX_RESTART_DELAY_SECONDS, max(FIRST_RESTART_DELAY_SECONDS, delay * 2))
                log.warning("browser.start_failed", error=str(error), retryInSeconds=delay)
                await trio.sleep(delay)

    def _replaced(self) -> bool:
        """As many browsers as wanted are young and alive."""
        return sum(keeper.young for keeper in self._keepers) >= self._settings.browsers

    def _change(self) -> None:
        """Something that others decide by is different now."""
        self._changed.set()
        self._changed = trio.Event()
        self._match()

    async def _keep_browser(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async with self._launcher.launch() as browser, open_background() as pages:
            keeper = _Keeper(browser)
            await pages.start(self._keep_page, keeper)
            self._keepers.append(keeper)
            self._change()
            log.info("browser.started", browser=browser.pid)
            task_status.started()
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
                changed = self._changed
                if keeper.retiring and not keeper.busy and self._replaced():
                    mib = round(keeper.memory_mib)
                    log.info("browser.retired", browser=keeper.browser.pid, jobs=keeper.jobs, mib=mib)
                    return
                await changed.wait()
        self._lost += 1
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
        while True:
            try:
                with trio.CancelScope(deadline=trio.current_time() + PAGE_SECONDS) as making:
                    async with keeper.browser.page() as page:
                        making.deadline = math.inf
                        if first:
                            first = False
                            task_status.started()
                        await self._lend(page, keeper)
                if making.cancelled_caught:
                    raise BrowserError(f"the browser gave no page within {PAGE_SECONDS:g} s")  # noqa: TRY301
            except BrowserError as error:
                if first:
                    raise
                if not await _dies(keeper.browser):
                    log.warning("browser.no_page", browser=keeper.browser.pid, error=str(error))
                    keeper.retiring = True
                    self._change()
                return

    async def _lend(self, page: Page, keeper: _Keeper) -> None:
        """Offer the page again and again, until it can't be trusted any more."""
        used = False
        while True:
            lease = _Lease(page, keeper, used)
            self._offer(lease)
            await lease.returned.wait()
            used = True
            if not lease.reusable or not await page.scrub():
                return


@dataclass(frozen=True, slots=True)
class _Slot:
    """Leave to render."""

    pool: Pool

    async def render(self, request: RenderRequest, *, alone: bool) -> Pdf:
        return await self.pool.render(request, alone=alone)


async def _on_page(page: Page, browser: Browser, request: RenderRequest) -> Pdf:
    try:
        return await page.render(request)
    except FaultError as error:
        if error.fault.kind is FaultKind.PAGE_CLOSED and await _dies(browser):
            raise FaultError(FaultKind.BROWSER_LOST, f"the browser died, while {page.doing}") from error
        raise


async def _dies(browser: Browser) -> bool:
    with trio.move_on_after(DEATH_NOTICE_SECONDS):
        await browser.died.wait()
    return browser.died.is_set()


@asynccontextmanager
async def open_pool(launcher: Launcher, settings: PoolSettings) -> AsyncIterator[Pool]:
    """A pool with warm pages. Raises BrowserError when the first browser can't be started."""
    pool = Pool(launcher, settings)
    async with open_background() as nursery:
        await nursery.start(pool.run)
        yield pool
