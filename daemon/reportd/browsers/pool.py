"""A bounded pool of browser pages. ``Pool`` is the ``Renderer`` of the worker.

A job first takes a slot, the permission to render now, and then a page. A page that only waits, e.g. for its data,
uses no processor. So its job stalls: it gives the slot to another job, and takes a slot again before it prints.
"""

import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

import structlog
import trio

from reportd.browsers.leases import Lease
from reportd.browsers.supply import Browsers, BrowserSettings, BrowserState, is_dying
from reportd.concurrency.nurseries import open_background
from reportd.concurrency.slots import ResizableSemaphore
from reportd.concurrency.supervisor import Supervisor
from reportd.core.faults import FaultError, FaultKind
from reportd.core.jobs.evidence import Evidence
from reportd.ports import (
    NULL_METER,
    Browser,
    BrowserError,
    Launcher,
    Meter,
    OnProgress,
    Page,
    Pdf,
    RenderRequest,
    Slot,
    ignore_progress,
)

log = structlog.get_logger()

DEDICATED_BROWSER = frozenset({"browser", "container"})
"""The isolations that give each job a browser process."""

GROW_SECONDS = 60.0
"""Growing is given up when the new browsers are not warm within this time."""

STALL_CHECK_SECONDS = 0.25
"""How often the renders under way are checked. It costs nothing until one of them takes long."""


@dataclass(frozen=True, slots=True)
class PoolSettings(BrowserSettings):
    """A render that waits after ``stall_seconds`` gives up its slot; at most ``max_stalled`` per browser may do so."""

    stall_seconds: float = 2.0
    max_stalled: int = 4

    @property
    def slots(self) -> int:
        return self.browsers * self.pages_per_browser


@dataclass(frozen=True, slots=True)
class PoolState:
    """The pool, for the status page and for readiness.

    ``stalled``: jobs that wait in a page without a slot. ``crashed``: browsers that died.
    """

    slots: int
    busy: int
    waiting: int
    stalled: int
    crashed: int
    trouble: str
    browsers: tuple[BrowserState, ...]


class Pool:
    """Made by ``open_pool``.

    ``on_stall``: called with the report type and 1 when a job stalls, and with -1 when its stall ends.
    ``on_resize``: called with the change of the number of slots.
    """

    def __init__(
        self,
        launcher: Launcher,
        settings: PoolSettings,
        meter: Meter = NULL_METER,
        supervisor: Supervisor | None = None,
    ) -> None:
        self.on_stall: Callable[[str, int], None] = lambda _type, _change: None
        self.on_resize: Callable[[int], None] = lambda _change: None
        self._launcher = launcher
        self._settings = settings
        self._supervisor = supervisor or Supervisor()
        self._browsers = Browsers(launcher, settings, meter)
        self._size = settings.browsers
        self._slots = ResizableSemaphore(settings.slots)
        self._rendering: set[_Render] = set()
        self._stalled = 0

    @property
    def size(self) -> int:
        """The number of browsers, not counting replacements that are being started."""
        return self._size

    @property
    def slots(self) -> int:
        return self._size * self._settings.pages_per_browser

    async def resize(self, size: int) -> None:
        """Change the number of browsers.

        Slots are added once the new browsers are warm, and taken away at once; a job that has a slot keeps it to the
        end. Growing is given up after ``GROW_SECONDS``.
        """
        self._browsers.want(size)
        if size > self._size:
            with trio.move_on_after(GROW_SECONDS) as growing:
                await self._browsers.until_wanted()
            if growing.cancelled_caught:
                self._browsers.want(self._size)
                return
        change = (size - self._size) * self._settings.pages_per_browser
        self._size = size
        self._slots.add(change)
        self.on_resize(change)

    def state(self) -> PoolState:
        return PoolState(
            slots=self.slots,
            busy=self.slots - self._slots.free,
            waiting=self._slots.waiting,
            stalled=self._stalled,
            crashed=self._browsers.crashed,
            trouble=self._browsers.trouble,
            browsers=self._browsers.state(),
        )

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the browsers, and watch for stalls. Started, and raises, as ``Browsers.run``."""
        async with open_background() as nursery:
            nursery.start_soon(self._supervisor.keep, "stalls", partial(self._watch_stalls, nursery))
            await self._supervisor.keep_started("pool", self._browsers.run, task_status=task_status)

    # --- slots ----------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[Slot]:
        await self._slots.acquire()
        slot = _Slot(self)
        try:
            yield slot
        finally:
            if slot.held:
                self._slots.release()

    async def render(
        self, request: RenderRequest, slot: "_Slot", *, dedicated_browser: bool, on_progress: OnProgress
    ) -> Pdf:
        """Render for the holder of ``slot``. Raises FaultError, after ``timeout_seconds`` at the latest."""
        render = _Render(request, slot, trio.current_time(), on_progress)
        try:
            with trio.fail_after(request.timeout_seconds) as scope:
                render.scope = scope
                if dedicated_browser or request.isolation in DEDICATED_BROWSER:
                    return await self._render_dedicated(render, scope)
                return await self._render_shared(render)
        except trio.TooSlowError:
            limit = f"{request.timeout_seconds:g} s"
            if render.page is None:
                trouble = self._browsers.trouble
                detail = f"no page was free within {limit}" + (f"; {trouble}" if trouble else "")
                raise FaultError(FaultKind.BROWSER_UNAVAILABLE, detail) from None
            doing = render.doing or render.page.activity
            raise FaultError(FaultKind.TIMEOUT, f"not done within {limit}, while {doing}", render.evidence) from None

    async def _render_shared(self, render: "_Render") -> Pdf:
        lease = await self._browsers.take(fresh=render.request.isolation == "context")
        render.lease = lease
        try:
            pdf = await self._on_page(render, lease.page, lease.browser)
            lease.reusable = render.request.isolation == "page"
        finally:
            self._browsers.give_back(lease)
        return pdf

    async def _render_dedicated(self, render: "_Render", scope: trio.CancelScope) -> Pdf:
        pdf: Pdf | None = None
        delivered = False
        contained = render.request.isolation == "container"
        try:
            async with self._launcher.launch(container=contained) as browser, browser.page() as page:
                pdf = await self._on_page(render, page, browser)
                scope.deadline = math.inf  # only the browser is left to close
            delivered = True
        except BrowserError as error:
            raise FaultError(FaultKind.BROWSER_UNAVAILABLE, str(error)) from error
        finally:
            if pdf is not None and not delivered:
                pdf.discard()
        return pdf

    async def _on_page(self, render: "_Render", page: Page, browser: Browser) -> Pdf:
        render.page = page
        self._rendering.add(render)
        try:
            return await page.render(render.request, lambda: self._before_print(render), render.on_progress)
        except FaultError as error:
            if render.request.options.evidence:
                render.scope.deadline = math.inf  # the fault is known, so it is no timeout any more
                error.evidence = await page.evidence(page.activity)
            if error.fault.kind is FaultKind.PAGE_CLOSED and await is_dying(browser):
                detail = f"the browser died, while {page.activity}"
                raise FaultError(FaultKind.BROWSER_LOST, detail, error.evidence) from error
            raise
        except trio.Cancelled:
            if render.scope.cancel_called:  # its time is up; any other cancellation tells nobody why
                render.doing = page.activity
                with trio.CancelScope(shield=True):
                    if not render.printing:
                        render.doing += await page.pending()
                    if render.request.options.evidence:
                        render.evidence = await page.evidence(render.doing)
            raise
        finally:
            self._rendering.remove(render)
            self._end_stall(render)

    # --- stalls ---------------------------------------------------------------------------------------------

    async def _before_print(self, render: "_Render") -> None:
        render.printing = True
        if render.stalled:
            await self._slots.acquire(again=True)
            render.slot.held = True
            self._end_stall(render)

    async def _watch_stalls(self, nursery: trio.Nursery) -> None:
        while True:
            await trio.sleep(STALL_CHECK_SECONDS)
            due = trio.current_time() - self._settings.stall_seconds
            for render in self._rendering:
                if render.checked_at <= due and not render.printing and not render.stalled:
                    render.checked_at = trio.current_time()
                    nursery.start_soon(self._check_stall, render)

    async def _check_stall(self, render: "_Render") -> None:
        assert render.page is not None  # noqa: S101 - it is being rendered
        try:
            waits = self._may_stall and await render.page.is_idle()
        except Exception:
            # A page that can't be checked keeps its slot.
            log.exception("job.not_judged", taskId=render.request.task_id)
            return
        # During the check the render may have ended, and others may have stalled.
        if waits and self._may_stall and render in self._rendering and not render.printing:
            log.info("job.stalled", taskId=render.request.task_id, doing=render.page.activity)
            render.stalled = True
            self._stalled += 1
            if render.lease is not None:
                self._browsers.park(render.lease)
            self.on_stall(render.request.report_type, 1)
            render.slot.held = False
            self._slots.release()

    @property
    def _may_stall(self) -> bool:
        return self._stalled < self._settings.max_stalled * self._size

    def _end_stall(self, render: "_Render") -> None:
        if render.stalled:
            render.stalled = False
            self._stalled -= 1
            if render.lease is not None:
                self._browsers.unpark(render.lease)
            self.on_stall(render.request.report_type, -1)


@dataclass(eq=False, slots=True)
class _Slot:
    """The permission to render. ``held``: it is not given to another job while this one waits."""

    pool: Pool
    held: bool = True

    async def render(
        self, request: RenderRequest, *, dedicated_browser: bool, on_progress: OnProgress = ignore_progress
    ) -> Pdf:
        return await self.pool.render(request, self, dedicated_browser=dedicated_browser, on_progress=on_progress)


@dataclass(eq=False, slots=True)
class _Render:
    """A job in a page. ``checked_at``: when it was last checked for a stall, at first the start of the render.

    ``scope``: its time limit. ``doing``: what it waited for when its time was up; ``evidence``: of then.
    """

    request: RenderRequest
    slot: _Slot
    checked_at: float
    on_progress: OnProgress
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    doing: str = ""
    evidence: Evidence | None = None
    page: Page | None = None
    lease: Lease | None = None
    printing: bool = False
    stalled: bool = False


@asynccontextmanager
async def open_pool(
    launcher: Launcher, settings: PoolSettings, meter: Meter = NULL_METER, supervisor: Supervisor | None = None
) -> AsyncIterator[Pool]:
    """Open a pool with warm pages. Raises BrowserError when a browser can't be started."""
    pool = Pool(launcher, settings, meter, supervisor)
    async with open_background() as nursery:
        await nursery.start(pool.run)
        yield pool
