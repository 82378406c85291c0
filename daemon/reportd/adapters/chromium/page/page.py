"""One page: opens a report, waits until it is ready, prints it, and removes all traces of it.

Independent calls are sent together and awaited afterwards: printing a small report takes less time than a dozen round
trips.
"""

from pathlib import Path
from typing import Any

import structlog
import trio

from reportd.adapters.chromium.page import evidence, inspect, pending, settle, window
from reportd.adapters.chromium.page.assets import AssetServer, fonts_loaded
from reportd.adapters.chromium.page.emulation import Emulation, surroundings_of
from reportd.adapters.chromium.page.interception import Interception, Pattern, Take
from reportd.adapters.chromium.page.listener import Listener
from reportd.adapters.chromium.page.monitor import LOADING, NOTICE_SECONDS, PageMonitor
from reportd.adapters.chromium.page.printing import Printing
from reportd.adapters.chromium.page.visit import Visit, empty, replace_content
from reportd.adapters.chromium.protocol.cdp import Cdp, CdpError, ClosedError
from reportd.adapters.egress.proxy import Egress
from reportd.concurrency.nurseries import open_background
from reportd.core.faults import FaultError, FaultKind
from reportd.core.jobs.evidence import Evidence
from reportd.ports import OnProgress, Pdf, RenderRequest, ToPrint, ignore_progress, print_immediately

log = structlog.get_logger()

SCRUB_SECONDS = 3.0

WAITS_SECONDS = 1.0
"""A page that does not report its CPU time within this counts as working."""

SAMPLE_SECONDS = 0.25
WAITING_SHARE = 0.1
"""Share of a CPU below which a page counts as waiting. On a busy machine a working page gets only a fraction of a CPU.
"""

PENDING_SECONDS = 0.5
"""How long a page may take to say what it still waits for."""

# Latin and Chinese: a renderer's first print of a font is slow, so it happens before the first job.
WARM_UP_HTML = "<p style=\"font-family:Inter,'Noto Sans CJK SC'\">Warm 热身 <b>0123</b></p>"


async def attach(page: Cdp) -> dict[str, Any]:
    """Enable the events that ``ChromiumPage`` listens to. Return the page's frame tree."""
    page.send("Page.enable")
    page.send("Log.enable")
    return await page.call("Page.getFrameTree")


class ChromiumPage:
    """A page in a browser context of its own, behind an egress of its own."""

    def __init__(self, page: Cdp, egress: Egress, spool_folder: Path, frame: dict[str, Any]) -> None:
        self._page = page
        self._egress = egress
        self._spool_folder = spool_folder
        self._frame_id: str = frame["id"]
        self._blank: str = frame["loaderId"]
        self._listener = Listener(page, self._frame_id, PageMonitor(self._blank), egress)
        self._emulation = Emulation(page)
        self._interception = Interception(page)
        self._sheet = False
        """Whether a style sheet was added to the document."""
        self._scripts = True
        """Whether scripts may run. They are switched off for an inert document, to be sure that it has none."""
        self._inert = False
        """Whether the last job's document was inert and the job changed no setting of the page."""

    @property
    def activity(self) -> str:
        """What it waits for now, for the text of a timeout."""
        return self._listener.monitor.activity

    @property
    def task_id(self) -> str | None:
        """The job that it renders, or rendered last."""
        request = self._listener.monitor.request
        return None if request is None else request.task_id

    def fail(self, kind: FaultKind, detail: str) -> None:
        """Fail the job: something happened to the page's process."""
        self._listener.monitor.fail(kind, detail)

    # --- a job ----------------------------------------------------------------------------------------------

    async def render(
        self,
        request: RenderRequest,
        to_print: ToPrint = print_immediately,
        on_progress: OnProgress = ignore_progress,
    ) -> Pdf:
        monitor = self._listener.monitor = PageMonitor(self._blank, request, on_progress)
        if self._page.closed.is_set():
            raise FaultError(FaultKind.BROWSER_UNAVAILABLE, "the page was gone before the job began")
        self._page.hears_console = request.options.evidence
        limit = request.options.max_page_bytes
        too_large = f"the page loaded more than {limit} bytes"
        self._egress.use(request.rule, limit, lambda: monitor.fail(FaultKind.PAGE_TOO_LARGE, too_large))
        with monitor.scope:
            try:
                return await self._render(request, monitor, to_print)
            except FaultError as error:
                # What the page did comes before what was made of it.
                first = monitor.fault or error.fault
                raise FaultError(first.kind, first.detail) from error
            except ClosedError:
                # The connection's close event names the fault and cancels this; it may come a moment later.
                await trio.sleep_forever()
            except CdpError as error:
                await trio.sleep(NOTICE_SECONDS)
                raise FaultError(FaultKind.INTERNAL, str(error)) from error
        if monitor.fault is None:  # pragma: no cover - only a fault cancels the scope
            raise RuntimeError("a render was cut off without a fault")
        raise FaultError(monitor.fault.kind, monitor.fault.detail)

    async def _render(self, request: RenderRequest, monitor: PageMonitor, to_print: ToPrint) -> Pdf:
        if request.assets is None:
            return await self._render_with((), request, monitor, to_print)
        async with open_background() as nursery:
            server = AssetServer(self._page, request.assets, monitor, request.options.max_page_bytes)
            return await self._render_with((server.part(nursery),), request, monitor, to_print)

    async def _render_with(
        self, files: tuple[tuple[Pattern, Take], ...], request: RenderRequest, monitor: PageMonitor, to_print: ToPrint
    ) -> Pdf:
        """``files``: who answers requests for files of the template."""
        monitor.activity = "preparing the page"
        inert = request.options.ready.kind == "load" and request.html is not None and request.inert
        visit = Visit(self._page, self._frame_id, self._egress, self._emulation, request, monitor)
        self._allow_scripts(not inert)
        takers, answers = visit.takers(), visit.prepare()
        if not inert:
            answers += [self._page.send("Runtime.enable"), settle.install(self._page)]
            answers += window.install(self._page, request)
        self._inert = inert and not answers and not takers
        answers += self._interception.use(*files, *takers)
        answers += self._emulation.apply(surroundings_of(request.options))
        for answer in answers:
            await answer.get()
        if inert:
            monitor.activity = LOADING
            await replace_content(self._page, self._frame_id, monitor, request.html)
        else:
            await visit.open()
        if files:
            await fonts_loaded(self._page).get()
        moved = monitor.moved
        await trio.sleep(request.options.delay_seconds)
        self._report_refusals(request)
        monitor.activity = "waiting for a slot to be printed in"
        await to_print()
        if monitor.leaving or moved.is_set():  # since it was ready
            await visit.until_ready()
        return await self._print(Printing(self._page, request, monitor))

    async def _print(self, printing: Printing) -> Pdf:
        try:
            return await printing.pdf(self._spool_folder)
        finally:
            self._sheet = printing.added_sheet
            self._inert = self._inert and not printing.under_way

    def _allow_scripts(self, allowed: bool) -> None:
        if allowed is not self._scripts:
            self._scripts = allowed
            self._page.send("Emulation.setScriptExecutionDisabled", value=not allowed)

    def _report_refusals(self, request: RenderRequest) -> None:
        if refusals := self._egress.refusals:
            first = refusals[0]
            log.warning(
                "page.host_refused",
                taskId=request.task_id,
                host=first.host,
                port=first.port,
                reason=first.reason,
                refused=len(refusals),
            )

    async def pending(self) -> str:
        monitor = self._listener.monitor
        if monitor.navigating or monitor.printed or monitor.request is None:
            return ""
        said = ""
        if monitor.request.options.ready.kind == "page":
            said = "; last progress: " + ("none" if monitor.progress is None else f"{monitor.progress:g}")
        try:
            with trio.fail_after(PENDING_SECONDS):
                value = pending.evaluate(self._page, monitor.request.options.ready)
                urls = await pending.requests_under_way(self._page, self._frame_id)
                last = "" if value is None else f"; last value: {pending.value_of(await value.get())}"
        except trio.TooSlowError:
            return f"{said}; pending: its scripts, busy for {PENDING_SECONDS:g} s more"
        except (CdpError, ClosedError):
            return said
        return said + last + (f"; pending: {urls}" if urls else "")

    async def evidence(self, activity: str) -> Evidence:
        monitor = self._listener.monitor
        screenshot = b""
        if monitor.request is not None:
            area = surroundings_of(monitor.request.options)
            screenshot = await evidence.screenshot(self._page, area.width, area.height, area.device_scale_factor)
        return Evidence(
            screenshot,
            monitor.console.lines() if monitor.console is not None else (),
            evidence.failed_requests(monitor.warnings.all()),
            activity,
        ).within_bounds()

    async def is_idle(self) -> bool:
        if self._listener.monitor.navigating:
            # The page has no document yet that could use the CPU or answer.
            return True
        with trio.move_on_after(WAITS_SECONDS):
            try:
                await self._page.call("Performance.enable")
                before = await self._cpu_seconds()
                await trio.sleep(SAMPLE_SECONDS)
                used = await self._cpu_seconds() - before
                await self._page.call("Performance.disable")
            except (CdpError, ClosedError):
                return False
            return used < WAITING_SHARE * SAMPLE_SECONDS
        return False

    async def _cpu_seconds(self) -> float:
        """Return the CPU time of the page's process, its workers included."""
        answer = await self._page.call("Performance.getMetrics")
        values = (float(metric["value"]) for metric in answer["metrics"] if metric["name"] == "ProcessTime")
        return next(values, 0.0)

    # --- between jobs ---------------------------------------------------------------------------------------

    async def scrub(self) -> bool:
        """Remove the last job's document, if it was inert and all of it came from the daemon. Return whether the page
        may be used again.

        Nothing else is left of such a job, and this costs a tenth of a new page. Any other job is removed with its
        browser context: to scrub it would take a list of everything that the web can leave behind.
        """
        if self._egress.leave() or not self._inert or self._page.closed.is_set():
            return False
        monitor = self._listener.monitor = PageMonitor(self._blank)
        monitor.activity = "being scrubbed"
        with trio.move_on_after(SCRUB_SECONDS):
            try:
                if self._interception.in_use:
                    # The document remembers which files it has loaded, so it goes, too.
                    self._interception.use()
                    self._sheet = False
                    await self._open_blank(monitor)
                else:
                    await self._empty_content(monitor)
            except (CdpError, ClosedError) as error:
                log.debug("page.scrub_failed", error=str(error))
                return False
            monitor.activity = "idle"
            return monitor.fault is None
        return False

    async def _open_blank(self, monitor: PageMonitor) -> None:
        """Open an empty document, and wait for its load event: the next job would take it for its own."""
        monitor.loading_ended = trio.Event()
        self._blank = await empty(self._page, monitor)
        await monitor.loading_ended.wait()

    async def _empty_content(self, monitor: PageMonitor) -> None:
        if self._sheet:
            self._sheet = False
            inspect.remove_sheets(self._page)
        await replace_content(self._page, self._frame_id, monitor, "")

    async def warm_up(self) -> None:
        """Print a small document, so that fonts and printing code are loaded before the first job."""
        await self._page.call("Page.setDocumentContent", frameId=self._frame_id, html=WARM_UP_HTML)
        await self._page.call("Page.printToPDF", generateTaggedPDF=False)
        await self._open_blank(self._listener.monitor)
