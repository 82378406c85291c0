"""One page: opens a report, waits until it is ready, prints it, and removes all traces of it.

Independent calls are sent together and awaited afterwards: printing a small report takes less time than a dozen round
trips.
"""

import math
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from typing import Any

import structlog
import trio

from reportd.adapters.chromium.page import evidence, inspect, pending, ready, settle
from reportd.adapters.chromium.page.emulation import Emulation, Surroundings, printable_area
from reportd.adapters.chromium.page.glyphs import missing_glyphs
from reportd.adapters.chromium.page.headers import OwnHeaders
from reportd.adapters.chromium.page.inspect import Inspection, Wanted
from reportd.adapters.chromium.page.monitor import Listener, PageMonitor
from reportd.adapters.chromium.page.opening import opening_fault
from reportd.adapters.chromium.page.paper import Paper
from reportd.adapters.chromium.page.pdf import receive_pdf
from reportd.adapters.chromium.protocol.cdp import Answer, Cdp, CdpError, ClosedError
from reportd.adapters.egress.proxy import Egress
from reportd.core.faults import FaultError, FaultKind, status_fault
from reportd.core.jobs.evidence import Evidence
from reportd.core.pages.blank import is_blank
from reportd.core.pages.documents import document_fault, shown
from reportd.ports import Pdf, RenderOptions, RenderRequest, ToPrint, print_immediately

log = structlog.get_logger()

LOADING = "waiting for the page to load"
SCRUB_SECONDS = 3.0
LEAVING_SECONDS = 12.0
"""A page whose script has said that it moves on is waited for this long; then it is printed as it is."""

SAYS_WHEN = frozenset({"event", "expression"})
"""Conditions by which the page itself says when it is drawn."""

WAITS_SECONDS = 1.0
"""A page that does not report its CPU time within this counts as working."""

SAMPLE_SECONDS = 0.25
WAITING_SHARE = 0.1
"""Share of a CPU below which a page counts as waiting. On a busy machine a working page gets only a fraction of a CPU.
"""

NOTICE_SECONDS = 0.25
"""How long to wait for the event that explains a refused call (a crash, for example): it may come a moment later."""

PENDING_SECONDS = 0.5
"""How long a page may take to say what it still waits for."""

# Latin and Chinese: a renderer's first print of a font is slow, so it happens before the first job.
WARM_UP_HTML = "<p style=\"font-family:Inter,'Noto Sans CJK SC'\">Warm 热身 <b>0123</b></p>"

# `| 0` makes the answer a number, whatever the page does to these functions; else it could be of any size.
_STATUS = "performance.getEntriesByType('navigation')[0]?.responseStatus | 0"


async def attach(page: Cdp) -> dict[str, Any]:
    """Enable the events that ``ChromiumPage`` listens to. Return the page's frame tree."""
    page.send("Page.enable")
    page.send("Log.enable")
    return await page.call("Page.getFrameTree")


class ChromiumPage:
    """A page in a browser context of its own, behind an egress of its own."""

    def __init__(self, page: Cdp, egress: Egress, spool_folder: Path, frame: dict[str, Any]) -> None:
        self.activity = "idle"
        self._page = page
        self._egress = egress
        self._spool_folder = spool_folder
        self._frame_id: str = frame["id"]
        self._blank: str = frame["loaderId"]
        self._listener = Listener(page, self._frame_id, PageMonitor(self._blank), egress)
        self._emulation = Emulation(page)
        self._sheet = False
        """Whether a style sheet was added to the document."""
        self._scripts = True
        """Whether scripts may run. They are switched off for an inert document, to be sure that it has none."""
        self._inert = False
        """Whether the last job's document was inert and the job changed no setting of the page."""

    @property
    def task_id(self) -> str | None:
        """The job that it renders, or rendered last."""
        request = self._listener.monitor.request
        return None if request is None else request.task_id

    def fail(self, kind: FaultKind, detail: str) -> None:
        """Fail the job: something happened to the page's process."""
        self._listener.monitor.fail(kind, detail)

    # --- a job ----------------------------------------------------------------------------------------------

    async def render(self, request: RenderRequest, to_print: ToPrint = print_immediately) -> Pdf:
        monitor = self._listener.monitor = PageMonitor(self._blank, request, self._report_waiting)
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
        self.activity = "preparing the page"
        condition = request.options.ready
        inert = condition.kind == "load" and request.html is not None and request.inert
        self._allow_scripts(not inert)
        answers = self._prepare(request)
        if not inert:
            answers += [self._page.send("Runtime.enable"), settle.install(self._page)]
        self._inert = inert and not answers
        answers += self._emulation.apply(_surroundings(request.options))
        for answer in answers:
            await answer.get()
        if inert:
            self.activity = LOADING
            await self._replace_content(request.html)
            return await self._finish(request, monitor, to_print)
        if request.url is not None:
            if condition.kind == "event":
                await ready.listen(self._page, condition)
            await self._navigate(request.url, monitor)
        else:
            await self._set_content(request)
        self.activity = LOADING
        if monitor.loading_ended.is_set():  # the load event came before the answer to the navigation
            self._report_waiting(request)
        await self._until_ready(request, monitor)
        return await self._finish(request, monitor, to_print)

    async def _finish(self, request: RenderRequest, monitor: PageMonitor, to_print: ToPrint) -> Pdf:
        moved = monitor.moved
        await trio.sleep(request.options.delay_seconds)
        self._report_refusals(request)
        self.activity = "waiting for a slot to be printed in"
        await to_print()
        if monitor.leaving or moved.is_set():  # since it was ready
            await self._until_ready(request, monitor)
        return await self._judged(await self._print(request, monitor), monitor)

    def _prepare(self, request: RenderRequest) -> list[Answer]:
        """Send the settings that the job needs; none for most jobs."""
        options = request.options
        answers = []
        token = request.token_headers()
        if options.headers or token:
            headers = OwnHeaders(options.headers, request.url, options.header_hosts, token)
            answers.append(headers.enable(self._page))
        if options.cookies and request.url is not None:
            cookies = [{"name": n, "value": v, "url": request.url} for n, v in options.cookies.items()]
            answers.append(self._page.send("Network.setCookies", cookies=cookies))
        if options.ready.kind == "networkidle":
            answers.append(self._page.send("Page.setLifecycleEventsEnabled", enabled=True))
        return answers

    def _enable_network(self) -> Answer:
        # Keep no response bodies: by default the renderer buffers them for the inspector.
        return self._page.send("Network.enable", maxTotalBufferSize=0, maxResourceBufferSize=0)

    def _allow_scripts(self, allowed: bool) -> None:
        if allowed is not self._scripts:
            self._scripts = allowed
            self._page.send("Emulation.setScriptExecutionDisabled", value=not allowed)

    async def _replace_content(self, html: str | None) -> None:
        """Replace an inert document and wait until it is loaded. No script runs, so the load event is this one's."""
        loading_ended = self._listener.monitor.loading_ended
        await self._page.call("Page.setDocumentContent", frameId=self._frame_id, html=html)
        await loading_ended.wait()

    async def _set_content(self, request: RenderRequest) -> None:
        if request.options.ready.kind == "networkidle":
            # A document sends networkIdle once, and the present one may have sent it already.
            await self._empty()
        if request.options.ready.kind != "event":
            self._page.send("Page.setDocumentContent", frameId=self._frame_id, html=request.html)

    async def _navigate(self, url: str, monitor: PageMonitor) -> None:
        address = shown(url)
        self.activity = f"waiting for {address} to answer"
        monitor.opening()
        answer = await self._page.call("Page.navigate", url=url)
        if answer.get("isDownload"):
            raise FaultError(FaultKind.DOWNLOAD, f"{address} answered with a download")
        error = answer.get("errorText")
        if error == "net::ERR_ABORTED":
            raise await self._explain_abort(url, monitor)
        if error and error != "net::ERR_HTTP_RESPONSE_CODE_FAILURE":
            raise self._unreachable(url, error, f"{address} could not be opened: {error}")
        monitor.opened(answer["loaderId"])
        if error:
            # An error status without a body: the browser shows an error page of its own.
            await self._judge_status(url, self._ask_status(), ((1, 599),))
            raise self._unreachable(url, error, f"{address} could not be opened: {error}")

    async def _explain_abort(self, url: str, monitor: PageMonitor) -> FaultError:
        """Navigate once more to learn the reason: no content to show, or a crash of Chromium's network process."""
        await self._enable_network().get()
        await self._page.call("Page.navigate", url=url)
        if monitor.status in (HTTPStatus.NO_CONTENT, HTTPStatus.RESET_CONTENT):
            return FaultError(FaultKind.PAGE_STATUS, f"{shown(url)} answered {monitor.status}, without a page")
        return self._unreachable(url, "net::ERR_ABORTED", f"opening {shown(url)} was broken off")

    async def _until_ready(self, request: RenderRequest, monitor: PageMonitor) -> None:
        """Wait until the page is ready and drawn; again for the document that the page moves on to by itself."""
        while True:
            moved = monitor.moved
            try:
                await self._until_document_ready(request, monitor)
            except CdpError:
                # What was waited for is gone with its document. The event that says so may come a moment later.
                with trio.move_on_after(NOTICE_SECONDS):
                    await moved.wait()
                if not moved.is_set():
                    raise
            if monitor.leaving and not moved.is_set():
                self.activity = f"waiting for the page to move on to {shown(monitor.leaving)}"
                # A refresh comes for certain, so only the job's deadline ends the wait for it.
                with trio.move_on_after(math.inf if monitor.refreshing else LEAVING_SECONDS) as leaving:
                    await moved.wait()
                if leaving.cancelled_caught:
                    monitor.leaving = ""
            if not moved.is_set():
                return
            self.activity = LOADING

    async def _until_document_ready(self, request: RenderRequest, monitor: PageMonitor) -> None:
        options, condition = request.options, request.options.ready
        status = self._ask_status() if request.url is not None else None
        if condition.kind == "event":
            answer = await ready.wait_for_event(self._page, self._frame_id, condition, request.html)
        else:
            answer = ready.wait_until(self._page, condition)
        if status is not None and request.url is not None:
            await self._judge_status(request.url, status, options.fail_on_status)
            document = monitor.document
            if fault := document_fault(request.url, document.url, document.media_type, options.allow_redirects):
                raise FaultError(fault.kind, fault.detail)
        ready.judge(await answer.get())
        if condition.kind == "networkidle":
            await monitor.network_idle.wait()
        await self._until_drawn(request)

    async def _until_drawn(self, request: RenderRequest) -> None:
        kind = request.options.ready.kind
        strict = kind == "stable"
        drawn = None if kind in SAYS_WHEN else settle.until_settled(self._page, strict=strict, limited=not strict)
        pending = settle.look_for_views(self._page)
        if drawn is not None:
            await drawn.get()
        views, surroundings = settle.views_of(await pending.get()), _surroundings(request.options)
        if not views.observes and not views.lazy:
            return
        if views.height > surroundings.height:
            for answer in self._emulation.apply(replace(surroundings, height=views.height)):
                await answer.get()
        await settle.until_in_view(self._page).get()
        # What came into view may fetch its content first, and draw it then.
        await settle.until_settled(self._page, strict=strict or views.observes, limited=not strict).get()

    def _report_waiting(self, request: RenderRequest) -> None:
        if self.activity == LOADING:
            condition = request.options.ready
            self.activity = f"waiting until the page is ready ({condition.kind} {condition.argument}".rstrip() + ")"

    def _ask_status(self) -> Answer:
        return self._page.send("Runtime.evaluate", expression=_STATUS, returnByValue=True)

    async def _judge_status(self, url: str, pending: Answer, failures: tuple[tuple[int, int], ...]) -> None:
        answer = await pending.get()
        status = answer["result"].get("value")
        if isinstance(status, int) and any(first <= status <= last for first, last in failures):
            fault = status_fault(status, shown(url), len(url))
            raise FaultError(fault.kind, fault.detail)

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

    async def _print(self, request: RenderRequest, monitor: PageMonitor) -> Pdf:
        self.activity = "printing"
        paper = Paper(request.options)
        pending = inspect.inspect(self._page, _wanted(request, paper))
        if paper.depends_on_content:
            paper = paper.fitted(inspect.found(await pending.get()))
            inspect.add_sheet(self._page, paper.sheet)
        self._sheet = bool(paper.sheet)
        answer = self._page.send("Page.printToPDF", **paper.parameters, transferMode="ReturnAsStream")
        answer.when_granted(monitor.print_ended)
        try:
            found = inspect.found(await pending.get())
            self._judge(found, paper, monitor)
            result = await answer.get()
        except CdpError as error:
            await trio.sleep(NOTICE_SECONDS)
            raise FaultError(FaultKind.PRINT_REJECTED, str(error)) from error
        self.activity = "reading the PDF"
        try:
            pdf = await receive_pdf(self._page, result["stream"], self._spool_folder, found.metadata)
        except OSError as error:  # for example, the disk is full
            detail = f"{error.strerror}: {self._spool_folder}"
            raise FaultError(FaultKind.STORE_UNAVAILABLE, detail) from error
        return pdf

    def _judge(self, found: Inspection, paper: Paper, monitor: PageMonitor) -> None:
        """Add what the page lacks to its warnings. Raises FaultError if it is no report, or as ``fail_on`` says."""
        expect = None if monitor.request is None else monitor.request.options.expect
        fault = inspect.fault_of(found, expect)
        for kind, what, why in inspect.lacks(found, paper.limit_px(found), monitor.warnings.all()):
            fault = fault or monitor.warned(monitor.warnings.add(kind, what, why))
        if fault is not None:
            # The print command is under way, so the page is not used again.
            self._inert = False
            raise FaultError(fault.kind, fault.detail)

    async def _judged(self, pdf: Pdf, monitor: PageMonitor) -> Pdf:
        """Return the PDF with the warnings of its job. Raises FaultError if it is blank, or as ``fail_on`` says."""
        self.activity = "looking for missing glyphs"
        with pdf.discarded_on_error():
            if pdf.data is not None and is_blank(pdf.data):
                if monitor.leaving:
                    raise FaultError(FaultKind.NAVIGATED_AWAY, monitor.away(monitor.leaving).detail)
                raise FaultError(FaultKind.NOT_A_REPORT, inspect.NOTHING_PAINTED)
            if warning := await missing_glyphs(pdf, self._page):
                monitor.warnings.add(warning.kind, warning.what, warning.why, warning.count)
                if fault := monitor.warned(warning):
                    raise FaultError(fault.kind, fault.detail)
        self.activity = "idle"
        return replace(pdf, warnings=monitor.warnings.all())

    def _unreachable(self, url: str, error: str, detail: str) -> FaultError:
        fault = opening_fault(url, error, detail, self._egress.refusals, self._egress.failures)
        return FaultError(fault.kind, fault.detail)

    async def pending(self) -> str:
        monitor = self._listener.monitor
        if monitor.navigating or monitor.printed or monitor.request is None:
            return ""
        try:
            with trio.fail_after(PENDING_SECONDS):
                value = pending.evaluate(self._page, monitor.request.options.ready)
                urls = await pending.requests_under_way(self._page, self._frame_id)
                last = "" if value is None else f"; last value: {pending.value_of(await value.get())}"
        except trio.TooSlowError:
            return f"; pending: its scripts, busy for {PENDING_SECONDS:g} s more"
        except (CdpError, ClosedError):
            return ""
        return last + (f"; pending: {urls}" if urls else "")

    async def evidence(self, activity: str) -> Evidence:
        monitor = self._listener.monitor
        screenshot = b""
        if monitor.request is not None:
            area = _surroundings(monitor.request.options)
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
        self.activity = "being scrubbed"
        self._listener.monitor = PageMonitor(self._blank)
        with trio.move_on_after(SCRUB_SECONDS):
            try:
                if self._sheet:
                    self._sheet = False
                    inspect.remove_sheets(self._page)
                await self._replace_content("")
            except (CdpError, ClosedError) as error:
                log.debug("page.scrub_failed", error=str(error))
                return False
            self.activity = "idle"
            return self._listener.monitor.fault is None
        return False

    async def _empty(self) -> None:
        monitor = self._listener.monitor
        monitor.opening()
        answer = await self._page.call("Page.navigate", url="about:blank")
        self._blank = answer["loaderId"]
        monitor.opened(self._blank)

    async def warm_up(self) -> None:
        """Print a small document, so that fonts and printing code are loaded before the first job."""
        await self._page.call("Page.setDocumentContent", frameId=self._frame_id, html=WARM_UP_HTML)
        await self._page.call("Page.printToPDF", generateTaggedPDF=False)
        await self._empty()


def _surroundings(options: RenderOptions) -> Surroundings:
    width, height = options.viewport or printable_area(options.print_parameters)
    return Surroundings(
        width=width,
        height=height,
        device_scale_factor=options.device_scale_factor,
        media=options.media,
        reduced_motion=options.reduced_motion,
        locale=options.locale,
        timezone=options.timezone,
    )


def _wanted(request: RenderRequest, paper: Paper) -> Wanted:
    return Wanted(
        expect=request.options.expect,
        page="" if paper.depends_on_content else paper.sheet,
        height=request.options.content_height,
        visible=bool(request.options.print_parameters.get("displayHeaderFooter")),
    )
