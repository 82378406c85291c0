"""A bounded pool of warm pages. ``Pool.render`` is the Renderer that workers use.

Each slot is kept by a task of its own: it offers its page, waits until a job has used it, scrubs it or makes a
new one, and offers again, while the job's PDF is being stored. Each browser is kept by a task, too; a browser
that has done its share or grown fat retires only when its replacement is warm.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import structlog
import trio

from reportd.background import open_background
from reportd.core.faults import FaultError, FaultKind
from reportd.ports import Browser, BrowserError, Launcher, Page, Pdf, RenderRequest

log = structlog.get_logger()

OWN_BROWSER = frozenset({"browser", "container"})
DEATH_NOTICE_SECONDS = 1.0
"""A page's connection breaks a moment before its browser is known to be dead."""

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
    """A browser and what it has done."""

    browser: Browser
    jobs: int = 0
    busy: int = 0
    memory_mib: float = 0.0
    retire: trio.Event = field(default_factory=trio.Event)


@dataclass(eq=False)
class _Lease:
    """A page on offer. ``reusable`` is the borrower's word that it may be scrubbed and lent again."""

    page: Page
    keeper: _Keeper
    used: bool
    reusable: bool = False
    returned: trio.Event = field(default_factory=trio.Event)


class Pool:
    """Made by ``open_pool``."""

    def __init__(self, launcher: Launcher, settings: PoolSettings) -> None:
        self._launcher = launcher
        self._settings = settings
        self._shares = trio.Semaphore(settings.slots)
        # No buffer: an offer is taken by a waiting job at once, or stands until one comes.
        self._offer, self._offers = trio.open_memory_channel[_Lease](0)
        self._keepers: list[_Keeper] = []
        self._lost = 0
        self._trouble = ""

    @property
    def slots(self) -> int:
        return self._settings.slots

    def state(self) -> PoolState:
        return PoolState(
            slots=self.slots,
            busy=self.slots - self._shares.value,
            waiting=self._shares.statistics().tasks_waiting,
            lost=self._lost,
            trouble=self._trouble,
            browsers=tuple(
                BrowserState(k.browser.pid, k.jobs, k.busy, round(k.memory_mib, 1), k.retire.is_set())
                for k in self._keepers
            ),
        )

    # --- lending --------------------------------------------------------------------------------------------

    async def render(self, request: RenderRequest) -> Pdf:
        """Render within ``timeout_seconds``, the wait for a slot included. Raises FaultError."""
        lent: list[Page] = []
        try:
            with trio.fail_after(request.timeout_seconds):
                async with self._shares:
                    if request.alone or request.isolation in OWN_BROWSER:
                        return await self._render_alone(request, lent)
                    return await self._render_shared(request, lent)
        except trio.TooSlowError:
            limit = f"{request.timeout_seconds:g} s"
            if not lent:
                raise FaultError(
                    FaultKind.BROWSER_UNAVAILABLE,
                    f"no page was free within {limit}; {self._trouble}".rstrip("; "),
                ) from None
            raise FaultError(FaultKind.TIMEOUT, f"not done within {limit}, while {lent[0].doing}") from None

    async def _render_shared(self, request: RenderRequest, lent: list[Page]) -> Pdf:
        lease = await self._take(fresh=request.isolation == "context")
        keeper = lease.keeper
        keeper.busy += 1
        lent.append(lease.page)
        try:
            pdf = await self._on_page(lease.page, keeper.browser, request)
            lease.reusable = request.isolation == "page"
        finally:
            keeper.busy -= 1
            keeper.jobs += 1
            if keeper.jobs >= self._settings.recycle_after_jobs:
                keeper.retire.set()
            lease.returned.set()
        return pdf

    async def _take(self, *, fresh: bool) -> _Lease:
        """A page on offer; with ``fresh``, one that no job has used."""
        while True:
            lease = await self._offers.receive()
            if not lease.keeper.browser.died.is_set() and not (fresh and lease.used):
                return lease
            lease.returned.set()

    async def _render_alone(self, request: RenderRequest, lent: list[Page]) -> Pdf:
        try:
            async with self._launcher.launch() as browser, browser.page() as page:
                lent.append(page)
                return await self._on_page(page, browser, request)
        except BrowserError as error:
            raise FaultError(FaultKind.BROWSER_UNAVAILABLE, str(error)) from error

    async def _on_page(self, page: Page, browser: Browser, request: RenderRequest) -> Pdf:
        try:
            return await page.render(request)
        except FaultError as error:
            if error.fault.kind is FaultKind.PAGE_CLOSED and await _dies(browser):
                raise FaultError(FaultKind.BROWSER_LOST, f"the browser died, while {page.doing}") from error
            raise

    # --- keeping --------------------------------------------------------------------------------------------

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the browsers. Started when each has a warm page; raises BrowserError if the first one can't be had."""
        async with trio.open_nursery() as nursery:
            for _ in range(self._settings.browsers):
                await nursery.start(self._keep_browser)
            task_status.started()
            for _ in range(self._settings.browsers):
                nursery.start_soon(self._replace_for_ever, nursery)

    async def _replace_for_ever(self, nursery: trio.Nursery) -> None:
        """Whenever fewer browsers than wanted are young and alive, start one. The nursery outlives each browser."""
        delay = 0.0
        while True:
            await trio.sleep(delay or 0.05)
            active = sum(not k.retire.is_set() and not k.browser.died.is_set() for k in self._keepers)
            if active >= self._settings.browsers:
                delay = 0.0
                continue
            try:
                await nursery.start(self._keep_browser)
                self._trouble, delay = "", 0.0
            except BrowserError as error:
                self._trouble = str(error)
                delay = min(MAX_RESTART_DELAY_SECONDS, max(0.5, delay * 2))
                log.warning("browser.start_failed", error=str(error), retryInSeconds=delay)

    async def _keep_browser(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async with self._launcher.launch() as browser:
            keeper = _Keeper(browser)
            async with open_background() as slots:
                await slots.start(self._keep_slot, keeper)
                self._keepers.append(keeper)
                log.info("browser.started", browser=browser.pid)
                task_status.started()
                for _ in range(self._settings.pages_per_browser - 1):
                    slots.start_soon(self._keep_slot, keeper)
                slots.start_soon(self._watch, keeper, slots.cancel_scope)
                try:
                    await trio.sleep_forever()
                finally:
                    self._keepers.remove(keeper)

    async def _watch(self, keeper: _Keeper, slots: trio.CancelScope) -> None:
        """Retire a fat browser; let a retired one go when its last job is done, a dead one at once."""
        browser = keeper.browser
        while not browser.died.is_set():
            keeper.memory_mib = browser.memory_mib()
            if keeper.memory_mib > self._settings.recycle_above_mib:
                keeper.retire.set()
            if keeper.retire.is_set() and not keeper.busy and self._replaced(keeper):
                log.info("browser.retired", browser=browser.pid, jobs=keeper.jobs, mib=round(keeper.memory_mib))
                slots.cancel()
                return
            with trio.move_on_after(0.1 if keeper.retire.is_set() else self._settings.watch_seconds):
                await browser.died.wait()
        self._lost += 1
        log.warning("browser.died", browser=browser.pid, busy=keeper.busy)
        slots.cancel()

    def _replaced(self, keeper: _Keeper) -> bool:
        others = (k for k in self._keepers if k is not keeper and not k.retire.is_set())
        return sum(not k.browser.died.is_set() for k in others) >= self._settings.browsers

    async def _keep_slot(self, keeper: _Keeper, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        while True:
            try:
                async with keeper.browser.page() as page:
                    task_status.started()
                    task_status = trio.TASK_STATUS_IGNORED
                    await self._lend(page, keeper)
            except BrowserError as error:
                if task_status is not trio.TASK_STATUS_IGNORED:
                    raise
                if await _dies(keeper.browser):
                    return
                log.warning("browser.no_page", browser=keeper.browser.pid, error=str(error))
                keeper.retire.set()
                return

    async def _lend(self, page: Page, keeper: _Keeper) -> None:
        """Offer the page again and again, until it can't be trusted any more."""
        used = False
        while True:
            lease = _Lease(page, keeper, used)
            await self._offer_unless_retired(lease)
            await lease.returned.wait()
            used = True
            if not lease.reusable or not await page.scrub():
                return

    async def _offer_unless_retired(self, lease: _Lease) -> None:
        """A retired browser's page stays on offer only while there is no replacement."""
        while True:
            if lease.keeper.retire.is_set() and self._replaced(lease.keeper):
                await trio.sleep_forever()  # until the browser is let go
            with trio.move_on_after(0.5) as patience:
                await self._offer.send(lease)
            if not patience.cancelled_caught:
                return


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
