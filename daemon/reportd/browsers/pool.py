"""A bounded pool of browser pages. ``Pool.slot`` is the Renderer that workers use.

Two things are lent: a slot, which is leave to render now, and within it a page. A page that only waits, for its data
say, gives the slot up to another job and takes one again to be printed: it uses no processor meanwhile.
"""

import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

import structlog
import trio

from reportd.browsers.supply import Browsers, BrowserSettings, BrowserState, Lease, dies
from reportd.concurrency.nurseries import open_background
from reportd.concurrency.slots import ResizableSemaphore
from reportd.concurrency.supervisor import Supervisor
from reportd.core.faults import FaultError, FaultKind
from reportd.ports import SILENT, Browser, BrowserError, Launcher, Meter, Page, Pdf, RenderRequest, Slot

log = structlog.get_logger()

OWN_BROWSER = frozenset({"browser", "container"})

GROW_SECONDS = 60.0
"""How long another browser may take to become warm before it is done without."""

LOOK_SECONDS = 0.25
"""How often the renders under way are looked at. It costs nothing until one of them takes long."""


@dataclass(frozen=True, slots=True)
class PoolSettings(BrowserSettings):
    """A render that waits after ``stall_seconds`` gives up its slot; ``max_stalled`` of each browser may do so."""

    stall_seconds: float = 2.0
    max_stalled: int = 4

    @property
    def slots(self) -> int:
        return self.browsers * self.pages_per_browser


@dataclass(frozen=True, slots=True)
class PoolState:
    """The pool, for the status page and for readiness. ``stalled``: jobs that wait in a page, without a slot."""

    slots: int
    busy: int
    waiting: int
    stalled: int
    lost: int
    trouble: str
    browsers: tuple[BrowserState, ...]


class Pool:
    """Made by ``open_pool``. ``on_stall`` is told the report type and 1 when a job of it gives up its slot to wait,
    and -1 when it does so no longer; ``on_resize``, how many slots more there are."""

    def __init__(
        self, launcher: Launcher, settings: PoolSettings, meter: Meter = SILENT, supervisor: Supervisor | None = None
    ) -> None:
        self.on_stall: Callable[[str, int], None] = lambda _type, _change: None
        self.on_resize: Callable[[int], None] = lambda _change: None
        self._launcher = launcher
        self._settings = settings
        self._supervisor = supervisor or Supervisor()
        self._browsers = Browsers(launcher, settings, meter)
        self._size = settings.browsers
        self._places = ResizableSemaphore(settings.slots)
        self._rendering: set[_Render] = set()
        self._stalled = 0

    @property
    def size(self) -> int:
        """How many browsers it is made of, however many of them are being replaced."""
        return self._size

    @property
    def slots(self) -> int:
        return self._size * self._settings.pages_per_browser

    async def resize(self, size: int) -> None:
        """So many browsers: more slots once these are warm, fewer at once, and who has one keeps it to the end.

        What can't be had in time is given up.
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
        self._places.add(change)
        self.on_resize(change)

    def state(self) -> PoolState:
        return PoolState(
            slots=self.slots,
            busy=self.slots - self._places.free,
            waiting=self._places.waiting,
            stalled=self._stalled,
            lost=self._browsers.lost,
            trouble=self._browsers.trouble,
            browsers=self._browsers.state(),
        )

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the browsers, and look for renders that wait. Started, and raises, as ``Browsers.run``."""
        async with open_background() as nursery:
            nursery.start_soon(self._supervisor.keep, "stalls", partial(self._watch_stalls, nursery))
            await self._supervisor.keep_started("pool", self._browsers.run, task_status=task_status)

    # --- slots ----------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[Slot]:
        await self._places.acquire()
        slot = _Slot(self)
        try:
            yield slot
        finally:
            if slot.held:
                self._places.release()

    async def render(self, request: RenderRequest, slot: "_Slot", *, alone: bool) -> Pdf:
        """For who holds a slot. Within ``timeout_seconds``, or FaultError."""
        render = _Render(request, slot, trio.current_time())
        try:
            with trio.fail_after(request.timeout_seconds) as scope:
                if alone or request.isolation in OWN_BROWSER:
                    return await self._render_alone(render, scope)
                return await self._render_shared(render)
        except trio.TooSlowError:
            limit = f"{request.timeout_seconds:g} s"
            if render.page is None:
                trouble = self._browsers.trouble
                detail = f"no page was free within {limit}" + (f"; {trouble}" if trouble else "")
                raise FaultError(FaultKind.BROWSER_UNAVAILABLE, detail) from None
            raise FaultError(FaultKind.TIMEOUT, f"not done within {limit}, while {render.page.doing}") from None

    async def _render_shared(self, render: "_Render") -> Pdf:
        lease = await self._browsers.take(fresh=render.request.isolation == "context")
        render.lease = lease
        try:
            pdf = await self._on_page(render, lease.page, lease.browser)
            lease.reusable = render.request.isolation == "page"
        finally:
            self._browsers.give_back(lease)
        return pdf

    async def _render_alone(self, render: "_Render", scope: trio.CancelScope) -> Pdf:
        pdf: Pdf | None = None
        delivered = False
        contained = render.request.isolation == "container"
        try:
            async with self._launcher.launch(container=contained) as browser, browser.page() as page:
                pdf = await self._on_page(render, page, browser)
                scope.deadline = math.inf  # what is left is to close the browser
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
            return await page.render(render.request, lambda: self._to_print(render))
        except FaultError as error:
            if error.fault.kind is FaultKind.PAGE_CLOSED and await dies(browser):
                raise FaultError(FaultKind.BROWSER_LOST, f"the browser died, while {page.doing}") from error
            raise
        finally:
            self._rendering.remove(render)
            self._end_stall(render)

    # --- renders that wait ----------------------------------------------------------------------------------

    async def _to_print(self, render: "_Render") -> None:
        render.printing = True
        if render.stalled:
            await self._places.acquire(again=True)
            render.slot.held = True
            self._end_stall(render)

    async def _watch_stalls(self, nursery: trio.Nursery) -> None:
        while True:
            await trio.sleep(LOOK_SECONDS)
            late = trio.current_time() - self._settings.stall_seconds
            for render in self._rendering:
                if render.looked_at <= late and not render.printing and not render.stalled:
                    render.looked_at = trio.current_time()
                    nursery.start_soon(self._judge, render)

    async def _judge(self, render: "_Render") -> None:
        assert render.page is not None  # noqa: S101 - it is being rendered
        try:
            waits = self._may_stall and await render.page.waits()
        except Exception:
            # One page that can't be judged keeps its slot.
            log.exception("job.not_judged", taskId=render.request.task_id)
            return
        # Meanwhile it may have ended, and others may have stalled.
        if waits and self._may_stall and render in self._rendering and not render.printing:
            log.info("job.stalled", taskId=render.request.task_id, doing=render.page.doing)
            render.stalled = True
            self._stalled += 1
            if render.lease is not None:
                self._browsers.spare(render.lease)
            self.on_stall(render.request.report_type, 1)
            render.slot.held = False
            self._places.release()

    @property
    def _may_stall(self) -> bool:
        return self._stalled < self._settings.max_stalled * self._size

    def _end_stall(self, render: "_Render") -> None:
        if render.stalled:
            render.stalled = False
            self._stalled -= 1
            if render.lease is not None:
                self._browsers.unspare(render.lease)
            self.on_stall(render.request.report_type, -1)


@dataclass(eq=False, slots=True)
class _Slot:
    """Leave to render. ``held``: it is not given up to another job meanwhile."""

    pool: Pool
    held: bool = True

    async def render(self, request: RenderRequest, *, alone: bool) -> Pdf:
        return await self.pool.render(request, self, alone=alone)


@dataclass(eq=False, slots=True)
class _Render:
    """A job in a page. ``looked_at``: when it was last judged whether it waits, at first its beginning."""

    request: RenderRequest
    slot: _Slot
    looked_at: float
    page: Page | None = None
    lease: Lease | None = None
    printing: bool = False
    stalled: bool = False


@asynccontextmanager
async def open_pool(
    launcher: Launcher, settings: PoolSettings, meter: Meter = SILENT, supervisor: Supervisor | None = None
) -> AsyncIterator[Pool]:
    """A pool with warm pages. Raises BrowserError when the first browser can't be started."""
    pool = Pool(launcher, settings, meter, supervisor)
    async with open_background() as nursery:
        await nursery.start(pool.run)
        yield pool
